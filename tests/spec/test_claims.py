"""The language of claims."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.spec.claims import CellRef, Comparison


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
        "acc[a] > 1 + acc[b]",
        "acc[a] > --1",
    ],
)
def test_anything_else_is_refused_with_the_grammar(text: str) -> None:
    with pytest.raises(ValueError, match=r"write COLUMN\[ROW\] >= \[FACTOR \*\] COLUMN\[ROW\]"):
        Comparison.parse(text)


@pytest.mark.parametrize("text", ["acc[a] > 1e999", "acc[a] > 1e999 * acc[b]"])
def test_numbers_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^1e999 in 'acc.* is too large for a number$"):
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
    assert (found.left.row, found.right.row if found.right else None) == rows
    assert (found.factor, found.offset) == (factor, offset)
