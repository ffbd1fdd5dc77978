"""The language of claims."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.spec.claims import CellRef, Comparison, Epoch, Sum, Term


@pytest.mark.parametrize(
    ("text", "left", "operator", "right", "factor", "offset"),
    [
        ("acc[a] >= acc[b] - 0.3", ("acc", "a"), ">=", ("acc", "b"), 1.0, -0.3),
        ("acc[a]>acc[b]", ("acc", "a"), ">", ("acc", "b"), 1.0, 0.0),
        (
            "  acc[ a.b-c+d_1 ] <= speed[b] + 2 ",
            ("acc", "a.b-c+d_1"),
            "<=",
            ("speed", "b"),
            1.0,
            2.0,
        ),
        ("speed[a] < 1.7 * speed[b]", ("speed", "a"), "<", ("speed", "b"), 1.7, 0.0),
        ("speed[a] > 2*speed[b]-1e-3", ("speed", "a"), ">", ("speed", "b"), 2.0, -1e-3),
        ("acc[a] >= 80", ("acc", "a"), ">=", None, 1.0, 80.0),
        ("acc[a] < -1.5", ("acc", "a"), "<", None, 1.0, -1.5),
    ],
)
def test_what_a_comparison_says(
    text: str,
    left: tuple[str, str],
    operator: str,
    right: tuple[str, str] | None,
    factor: float,
    offset: float,
) -> None:
    found = Comparison.parse(text)
    assert (found.left, found.operator) == (CellRef(*left), operator)
    assert found.right == (None if right is None else CellRef(*right))
    assert (found.factor, found.offset) == (factor, offset)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "acc[a]",
        "acc[a] = acc[b]",
        "acc[a] == acc[b]",
        "80 < acc[a]",
        "acc >= 80",
        "acc[a] > acc[b] > acc[c]",
        "acc[a] >= acc[b] - 0.3%",
        "acc[a] >= acc[b] * 2",
        "acc[a b] > 1",
        "acc[] > 1",
        "acc[a] > --1",
    ],
)
def test_anything_else_is_refused_with_the_grammar(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no claim: expected .* \(write SIDE >= SIDE"):
        Comparison.parse(text)


@pytest.mark.parametrize("text", ["acc[a] > 1e999", "acc[a] > 1e999 * acc[b]"])
def test_numbers_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^1e999 in 'acc.* is too large: at most 1e\+100$"):
        Comparison.parse(text)


@given(
    rows=st.tuples(*[st.from_regex(r"[A-Za-z0-9_.+-]+", fullmatch=True)] * 2),
    operator=st.sampled_from([">=", ">", "<=", "<"]),
    factor=st.floats(0.001, 1000).map(lambda number: round(number, 3)),
    offset=st.floats(-100, 100).map(lambda number: round(number, 3)),
)
def test_every_comparison_can_be_written(
    rows: tuple[str, str], operator: str, factor: float, offset: float
) -> None:
    sign = "-" if offset < 0 else "+"
    found = Comparison.parse(
        f"acc[{rows[0]}] {operator} {factor} * acc[{rows[1]}] {sign} {abs(offset)}"
    )
    assert (found.left, found.right) == (CellRef("acc", rows[0]), CellRef("acc", rows[1]))
    assert (found.factor, found.offset) == (factor, offset)


def test_sides_add_and_subtract_cells() -> None:
    found = Comparison.parse("acc[a] - acc[b] > acc[c] - 2 * acc[d] + 1 - 0.25")
    assert found.left == Sum((Term(1, CellRef("acc", "a")), Term(-1, CellRef("acc", "b"))))
    assert found.right == Sum((Term(1, CellRef("acc", "c")), Term(-2, CellRef("acc", "d"))))
    assert (found.operator, found.factor, found.offset) == (">", 1.0, 0.75)
    assert [str(cell) for cell in found.cells] == ["acc[a]", "acc[b]", "acc[c]", "acc[d]"]
    assert str(found.right) == "acc[c] - 2 * acc[d]"
    assert Comparison.parse("acc[a] > 1 + acc[b]").offset == 1.0


def test_cells_at_an_epoch() -> None:
    found = Comparison.parse("acc[a]@2 >= acc[b]@25% - 0.3")
    assert found.left == CellRef("acc", "a", Epoch(2))
    assert found.right == CellRef("acc", "b", Epoch(25, percent=True))
    assert (Epoch(2).of(30), Epoch(25, percent=True).of(30)) == (2, 7.5)
    assert [str(cell) for cell in found.cells] == ["acc[a]@2", "acc[b]@25%"]


ROWS = (
    "none",
    "a.logit",
    "a.logit.keep75",
    "a.logit.keep50",
    "b.logit",
    "b.logit.keep75",
    "c.keep50",
)


def test_a_share_has_a_member_for_all_rows_that_fit() -> None:
    found = Comparison.parse("share(acc[{pair}.keep{k}] > acc[{pair}] + 0.1) >= 0.5").among(ROWS)
    assert (found.over, found.operator, found.offset) == ("share", ">=", 0.5)
    assert [str(member) for member in found.members] == [
        "acc[a.logit.keep75] > acc[a.logit] + 0.1",
        "acc[a.logit.keep50] > acc[a.logit] + 0.1",
        "acc[b.logit.keep75] > acc[b.logit] + 0.1",
    ]
    assert [(one.operator, one.offset) for one in found.members] == [(">", 0.1)] * 3
    assert len(found.cells) == 5  # each once


def test_every_and_correlation() -> None:
    every = Comparison.parse("every(acc[{row}.keep75] >= acc[{row}] - 0.3)").among(ROWS)
    assert (every.over, every.operator, every.offset, len(every.members)) == (
        "every",
        ">=",
        -0.3,
        2,
    )
    text = "correlation(acc[{row}.logit]@2 - acc[none]@2, t[{row}.logit]) < 0"
    found = Comparison.parse(text).among(ROWS)
    assert (found.over, found.operator, found.offset) == ("correlation", "<", 0.0)
    assert [str(one) for one in found.members] == [
        "acc[a.logit]@2 - acc[none]@2, t[a.logit]",
        "acc[b.logit]@2 - acc[none]@2, t[b.logit]",
    ]


def test_where_takes_some_of_the_rows() -> None:
    text = "share(acc[{p}.logit.keep{k}] > acc[{p}.logit] where {k} is 75 or 4* and {p} is not b)"
    with pytest.raises(ValueError, match=r"no \{k\} is 4\*: 50, 75"):
        Comparison.parse(f"{text} > 0").among(ROWS)
    rows = (*ROWS, "a.logit.keep40", "b.logit.keep40")
    found = Comparison.parse(f"{text} > 0").among(rows)
    assert [str(one) for one in found.members] == [
        "acc[a.logit.keep75] > acc[a.logit]",
        "acc[a.logit.keep40] > acc[a.logit]",
    ]
    assert found.condition == " where {k} is 75 or 4* and {p} is not b"
    assert str(found.inner) == "acc[{p}.logit.keep{k}] > acc[{p}.logit]"
    left_out = Comparison.parse(
        "correlation(acc[{row}], t[{row}] where {row} is not none or c.*)<0"
    )
    assert [one.left.row for one in left_out.among(ROWS).members] == list(ROWS[1:-1])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "every(acc[{a}.x] > acc[{a}] where a is b)",
            r"expected '\{NAME\} is VALUE', or 'is not' at character 35, got 'a is b\)'",
        ),
        (
            "every(acc[{a}.x] > acc[{a}] where {b} is b)",
            r"expected \{a\}, a name of these rows at character 35, got '\{b\} is b\)'",
        ),
        (
            "every(acc[{a}.x] > acc[{a}] where {a} is b or)",
            r"expected a VALUE: letters, digits and _ . \+ -, or \* and \? for others at .* 46",
        ),
        (
            "every(acc[{a}.x] > acc[{a}] where {a} is b, c)",
            r"expected \) at character 43, got ', c",
        ),
        ("acc[a] > acc[b] where {a} is b", "expected the end at character 17, got 'where"),
        ("acc[a] > acc[b] > acc[c]", r"expected the end at character 17, got '> acc\[c\]'"),
        ("acc[{a}] > 1", "expected a grid with this name, or share.* at character 4"),
        (
            "share(acc[a] > acc[b]) > 0.5",
            r"expected a \{NAME\} in the rows .* character 22, got '\)",
        ),
        ("share(acc[{a}] > acc[{b}]) > 0.5", "expected one row that has all names"),
        ("share(acc[{a}.x] > acc[{a}]) > 5", "expected a number from 0 to 1 at character 32"),
        (
            "share(acc[{a}.x] > acc[{a}])",
            "expected one of >=, >, <=, < at character 29, got its end",
        ),
        ("acc[a]@x > 1", "expected an epoch, @2 or @25% at character 8, got 'x > 1'"),
        ("acc[a]@120% > 1", "expected at most 100 % at character 11"),
        ("correlation(acc[{a}] > t[{a}]) < 0", "expected , at character 22, got '> t"),
    ],
)
def test_an_error_says_where_and_what(text: str, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        Comparison.parse(text)


def test_a_statement_about_several_rows_needs_two() -> None:
    with pytest.raises(ValueError, match="only one row fits: a statement about several rows"):
        Comparison.parse("share(acc[{p}.logit.keep50] > acc[{p}.logit]) > 0.5").among(ROWS)
    with pytest.raises(ValueError, match="no row fits"):
        Comparison.parse("every(acc[{p}.x] > acc[{p}])").among(ROWS)
