"""Values that depend on no seed: they stand beside every seed of what is trained."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import harness
from harness.report.builder import build_report
from harness.report.inference import LEVEL
from harness.report.judging import Pools, judge_claims, measured
from harness.report.measure import Side
from harness.report.model import ClaimResult, Draw, Machine, TableModel, Verdict
from harness.report.pools import on_machines
from harness.report.render.markdown import markdown
from harness.report.settle import unsettled
from harness.spec.claims import Comparison
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.spec.table import Claim
from harness.store import Store
from tests.conftest import TINY_VIT, Experiments
from tests.report.models import ACC, NOWHERE
from tests.report.results import fail, finish

TABLE = f"""
paper: {{title: Pixels and costs}}
columns:
  knn: {{label: k-NN, from: knn, metric: val/knn20_top1, unit: "%", better: higher}}
  whole: {{label: Whole teacher, from: cost, metric: teacher/mlp_gmacs, unit: "%", better: higher}}
  acc: {{label: Top-1, from: train, metric: val/top1, unit: "%", better: higher}}
  gflops: {{label: GFLOPs, from: cost, metric: teacher/gmacs, unit: GFLOPs, better: lower}}
seeds: [0, 1, 2]
base:
  data: {{name: fashion-mnist}}
  student: {{{TINY_VIT}}}
  teacher: {{{TINY_VIT}}}
  method: {{name: distillation, loss: logit}}
  recipe: {{epochs: 1, batch_size: 64, lr: 1e-3}}
rows:
  - {{id: a, label: A}}
  - {{id: b, label: B, set: {{recipe: {{epochs: 2}}}}}}
  - {{id: c, label: C, set: {{recipe: {{epochs: 3}}}}}}
  - {{id: d, label: D, set: {{recipe: {{epochs: 4}}}}}}
  - {{id: pixels, label: pixels, set: {{teacher: null, method: pixels}}}}
claims:
  - {{id: pixels, text: It beats pixels, holds: "knn[a] > knn[pixels]"}}
  - {{id: teacher, text: "[a] stays behind its teacher", holds: "acc[a] < whole[a] - 1"}}
  - {{id: between, text: It is between, holds: "acc[a] - whole[a] < knn[pixels] - whole[a] + 99"}}
  - id: costs
    text: What costs more teaches better
    holds: "correlation(acc[{{row}}], gflops[{{row}}] where {{row}} is not pixels) > 0"
profiles: {{paper: {{}}}}
"""
A = {"knn": (60.0, 61.0, 60.4), "acc": (70.0, 71.0, 70.4)}


def model_of(experiments: Experiments, *, failed: int | None = None) -> TableModel:
    """Row A with three seeds, one of pixels; B to D like A, and each costs more."""
    experiments.table("paper/seedless", TABLE)
    expansion = expand(load_table("paper/seedless"), "paper")
    for run in expansion.runs:
        row, seed = run.title.row, run.title.seed or 0
        more = 0.0 if row == "pixels" else float("abcd".index(row))
        if run.task == "train" and (row, seed) == ("a", failed):
            fail(Store(), run, "the loss is nan")
        elif run.task == "train":
            finish(Store(), run, {"val/top1": A["acc"][seed] + more})
        elif run.task == "knn" and not (row == "a" and seed == failed):
            value = 50.0 if row == "pixels" else A["knn"][seed] + more
            finish(Store(), run, {"val/knn20_top1": value})
        elif run.task == "cost":
            finish(Store(), run, {"teacher/gmacs": 4.0, "teacher/mlp_gmacs": 75.0})
    return harness.load("paper/seedless").results("paper").model


def claims_of(model: TableModel) -> dict[str, ClaimResult]:
    return {claim.claim.id: claim for claim in model.claims}


def test_one_run_of_pixels_stands_beside_every_seed(experiments: Experiments) -> None:
    model = model_of(experiments)
    assert [len(model.row(row).cell("knn").values) for row in ("a", "pixels")] == [3, 1]
    found = claims_of(model)["pixels"]
    assert found.n == 3
    assert found.estimate == pytest.approx(np.mean(A["knn"]) - 50.0)
    assert found.looks == (3,)
    assert "alone" not in found.reason
    page = markdown(build_report(model), pictures="")
    (line,) = [line for line in page.splitlines() if line.startswith("| pixels ")]
    assert "n=" not in line  # it lacks no seed
    assert found.verdict is Verdict.SUPPORTED


def test_what_is_computed_stands_beside_every_seed(experiments: Experiments) -> None:
    found = claims_of(model_of(experiments))
    assert found["teacher"].claim.text == "A stays behind its teacher"
    assert found["teacher"].n == 3
    assert found["teacher"].estimate == pytest.approx(np.mean(A["acc"]) - 75.0)
    assert found["teacher"].look_seeds == ((0, 1, 2),)
    assert found["teacher"].quantity == "Top-1, A − A (Whole teacher)"
    assert found["between"].n == 3
    assert found["between"].estimate == pytest.approx(np.mean(A["acc"]) - 50.0)
    assert "is the same in all rows" in found["costs"].reason


def test_a_failed_seed_is_beside_what_no_seed_changes_too(experiments: Experiments) -> None:
    found = claims_of(model_of(experiments, failed=1))["teacher"]
    assert (found.n, found.failed_seeds) == (2, (1,))
    assert "1 seed of A failed" in found.reason


def test_another_machine_has_it_beside_every_seed_too(experiments: Experiments) -> None:
    model = model_of(experiments)
    other = Machine(cpu="Another CPU")
    drawn = [Draw(seed=seed, value=v + 1, machine=other) for seed, v in enumerate(A["knn"])]
    pool = {("a", "knn"): drawn, ("pixels", "knn"): [Draw(seed=0, value=50.0, machine=other)]}
    found = on_machines(claims_of(model)["pixels"], model.rows, [pool])
    here = np.array(A["knn"]) - 50.0
    assert dict(found.machines) == {
        "A CPU": pytest.approx(tuple(here)),
        "Another CPU": pytest.approx(tuple(here + 1)),
    }


def test_more_seeds_can_settle_what_is_trained_in_part(experiments: Experiments) -> None:
    model = model_of(experiments)
    still = {claim.claim.id for claim in unsettled(model)}
    open_ = {
        claim.claim.id for claim in model.claims if claim.verdict in ("not settled", "leaning")
    }
    assert still == open_


def test_beside_a_constant_a_row_scatters_as_its_values_do() -> None:
    """The prior is of single values: of differences of rows it would be another quantity."""
    text = "acc[a] > acc[pixels] + 1"
    sides = [
        Side(label="A", values=dict(enumerate(A["knn"]))),
        Side(label="pixels", values={0: 50.0}, seedless=True),
    ]
    one = measured(Comparison.parse(text), ACC, sides)
    assert one.scale == "value"
    claim = Claim(id="c", text="c", holds=one.comparison, node=NOWHERE)
    (found,) = judge_claims([claim], lambda _: one, Pools([], {}))
    low, high = stats.t.interval(1 - LEVEL, 2, np.mean(A["knn"]) - 50, stats.sem(A["knn"]))
    assert found.ci is not None
    assert (found.ci.low, found.ci.high) == pytest.approx((low, high))
    ratio = measured(Comparison.parse("acc[a] > 1.1 * acc[pixels]"), ACC, sides)
    assert (ratio.measure.ratio, ratio.scale) == (True, None)
    turned = measured(Comparison.parse("acc[pixels] < 2 * acc[a] + 1"), ACC, sides[::-1])
    assert turned.scale is None
    assert turned.measure.summary is not None
    assert turned.measure.summary.n == 3
