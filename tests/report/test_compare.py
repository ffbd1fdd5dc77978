"""`harness diff`: what a drift is, on this machine and on another."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.cli import main
from harness.report.collect import collect_finished
from harness.report.compare import DriftTests, compare_cells
from harness.report.inference import LEVEL
from harness.report.publish import Folders, publish
from harness.report.statistics import summarise
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import Store
from tests.conftest import LIGHT_RECIPE, Experiments
from tests.report.models import ACC
from tests.report.results import fill, finish, run_of
from tests.spec.specs import GOOD

NAME = "paper/good.paper"


def machine(cpu: str) -> dict[str, object]:
    return {"cpu": cpu, "torch": {"capability": "AVX2", "version": "2.0"}, "processes": 1}


@pytest.fixture
def reference(experiments: Experiments, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Results of three seeds on one CPU, put aside."""
    run(experiments, "A CPU", (72.0, 72.4, 72.2))
    shutil.move(tmp_path / "results", tmp_path / "theirs")
    capsys.readouterr()
    return tmp_path / "theirs"


def run(experiments: Experiments, cpu: str, values: tuple[float, ...]) -> None:
    """Train `none` with these values on `cpu`, and report."""
    table = load_table(experiments.table("paper/good", GOOD))
    expansion = expand(table, "paper", seeds=range(len(values)))
    for seed, value in enumerate(values):
        trained = run_of(expansion, "train", "none", seed)
        finish(Store(), trained, {"val/top1": value}, environment=machine(cpu))
    fill(Store(), expansion, {})
    assert main(["report", "paper/good", "--profile", "paper", "--format", "csv"]) == 0


def diff(reference: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["diff", "paper/good", "--profile", "paper", "--reference", str(reference)])
    out, err = capsys.readouterr()
    assert err == ""
    return code, out


def test_another_cpu_draws_anew_and_that_is_no_drift(
    experiments: Experiments, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(experiments, "Another CPU", (72.9, 72.1, 72.5))
    code, out = diff(reference, capsys)
    assert code == 0
    assert "another CPU (Another CPU here, A CPU there): the same seeds are new draws" in out
    assert "3 against 3 seeds can find in Top-1 is a drift of" in out


def test_the_same_machine_with_other_bits_has_drifted(
    experiments: Experiments, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(experiments, "A CPU", (72.0, 72.4, 72.2000001))
    code, out = diff(reference, capsys)
    assert code == 2
    assert "other bits" in out
    assert "1 drifted" in out


def test_the_same_bits_are_the_same(
    experiments: Experiments, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(experiments, "A CPU", (72.0, 72.4, 72.2))
    code, out = diff(reference, capsys)
    assert (code, "drifted" in out) == (0, False)


def test_a_large_drift_on_another_cpu_is_found(
    experiments: Experiments, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(experiments, "Another CPU", (75.0, 75.4, 75.2))
    assert diff(reference, capsys)[0] == 2


def test_the_p_values_are_those_of_a_t_test_adjusted_by_holm() -> None:
    rng = np.random.default_rng(0)
    samples = [(rng.normal(0, 1, 3), rng.normal(shift, 1, 3)) for shift in (0.0, 3.0, 0.5)]
    pairs = [
        (("row", "acc"), summarise(list(one)), summarise(list(other))) for one, other in samples[:1]
    ]
    one, other = samples[0]
    # alone, a cell is its own column: Student's test
    assert DriftTests.of(pairs, {"acc": ACC}).p["row", "acc"] == pytest.approx(
        stats.ttest_ind(one, other).pvalue
    )
    pairs = [
        ((f"row{index}", f"acc{index}"), summarise(list(one)), summarise(list(other)))
        for index, (one, other) in enumerate(samples)
    ]
    raw = sorted(stats.ttest_ind(one, other).pvalue for one, other in samples)
    holm = np.maximum.accumulate([min(1.0, p * (3 - index)) for index, p in enumerate(raw)])
    assert sorted(DriftTests.of(pairs, {}).p.values()) == pytest.approx(list(holm))


def test_repeats_on_other_cpus_rarely_drift_and_what_can_be_found_is_found() -> None:
    rng = np.random.default_rng(1)
    false, found, times = 0, 0, 400
    for _ in range(times):
        rows = [(rng.normal(0, 0.5, 3), rng.normal(0, 0.5, 3)) for _ in range(8)]
        tests = _tests(rows)
        false += any(p < 0.01 for p in tests.p.values())
        ((_, _, size),) = tests.smallest().values()
        rows[0] = (rows[0][0], rows[0][1] + size)
        found += _tests(rows).p["0", "acc"] < 0.01
    assert false <= 0.02 * times
    assert found == pytest.approx(0.8 * times, abs=0.08 * times)


def _tests(rows: list[tuple[np.ndarray, np.ndarray]]) -> DriftTests:
    pairs = [
        ((str(index), "acc"), summarise(list(map(float, one))), summarise(list(map(float, other))))
        for index, (one, other) in enumerate(rows)
    ]
    return DriftTests.of(pairs, {"acc": ACC})


def test_a_reference_without_per_seed_values_says_so(
    experiments: Experiments, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (reference / f"{NAME}.seeds.csv").unlink()
    run(experiments, "A CPU", (72.9, 72.1, 72.5))
    columns = load_table("paper/good").columns
    _, notes = compare_cells(Path("results") / f"{NAME}.csv", reference / f"{NAME}.csv", columns)
    assert "the reference keeps no per-seed values" in notes[0]
    assert diff(reference, capsys)[0] == 0


def test_claims_are_told_for_each_machine_whose_values_are_given(
    experiments: Experiments, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = load_table("paper/good")
    here, there = Store(), Store(reference)
    for store, cpu, values in (
        (there, "A CPU", (75.0, 75.0, 75.0)),
        (here, "Another CPU", (73.0, 73.4, 73.2)),
    ):
        expansion = expand(table, "paper", seeds=range(3))
        for seed, value in enumerate(values):
            for row, amount in (("none", 72.0), ("logit", value)):
                planned = run_of(expansion, "train", row, seed)
                if store.record(planned.identity) is None:
                    finish(store, planned, {"val/top1": amount}, environment=machine(cpu))
        model = collect_finished(table, "paper", store)
        publish(model, ("csv",), Folders.beside(store.root))
    model = collect_finished(table, "paper", here, pools=[reference])
    (claim,) = model.claims
    groups = {name: pytest.approx(values) for name, values in claim.machines}
    assert groups == {"Another CPU": [1.0, 1.4, 1.2], "A CPU": [3.0, 2.6, 2.8]}
    told = "machines: +1.20 points on Another CPU (3 seeds), +2.80 points on A CPU (3 seeds)"
    assert told in claim.reason
    # two means 1.6 apart, one degree of freedom: 2 -+ t(0.99075) * 0.8
    half = stats.t.ppf(1 - LEVEL / 2, 1) * 0.8
    ends = f"{2 - half:+.2f} to {2 + half:+.2f}".replace("-", "\N{MINUS SIGN}")
    assert claim.reason.endswith(f"; of machines like these +2.00 points (98.15 % CI {ends})")
    assert main(["report", "paper/good", "--pool", "nowhere", "--format", "csv"]) == 1
    assert "there is no paper/good.paper.seeds.csv in it" in capsys.readouterr().err


def test_values_of_another_configuration_are_not_set_beside_these(
    experiments: Experiments, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The recipe has changed since, here for a seed that the other machine alone has."""
    run(experiments, "Another CPU", (73.0, 73.4))
    words = ["paper/good", "--profile", "paper", "--format", "csv", "--pool", str(reference)]
    assert main(["report", *words]) == 0
    experiments.recipe("light", LIGHT_RECIPE.replace("1e-3", "2e-3"))
    capsys.readouterr()
    assert main(["report", *words]) == 1
    told = capsys.readouterr().err
    assert f"error: --pool {reference}: row 'none', column 'acc', seed 0 is of run " in told
    assert "configured in another way than this table is now" in told
    experiments.table("paper/other", GOOD)  # the page of all claims goes on without that table
    assert main(["claims", "--profile", "paper", "--pool", str(reference)]) == 1
    said = capsys.readouterr()
    assert "error: paper/good is left out: --pool " in said.err
    assert "paper/other" in said.out


def test_a_pool_that_no_table_has_is_told(
    experiments: Experiments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/good", GOOD)
    assert main(["claims", "--profile", "paper", "--pool", str(tmp_path / "nowher")]) == 1
    told = capsys.readouterr().err
    assert f"--pool {tmp_path}/nowher: there are no per-seed values of any table" in told
