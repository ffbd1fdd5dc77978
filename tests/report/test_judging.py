"""The claims of a table together: shared spreads, the adjustment, preconditions, margins that hang
on a gain, failed seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harness.report.claims import UNPAIRED
from harness.report.inference import LEVEL, Prior, fit_prior, holm, resolution
from harness.report.judging import Measured, Pools, judge_claims, measured
from harness.report.measure import Side, at_worst
from harness.report.model import Cell, ClaimResult, RowResult, Verdict
from harness.spec.claims import Comparison
from harness.spec.table import Claim, Column, Precondition, Row
from tests.report.models import ACC, NOWHERE, draws_of

Values = Mapping[str, Sequence[float]]
LOGIT = (84.0, 84.3, 84.1)
NONE = (82.1, 82.2, 82.6)


def table(
    values: Values,
    *claims: Claim,
    images: int = 0,
    failed: Mapping[str, tuple[int, ...]] | None = None,
    runs: Mapping[tuple[str, str], str] | None = None,
    column: Column = ACC,
) -> dict[str, ClaimResult]:
    """The verdicts on claims over rows with these accuracies, by their ids."""
    failed = failed or {}

    def seeds(row: str) -> dict[int, float]:
        lost = failed.get(row, ())
        left = [seed for seed in range(12) if seed not in lost]
        return dict(zip(left, values[row], strict=False))

    rows = [
        RowResult(
            spec=Row(id=row, label=row, node=NOWHERE),
            name=row,
            cells=(Cell(column=column.id, draws=draws_of(seeds(row))),),
        )
        for row in values
    ]

    def measure(comparison: Comparison) -> Measured:
        sides = [
            Side(label=cell.row, values=seeds(cell.row), failed_seeds=failed.get(cell.row, ()))
            for cell in comparison.cells
        ]
        return measured(comparison, column, sides)

    pools = Pools(rows, runs or {}, images)
    return {found.claim.id: found for found in judge_claims(claims, measure, pools)}


def claim(holds: str, *, name: str = "", ours: bool = False, **more: object) -> Claim:
    found = Claim(
        id=name or holds,
        text=holds,
        holds=Comparison.parse(holds),
        added_by_us=ours,
        node=NOWHERE,
    )
    return replace(found, **more)  # type: ignore[arg-type]


def given(holds: str) -> Precondition:
    return Precondition(
        id="given",
        text="Distillation helps.",
        holds=Comparison.parse(holds),
        source="Table 2",
        node=NOWHERE,
    )


def test_the_other_rows_lend_their_spread() -> None:
    draws = np.random.default_rng(3)
    values = {f"r{i}": tuple(80 + 0.5 * draws.standard_normal(3)) for i in range(6)}
    values["r1"] = tuple(np.add(values["r0"], (1.0, 1.02, 1.01)))  # alike by luck
    (found,) = table(values, claim("acc[r1] > acc[r0]")).values()
    drawn = np.array(list(values.values()))
    pairs = [drawn[a] - drawn[b] for a in range(6) for b in range(a)]
    prior = fit_prior([float(p.var(ddof=1)) for p in pairs], [2] * 15, 5 * 2)
    d0 = prior.freedom
    expected = (d0 * prior.variance + 2 * 0.01**2) / (d0 + 2) if d0 < 1e9 else prior.variance
    assert (found.std, found.std_moderated) == (
        pytest.approx(0.01),
        pytest.approx(math.sqrt(expected)),
    )
    assert found.ci is not None
    freedom = min(d0 + 2, 10)
    half = stats.t.ppf(1 - LEVEL / 2, freedom) * math.sqrt(expected / 3)
    assert (found.ci.low, found.ci.high) == pytest.approx((1.01 - half, 1.01 + half))


def test_rows_of_the_same_runs_count_once() -> None:
    values = {"a": LOGIT, "b": NONE, "c": (80.0, 80.4, 81.0), "d": (80.0, 80.4, 81.0)}
    rows = [
        RowResult(
            spec=Row(id=row, label=row, node=NOWHERE),
            name=row,
            cells=(Cell(column="acc", draws=draws_of(dict(enumerate(numbers)))),),
        )
        for row, numbers in values.items()
    ]
    same = {("c", "acc"): "run", ("d", "acc"): "run"}
    once = Pools(rows[:3], {}).prior("acc", "difference")
    assert Pools(rows, same).prior("acc", "difference") == once
    assert once.total == 4  # two of three differences are independent, 2 degrees of freedom each
    assert Pools(rows, {}).prior("other", "difference") == Prior()


def test_a_comparison_counts_once() -> None:
    values = {"a": LOGIT, "b": NONE, "c": (83.0, 83.2, 83.4)}
    found = table(
        values,
        claim("acc[a] >= acc[b] - 0.3", name="first"),
        claim("acc[b] <= acc[a] + 0.3", name="mirrored"),
        claim("acc[a] > acc[b] - 0.3", name="open"),
        claim("acc[a] > acc[b]", name="other margin"),
        claim("acc[c] >= acc[b] - 0.3", name="other row"),
        claim("acc[a] > 80", name="bound", ours=True),
    )
    assert {one.family for one in found.values() if one.source == "paper"} == {3}
    assert found["bound"].family == 1
    assert found["first"].p == pytest.approx(found["mirrored"].p)
    assert found["first"].p_adjusted == pytest.approx(found["mirrored"].p_adjusted)
    by_runs = table(
        values,
        claim("acc[a] > acc[b]", name="first"),
        claim("acc[a] > acc[c]", name="second"),
        runs={("b", "acc"): "run", ("c", "acc"): "run"},
    )
    assert by_runs["first"].family == 1


def test_holm_counts_every_trained_claim_of_the_table() -> None:
    values: Values = {"a": LOGIT, "b": NONE, "c": (83.0, 83.2, 83.4), "d": ()}
    claims = [
        claim("acc[a] > acc[b]", name="1"),
        claim("acc[c] > acc[b]", name="2"),
        claim("acc[a] > acc[d]", name="not run"),
    ]
    found = table(values, *claims)
    p = [found["1"].p or 0, found["2"].p or 0, 1.0]
    for name, after in zip(("1", "2"), holm(p), strict=False):
        one = found[name]
        assert one.p_adjusted == pytest.approx(after.p)
        assert one.adjusted is not None
        assert one.ci is not None
        assert (one.adjusted.low > 0) == (after.p <= LEVEL)
        assert one.adjusted.half_width > one.ci.half_width
        assert f"adjusted for 3 comparisons {one.adjusted.low:+.2f}" in one.reason.replace("−", "-")
    assert (found["not run"].verdict, found["not run"].p_adjusted) == (Verdict.NOT_RUN, None)


def test_leaning_where_the_adjusted_interval_reaches_across() -> None:
    values: Values = {"a": (81.0, 81.1, 81.35), "b": (80.0, 80.0, 80.0), "c": ()}
    asked = claim("acc[a] > acc[b]", name="it")
    assert table(values, asked)["it"].verdict is Verdict.SUPPORTED
    others = [claim(f"acc[c] > acc[b] + {i}") for i in range(2)]
    found = table(values, asked, *others)["it"]
    p = stats.ttest_1samp([1.0, 1.1, 1.35], 0).pvalue
    assert p < LEVEL < 3 * p
    assert (found.verdict, found.p_adjusted) == (Verdict.LEANING, pytest.approx(3 * p))
    assert "alone it is above the margin of 0.00 points, adjusted it reaches across" in found.reason
    ours = [replace(other, added_by_us=True) for other in others]
    assert table(values, asked, *ours)["it"].verdict is Verdict.SUPPORTED


def test_images_bound_the_spread() -> None:
    values = {"a": (81.0, 81.01, 81.0), "b": (80.0, 80.0, 80.0)}
    coarse = table(values, claim("acc[a] > acc[b]"), images=100)["acc[a] > acc[b]"]
    assert coarse.std_moderated == pytest.approx(math.sqrt(resolution(100)))
    assert coarse.verdict is Verdict.NOT_SETTLED
    fine = table(values, claim("acc[a] > acc[b]"))["acc[a] > acc[b]"]
    assert fine.verdict is Verdict.SUPPORTED


def test_a_row_against_a_number_is_said_to_err_more_often() -> None:
    found = table({"a": LOGIT, "b": NONE}, claim("acc[a] > 50"), claim("acc[a] > acc[b]"))
    assert [one.verdict for one in found.values()] == [Verdict.SUPPORTED] * 2
    assert [UNPAIRED in one.reason for one in found.values()] == [True, False]


@pytest.mark.parametrize(
    ("precondition", "verdict", "says"),
    [
        ("acc[logit] > acc[none] + 0.3", Verdict.SUPPORTED, "all of it at or above"),
        ("acc[logit] > acc[none] + 5", Verdict.OUT_OF_SCOPE, "a precondition does not hold here"),
        ("acc[logit] > acc[none] + 1.8", Verdict.NOT_SETTLED, "a precondition is not shown here"),
        ("acc[logit] > acc[unrun]", Verdict.NOT_SETTLED, "not tested: no result for unrun"),
    ],
)
def test_preconditions_decide_what_a_claim_may_say(
    precondition: str, verdict: Verdict, says: str
) -> None:
    values = {
        "logit": LOGIT,
        "none": NONE,
        "masked": tuple(np.add(LOGIT, (0.1, 0.0, 0.05))),
        "unrun": (),
    }
    asked = claim("acc[masked] >= acc[logit] - 0.5", name="it", given=(given(precondition),))
    found = table(values, asked)["it"]
    assert found.verdict is verdict, found.reason
    assert says in found.reason
    (one,) = found.preconditions
    assert one.text == "Distillation helps."
    if verdict is Verdict.OUT_OF_SCOPE:  # both values stand in the sentence
        assert found.reason == (
            "a precondition does not hold here (Distillation helps: 1.83 points "
            "(98.15 % CI 1.23 to 2.44), needs > 5.00 points); by itself it is supported "
            "(Top-1, masked − logit)"
        )
        assert one.verdict is Verdict.CONTRADICTED
        assert (one.estimate, one.margin) == (pytest.approx(1.8333, abs=1e-3), 5.0)


def test_the_margin_is_half_of_a_gain_that_is_shown() -> None:
    values = {
        "logit": (80.5, 80.6, 80.55),
        "none": (80.1, 80.15, 80.1),
        "masked": (80.6, 80.7, 80.6),
    }
    assay = Comparison.parse("acc[logit] > acc[none]")
    plain = table(values, claim("acc[masked] >= acc[logit] - 0.3", name="it"))["it"]
    found = table(values, claim("acc[masked] >= acc[logit] - 0.3", name="it", assay=assay))["it"]
    gain = table(values, claim("acc[logit] > acc[none]", name="it"))["it"]
    assert gain.ci is not None
    assert 0 < gain.ci.low < 0.6
    assert (plain.margin, found.margin) == (-0.3, pytest.approx(-gain.ci.low / 2))
    assert found.reason.endswith("(half of the gain that these runs surely show)")
    wide = table(values, claim("acc[masked] >= acc[logit] - 0.01", name="it", assay=assay))["it"]
    assert wide.margin == -0.01
    assert wide.reason.endswith("the margin of −0.01 points")  # which the gain does not bound


def test_a_loss_that_the_claim_allows_does_not_contradict_it() -> None:
    values = {"logit": (82.5, 82.6, 82.55), "none": (82.1, 82.15, 82.1)}
    asked = claim(
        "acc[masked] >= acc[logit] - 0.4",
        name="it",
        assay=Comparison.parse("acc[logit] > acc[none]"),
    )
    small = table({**values, "masked": tuple(np.subtract(values["logit"], 0.3))}, asked)["it"]
    assert small.adjusted is not None
    assert -0.4 < small.adjusted.low < small.adjusted.high < small.margin
    assert small.verdict is Verdict.NOT_SETTLED
    assert small.reason.endswith("not beyond the claim's −0.40 points")
    large = table({**values, "masked": tuple(np.subtract(values["logit"], 2.0))}, asked)["it"]
    assert large.verdict is Verdict.CONTRADICTED


def test_without_a_gain_no_loss_could_show() -> None:
    values = {"logit": NONE, "none": (82.3, 82.1, 82.5), "masked": tuple(np.add(NONE, 0.01))}
    asked = claim(
        "acc[masked] >= acc[logit] - 3", name="it", assay=Comparison.parse("acc[logit] > acc[none]")
    )
    found = table(values, asked)["it"]
    assert found.verdict is Verdict.NOT_SETTLED
    assert found.reason.startswith(
        "the gain (Top-1, logit − none) is not shown in these runs, so no loss of it could show: "
        "it is 0.00 points over 3 paired seeds (98.15 % CI "
    )
    assert found.reason.endswith("; by itself the claim is supported (Top-1, masked − logit)")
    near = table(values, replace(asked, holds=Comparison.parse("acc[masked] >= acc[logit]")))["it"]
    assert "surely show" not in near.reason  # nothing is shown that could bound the margin
    assert table(values, replace(asked, assay=None))["it"].verdict is Verdict.SUPPORTED


def test_supported_survives_failed_seeds_or_is_not_settled() -> None:
    steady = {"a": (84.0, 84.1, 84.05, 84.1, 84.0), "b": (82.0, 82.1, 82.0, 82.0, 82.1, 82.05)}
    lost = {"a": (1,)}
    found = table(steady, claim("acc[a] > acc[b]", name="it"), failed=lost)["it"]
    assert (found.verdict, found.failed_seeds) == (Verdict.SUPPORTED, (1,))
    assert found.reason.endswith(
        "1 seed of a failed: supported too with each at the worst value of its row"
    )
    # seed 1 of b was so good that the worst of a would be far below it
    wild = {"a": (84.0, 84.1, 84.0, 84.1, 83.0), "b": (82.0, 85.0, 82.1, 82.0, 82.0, 81.05)}
    asked = claim("acc[a] > acc[b]", name="it")
    finished = {"a": wild["a"], "b": tuple(np.delete(wild["b"], 1))}
    assert table(finished, asked)["it"].verdict is Verdict.SUPPORTED
    found = table(wild, asked, failed=lost)["it"]
    assert found.verdict is Verdict.NOT_SETTLED
    assert found.reason.endswith(
        "1 seed of a failed: with each at the worst value of its row the claim is not supported"
    )


def failing(holds: str, values: Values, **failed: tuple[int, ...]) -> ClaimResult:
    comparison = Comparison.parse(holds).among(values)
    judged = replace(claim(holds), holds=comparison)
    return table(values, judged, failed=failed)[holds]


@pytest.mark.parametrize("better", ["higher", None])
def test_the_sign_of_each_term_decides_what_is_worst_for_a_failed_seed(better: str | None) -> None:
    column = replace(ACC, better=better)  # type: ignore[arg-type]
    values = {"a": (1.0, 3.0), "b": (1.0, 3.0), "c": (1.0, 3.0)}

    def worst(holds: str) -> list[float]:
        comparison = Comparison.parse(holds)
        sides = [
            Side(label=cell.row, values={0: 1.0, 1: 3.0}, failed_seeds=(2,))
            for cell in comparison.cells
        ]
        one = measured(comparison, column, sides)
        assert one.measure.summary is not None
        assert one.measure.summary.n == len(values["a"])
        assert one.at_worst is not None
        found = at_worst(comparison, sides)
        return [side.values[2] for side in found]

    assert worst("acc[a] > acc[b]") == [1, 3]
    assert worst("acc[a] - acc[b] > 0") == [1, 3]
    assert worst("acc[a] + acc[b] > acc[c]") == [1, 1, 3]
    assert worst("acc[a] - 2 * acc[b] + acc[c] < 5") == [3, 1, 3]
    assert worst("acc[a] > 9 - acc[b]") == [1, 1]
    assert worst("acc[a] - acc[b] > acc[c] - 2 * acc[b]") == [1, 1, 3, 1]  # b in all counts +1


def test_whole_images_leave_a_variance_to_every_term() -> None:
    same = {"a": (80.0, 80.0, 80.0), "b": (70.0, 70.0, 70.0), "c": (60.0, 60.0, 60.0)}
    step = (100 / 100) ** 2 / 12

    def floor(holds: str) -> float:
        comparison = Comparison.parse(holds)
        sides = [
            Side(label=cell.row, values=dict(enumerate(same[cell.row])))
            for cell in comparison.cells
        ]
        return Pools((), {}, 100).floor(measured(comparison, ACC, sides))

    assert floor("acc[a] > acc[b]") == pytest.approx(2 * step)
    assert floor("acc[a] - 2 * acc[b] > acc[c] + 1") == pytest.approx((1 + 4 + 1) * step)
    assert floor("acc[a] > 0.5 * acc[b] + 1") == pytest.approx((1 + 0.25) * step)
    assert floor("acc[a] > 1.1 * acc[b]") == pytest.approx((1 / 80**2 + 1 / 70**2) * step)
    assert floor("acc[a] - acc[a] + acc[b] > 1") == pytest.approx(step)


def test_seeds_that_failed_in_a_row_of_several_are_told_and_held_against_the_claim() -> None:
    values: dict[str, Sequence[float]]
    values = {f"r{i}": (80.0, 80.1, 79.9, 80.0) for i in range(1, 7)}
    values |= {f"s{i}": (70.0, 70.1, 69.9, 70.2) for i in range(1, 7)}
    every = "every(acc[r{n}] > acc[s{n}])"
    assert failing(every, values).verdict is Verdict.SUPPORTED
    kept = failing(every, values, r1=(0,))
    assert kept.verdict is Verdict.SUPPORTED
    assert kept.reason.endswith(
        "1 seed of r1 failed: supported too with each at the worst value of its row"
    )
    values["r1"] = (71.0, 71.1, 70.9)
    values["s1"] = (78.0, 70.1, 70.0, 69.9)  # far better than the worst of r1 at its failed seed
    lost = failing(every, values, r1=(0,))
    assert lost.verdict is Verdict.NOT_SETTLED
    assert "with each at the worst value of its row the claim is not supported" in lost.reason
    few = "share(acc[r{n}] < acc[s{n}]) <= 0.9"
    assert "1 seed of r1 failed" in failing(few, values, r1=(0,)).reason


def test_every_shows_nothing_where_no_seed_scatters() -> None:
    values = {"r1": (80.0, 80.0, 80.0), "r2": (80.0, 81.0, 80.5), "s": (70.0, 70.0, 70.0)}
    found = failing("every(acc[r{n}] > acc[s])", values)
    assert found.verdict is Verdict.NOT_SETTLED
    assert (found.ci, found.p) == (None, None)
    assert "equal in all seeds" in found.reason


def test_a_correlation_with_what_never_varies_means_nothing() -> None:
    values = {f"r{i}": (80.1, 80.1, 80.1) for i in range(5)}
    values |= {f"s{i}": (70.0 + i, 70.1 + i, 70.2 + i) for i in range(5)}
    values["r3"] = (80.1, 80.1 + 1e-14, 80.1)
    found = failing("correlation(acc[r{n}], acc[s{n}]) > 0.5", values)
    assert found.verdict is Verdict.NOT_SETTLED
    assert found.reason == (
        "correlation over 5 rows of acc[r{n}], acc[s{n}] means nothing: one of the two is the same "
        "in all rows"
    )
