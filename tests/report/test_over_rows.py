"""Sums of cells, and what is said of several rows at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy import stats

from harness.report.history import at_epochs
from harness.report.inference import LEVEL
from harness.report.measure import Side
from harness.report.model import ClaimResult, FinishedRun, RowResult, Verdict
from harness.report.over_rows import deciding_measure
from harness.spec.claims import Comparison
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.spec.table import Claim, Row
from tests.report.models import ACC, NOWHERE, PFLOPS
from tests.report.test_claims import alone


def judged(text: str, values: Mapping[str, Sequence[float]], column: object = ACC) -> ClaimResult:
    comparison = Comparison.parse(text).among(values)
    claim = Claim(id="claim", text="A claim", holds=comparison, node=NOWHERE)
    return alone(claim, ACC if column is ACC else PFLOPS, *sides(comparison, values))


def sides(comparison: Comparison, values: Mapping[str, Sequence[float]]) -> list[Side]:
    return [
        Side(label=cell.row.upper(), values=dict(enumerate(values[cell.row])))
        for cell in comparison.cells
    ]


FOUR = {
    "a": [75.3, 75.1, 75.6],
    "b": [74.0, 74.1, 74.2],
    "c": [72.9, 73.2, 73.0],
    "d": [72, 72, 73],
}


def test_a_difference_of_differences_is_paired_over_all_four_cells() -> None:
    found = judged("acc[a] - acc[b] > acc[c] - acc[d] + 0.1", FOUR)
    a, b, c, d = (np.array(FOUR[row], float) for row in "abcd")
    differences = (a - b) - (c - d)
    low, high = stats.t.interval(1 - LEVEL, 2, differences.mean(), stats.sem(differences))
    assert found.estimate == pytest.approx(differences.mean())
    assert found.ci is not None
    assert (found.ci.low, found.ci.high) == pytest.approx((low, high))
    assert (found.margin, found.unit, found.n) == (pytest.approx(0.1), "points", 3)
    assert found.quantity == "Top-1, (A − B) − (C − D)"


def test_a_sum_alone_has_a_bound_and_factors() -> None:
    found = judged("2 * acc[a] - acc[b] <= 80", FOUR)
    a, b = (np.array(FOUR[row], float) for row in "ab")
    assert found.estimate == pytest.approx((2 * a - b).mean())
    assert found.quantity == "Top-1, (2 × A − B)"
    computed = judged("pflops[a] <= 0.5 * pflops[b] + 0.5 * pflops[c]", FOUR, PFLOPS)
    assert computed.estimate == pytest.approx(75.3333333 - (74.1 + 73.0333333) / 2)
    assert "computed exactly" in computed.reason


def test_a_seed_that_one_cell_lacks_is_in_no_sum() -> None:
    comparison = Comparison.parse("acc[a] - acc[b] > acc[c]")
    values = [
        Side(label=row, values=seeds)
        for row, seeds in (
            ("a", {0: 9.0, 1: 8.0, 2: 7.0}),
            ("b", {0: 1.0, 2: 1.0}),
            ("c", {0: 2.0, 1: 2.0}),
        )
    ]
    measure = deciding_measure(comparison, ACC, *values)
    assert measure.summary is not None
    assert (measure.summary.n, measure.summary.mean) == (1, 6.0)


PAIRS = {f"r{i}": [70.0 + i, 70.2 + i] for i in range(10)} | {
    f"r{i}.masked": [70.0 + i + (0.5 if i < 8 else -0.5), 70.2 + i + (0.4 if i < 8 else -0.5)]
    for i in range(10)
}


def test_a_share_has_the_interval_of_clopper_and_pearson() -> None:
    found = judged("share(acc[{pair}.masked] > acc[{pair}]) >= 0.5", PAIRS)
    expected = stats.binomtest(8, 10, 0.5)
    exact = expected.proportion_ci(1 - LEVEL, method="exact")
    assert found.ci is not None
    assert (found.estimate, found.n) == (0.8, 10)
    assert (found.ci.low, found.ci.high) == pytest.approx((exact.low, exact.high))
    assert found.verdict == Verdict.NOT_SETTLED  # from 0.44
    assert "8 of 10; the interval is over rows" in found.reason
    comparison = found.claim.holds
    over = deciding_measure(comparison, ACC, *sides(comparison, PAIRS)).over
    assert over is not None
    assert over.p == pytest.approx(expected.pvalue)
    assert judged("share(acc[{pair}.masked] > acc[{pair}]) >= 0.38", PAIRS).verdict == "supported"
    assert judged("share(acc[{pair}.masked] < acc[{pair}]) > 0.62", PAIRS).verdict == "contradicted"


def test_a_share_needs_every_row() -> None:
    found = judged("share(acc[{pair}.masked] > acc[{pair}]) >= 0.5", PAIRS | {"r3": []})
    assert found.verdict == Verdict.NOT_RUN
    assert found.reason == "not tested: no result for R3"


def test_every_is_as_strong_as_its_weakest_row() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (6, 4))
    values = {f"r{i}": list(70.0 + i + 0 * noise[i]) for i in range(6)}
    values |= {f"r{i}.m": list(70.2 + i + noise[i]) for i in range(6)}
    found = judged("every(acc[{r}.m] >= acc[{r}] - 0.3)", values)
    means = noise.mean(1) + 0.2
    errors = noise.std(1, ddof=1) / 2
    low = (means - stats.t.ppf(1 - LEVEL / 2, 3) * errors).min()
    high = (means + stats.t.ppf(1 - LEVEL / 12, 3) * errors).min()
    assert found.ci is not None
    assert found.estimate == pytest.approx(means.min())
    assert (found.ci.low, found.ci.high) == pytest.approx((low, high))
    assert found.verdict == Verdict.SUPPORTED
    broken = values | {"r2.m": [70.0, 70.1, 70.05, 70.02]}
    assert judged("every(acc[{r}.m] >= acc[{r}] - 0.3)", broken).verdict == Verdict.CONTRADICTED
    turned = judged("every(acc[{r}] <= acc[{r}.m] + 0.3)", values)
    assert turned.verdict == Verdict.SUPPORTED
    assert turned.ci is not None
    assert (turned.ci.low, turned.ci.high) == pytest.approx((-high, -low))


def test_every_errs_no_more_often_than_it_says() -> None:
    """Ten rows at their margin: by a false "supported" or "contradicted" in 5 % at most."""
    random = np.random.default_rng(1)
    rows = [f"r{i}" for i in range(10)]
    zero = {row: [0.0] * 3 for row in rows}
    text = "every(acc[{r}.m] >= acc[{r}])"
    verdicts = [
        judged(text, zero | {f"{row}.m": list(random.normal(0, 1, 3)) for row in rows}).verdict
        for _ in range(200)
    ]
    wrong = sum(verdict is not Verdict.NOT_SETTLED for verdict in verdicts)
    assert wrong <= stats.binom.ppf(0.999, 200, 0.05)


def test_a_correlation_has_the_interval_of_fisher() -> None:
    random = np.random.default_rng(2)
    x, noise = random.normal(0, 1, 12), random.normal(0, 0.5, 12)
    values = {f"r{i}": [float(x[i])] * 2 for i in range(12)}
    values |= {f"r{i}.t": [float(-x[i] + noise[i])] * 2 for i in range(12)}
    found = judged("correlation(acc[{r}], acc[{r}.t]) < 0", values)
    expected = stats.pearsonr(x, -x + noise)
    low, high = expected.confidence_interval(1 - LEVEL)
    assert found.ci is not None
    assert found.estimate == pytest.approx(expected.statistic)
    assert (found.ci.low, found.ci.high) == pytest.approx((low, high))
    assert found.verdict == Verdict.SUPPORTED


def test_a_cell_at_an_epoch_is_read_from_what_was_recorded() -> None:
    table = load_table("maskedkd/budget")
    config = expand(table, "fashion-mnist", rows="logit.x4").rows[0].config
    assert config.recipe.epochs == 4
    rows = [
        RowResult(spec=Row(id=row, label=row, node=NOWHERE), name=row, config=config)
        for row in "ab"
    ]
    # steps of 937.5 an epoch, which may end within one
    curve = {938: 50.0, 1875: 60.0, 2830: 65.0, 3750: 70.0}
    runs = [
        FinishedRun(
            row=row,
            seed=seed,
            records=tuple(
                {"step": step, "epoch": step / 937.5, "val/top1": value + seed}
                for step, value in curve.items()
            ),
        )
        for row in "ab"
        for seed in (0, 1)
    ]
    runs += [FinishedRun(row="a", seed=seed, metrics={"knn": 1.0}) for seed in (0, 1)]
    cells = Comparison.parse("acc[a]@25% > acc[a]@2 + acc[b]@3 + acc[b]").cells
    given = [Side(label=cell.row, values={0: 70.0, 1: 71.0}) for cell in cells]
    found = at_epochs(given, cells, [ACC], rows, runs)
    assert [dict(side.values) for side in found] == [
        {0: 50.0, 1: 51.0},
        {0: 60.0, 1: 61.0},
        {},
        {0: 70.0, 1: 71.0},
    ]
    assert found[0].label == "a after 1 epoch"
    assert (
        found[2].missing_reason == "not evaluated after 3 of 4 epochs, but after 1.001, 2, 3.019, 4"
    )
