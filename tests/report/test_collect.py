"""From specs and run directories to the table model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from harness.plan import make_plan
from harness.report.collect import collect, expand_finished
from harness.report.figures import find
from harness.report.metrics_file import MetricsFile
from harness.report.model import Ratio, RowResult, Verdict
from harness.report.plot_data import metric_by_row
from harness.report.provenance import _data, _weights
from harness.shown_patches import TEACHER_COST, shown_patches
from harness.spec.expand import Expansion, expand
from harness.spec.load import load_table
from harness.store import Artifact, Store
from tests.conftest import TINY_VIT, Experiments
from tests.report.results import fail, fill, finish, history, run_of
from tests.spec.specs import GOOD, changed

NONE, LOGIT = (72.0, 72.2), (75.0, 75.1)


@pytest.fixture
def good(experiments: Experiments) -> Expansion:
    """The good spec at its paper profile."""
    return expand(load_table(experiments.table("paper/good", GOOD)), "paper")


def test_cells_and_claims_of_finished_runs(good: Expansion) -> None:
    store = Store()
    fill(store, good, {"none": NONE, "logit": LOGIT})
    model = collect(good, store)
    cell = model.row("logit").cell("acc")
    assert cell.values == ((0, 75.0), (1, 75.1))
    assert cell.judgement is not None
    assert cell.judgement.verdict == Verdict.INDICATIVE
    exact = model.row("logit").cell("pflops")
    assert exact.values == ((0, 1767.6),)
    assert exact.judgement is not None
    assert exact.judgement.verdict == Verdict.REPRODUCED
    assert exact.published is not None
    assert exact.published.note == "scanned"
    (claim,) = model.claims
    assert (claim.n, claim.claim.holds.text) == (2, "acc[logit] > acc[none]")
    assert claim.estimate == pytest.approx(2.95)
    assert claim.quantity == "Top-1, logit − No distillation"
    assert (model.seeds, model.provenance.finished) == ((0, 1), 5)


def test_nothing_has_run(good: Expansion) -> None:
    model = collect(good, Store())
    verdicts = {
        cell.judgement.verdict for row in model.rows for cell in row.cells if cell.judgement
    }
    assert verdicts == {Verdict.MISSING}
    assert model.row("none").cell("pflops").judgement is None  # no teacher, nothing printed
    assert model.claims[0].verdict == Verdict.NOT_RUN
    assert not model.provenance.environments


def test_another_profile_is_not_comparable_and_says_why(experiments: Experiments) -> None:
    tiny = expand(load_table(experiments.table("paper/good", GOOD)), "tiny")
    store = Store()
    fill(store, tiny, {"none": NONE[:1], "logit": LOGIT[:1]})
    judgement = collect(tiny, store).row("logit").cell("acc").judgement
    assert judgement is not None
    assert (judgement.verdict, judgement.reason) == (Verdict.NOT_COMPARABLE, "smaller")


def test_a_failed_run_does_not_count(good: Expansion) -> None:
    store = Store()
    fail(store, run_of(good, "train", "none", 0), "the loss is nan")
    cell = collect(good, store).row("none").cell("acc")
    assert cell.values == ()
    assert cell.judgement is not None
    assert (cell.judgement.verdict, cell.judgement.reason) == (Verdict.FAILED, "the loss is nan")
    assert collect(good, store).provenance.failed == 1


@pytest.fixture
def own(experiments: Experiments) -> Expansion:
    """The good spec with a column for the teacher's own accuracy."""
    column = "columns:\n  own: {from: train, metric: val/teacher_top1}\n"
    table = experiments.table("paper/own", changed("columns:\n", column))
    return expand(load_table(table), "paper")


def test_the_teacher_is_followed_over_training_where_it_is_a_column(own: Expansion) -> None:
    store = Store()
    records = [
        {"step": step, "epoch": float(step), "val/top1": 70.0, "val/teacher_top1": 50.0 + step}
        for step in (1, 2)
    ]
    run = run_of(own, "train", "logit", 0)
    finish(store, run, {"val/top1": 70.0, "val/teacher_top1": 52.0}, history=records)
    curves = {curve.metric: curve.values for curve in collect(own, store).curves}
    assert curves["val/teacher_top1"] == (51.0, 52.0)


def test_what_finished_runs_cannot_have_is_not_missing(own: Expansion) -> None:
    store = Store()
    finish(store, run_of(own, "train", "none", 0), {"val/top1": 70.0})
    unfinished = collect(own, store).row("none").cell("own").judgement
    assert unfinished is not None
    assert unfinished.verdict == Verdict.MISSING
    finish(store, run_of(own, "train", "none", 1), {"val/top1": 70.0})
    assert collect(own, store).row("none").cell("own").judgement is None


@pytest.mark.parametrize("kind", ["train", "knn"])
def test_a_collapsed_network_marks_the_cells_of_its_row(
    experiments: Experiments, kind: str
) -> None:
    column = "columns:\n  knn: {from: knn, metric: val/knn20_top1}\n"
    table = load_table(experiments.table("paper/judged", changed("columns:\n", column)))
    judged, store = expand(table, "paper"), Store()
    for row in ("none", "logit"):
        for seed in (0, 1):
            std = 0.04 if (row, seed) == ("none", 1) else 0.06
            told = {one: {"features/std": std} if one == kind else {} for one in ("train", "knn")}
            finish(store, run_of(judged, "train", row, seed), {"val/top1": 1.0, **told["train"]})
            knn = {"val/knn20_top1": 1.0, **told["knn"]}
            finish(store, run_of(judged, "knn", row, seed), knn)
    finish(store, run_of(judged, "cost", "logit", None), {"teacher/train_pmacs": 1767.6})
    model = collect(judged, store)
    assert {row.id: row.collapsed for row in model.rows} == {"none": (1,), "logit": ()}
    marked = {
        (row.id, column.id)
        for row in model.rows
        for column in model.columns
        if row.has_collapsed(column)
    }
    assert marked == {("none", "knn"), ("none", "acc")}


def test_a_run_that_has_not_finished_has_not_collapsed(good: Expansion) -> None:
    store = Store()
    finish(store, run_of(good, "train", "none", 0), {"features/std": 0.04})
    found = {row.id: row for row in collect(good, store).rows}
    assert found["none"].collapsed == (0,)
    assert not found["none"].has_collapsed(collect(good, store).columns[0])  # it has no value
    assert found["logit"].collapsed == ()


def test_history_becomes_curves_and_maps(good: Expansion) -> None:
    store = Store()
    fill(store, good, {"none": NONE, "logit": LOGIT})
    model = collect(good, store)
    curve = next(c for c in model.curves if (c.row, c.seed, c.metric) == ("none", 1, "val/top1"))
    assert (curve.epochs, curve.values) == ((1.0, 2.0), pytest.approx((62.2, 72.2)))
    loss = next(c for c in model.curves if (c.row, c.seed, c.metric) == ("none", 0, "loss/total"))
    assert loss.values == (2.0, 1.0, 0.5)
    first, last = find("kept", model).select()["logit"]
    assert first.shares == (0.5,) * 8 + (1.0,) * 8
    assert (last.epoch, last.shares[0]) == (2.0, 1.0)
    assert metric_by_row(model, TEACHER_COST) == {"logit": 4.6}


def test_the_model_is_the_same_for_the_same_results_and_another_for_others(good: Expansion) -> None:
    store = Store()
    fill(store, good, {"none": NONE})
    before = collect(good, store)
    assert collect(good, store) == before
    finish(store, run_of(good, "train", "logit", 0), {"val/top1": 75.0})
    assert collect(good, store) != before


def test_a_last_loss_over_few_steps_is_no_turn_of_the_curve(good: Expansion) -> None:
    def curve(last: float) -> tuple[float, ...]:
        store = Store(Path(f"results-{last}"))
        records = [
            {"step": step, "epoch": epoch, "loss/total": 1 / (1 + epoch)}
            for step, epoch in enumerate((0.5, 1.0, 1.5, last))
        ]
        finish(store, run_of(good, "train", "none", 0), {"val/top1": 70.0}, history=records)
        (found,) = collect(good, store).curves
        return found.epochs

    assert curve(1.7) == (0.5, 1.0, 1.5)
    assert curve(1.75) == (0.5, 1.0, 1.5, 1.75)


def test_commits_of_one_environment_are_listed_together(good: Expansion) -> None:
    store = Store()
    for seed, commit in ((0, "a" * 40), (1, "b" * 40)):
        run = run_of(good, "train", "none", seed)
        finish(store, run, {"val/top1": 70.0}, environment={"commit": commit})
    finish(store, run_of(good, "cost", "logit", None), {}, environment={"commit": "a" * 40})
    other = run_of(good, "train", "logit", 0)
    finish(store, other, {"val/top1": 75.0}, environment={"cpu": "Another CPU"})
    first, second = collect(good, store).provenance.environments
    both = "aaaaaaaaaaaa (2 runs) and bbbbbbbbbbbb (1 run)"
    assert (first.runs, dict(first.facts)["Commit"]) == (3, both)
    assert (second.runs, dict(second.facts)["Commit"]) == (1, "0123456789ab")


def test_provenance_is_grouped_by_environment(good: Expansion) -> None:
    store = Store()
    fill(store, good, {"none": NONE})
    (environment,) = collect(good, store).provenance.environments
    facts = dict(environment.facts)
    assert environment.runs == 3
    assert facts["Commit"] == "0123456789ab"
    assert facts["Software"] == "Python 3.11.7, torch 2.0, timm 1.0"
    assert facts["Computed on"] == "A CPU, 2 cores, 1 used by each run"


def test_provenance_names_the_data_and_says_when_its_version_is_of_a_copy(
    good: Expansion,
) -> None:
    store = Store()
    fill(store, good, {"none": NONE})
    (told,) = collect(good, store).provenance.notes[:1]
    assert told == "Data: fashion-mnist (version d1fd84a877f3)."
    record = next(one for one in store.records() if one.title.row == "none")
    copy = {"train": {"data": {"name": "cifar10", "version": "files-12ab"}}}
    (told,) = _data([record, dataclasses.replace(record, plain=copy)])
    assert told.startswith("Data: cifar10 (version files-12ab) and fashion-mnist (version d1fd")
    assert "that begins with files- is known by the files of the copy" in told


def test_provenance_names_weights_of_the_hub_by_their_checksums(good: Expansion) -> None:
    store = Store()
    fill(store, good, {"none": NONE})
    record = next(one for one in store.records() if one.title.row == "none")
    files = [{"model.safetensors": Artifact(sign * 64, 1)} for sign in "ab"]
    used = [{"hub:net.tag": one, record.identity: one} for one in files]
    (told,) = _weights([record, *(dataclasses.replace(record, used=one) for one in used)])
    both = f"net.tag (SHA-256 {'a' * 12}) and net.tag (SHA-256 {'b' * 12})"
    assert told == f"Weights of the model hub: {both}."
    assert not list(_weights([record]))


def test_seeds_that_were_run_besides_the_usual_ones_count(good: Expansion) -> None:
    store = Store()
    wider = expand(good.table, "paper", seeds=[0, 1, 5, 6])
    fill(store, good, {"none": NONE})
    finish(store, run_of(wider, "train", "none", 5), {"val/top1": 72.4})
    model = collect(expand_finished(good.table, "paper", store.records()), store)
    assert model.row("none").cell("acc").values == ((0, 72.0), (1, 72.2), (5, 72.4))
    assert model.seeds == (0, 1, 5)
    assert expand_finished(good.table, "paper", store.records()) == expand(
        good.table, "paper", seeds=[0, 1, 5]
    )


SPEEDS = f"""\
paper: {{title: A paper, table: "2"}}
columns:
  speed:
    {{from: throughput, metric: teacher/throughput, better: higher, compare: ratio, tolerance: 10%}}
seeds: [0]
base:
  recipe: light
  data: {{name: fashion-mnist}}
  student: {{{TINY_VIT}}}
  teacher: {{{TINY_VIT}}}
  method: distillation
rows:
  - {{id: full, label: Logit, group: One, published: {{speed: 1000}}}}
  - {{id: half, label: +Half, group: One, set: {{method: {{mask: {{keep: 8}}}}}}, published: {{speed: 2000}}}}
  - {{id: far, label: +Half, group: Two, set: {{method: {{mask: {{keep: 4}}}}}}, published: {{speed: 4000}}}}
  - id: other
    label: Other
    group: Three
    set: {{teacher: {{depth: 1}}, method: {{mask: {{keep: 8}}}}}}
    published: {{speed: 9}}
claims:
  - {{id: faster, text: Half is faster, holds: "speed[half] >= 2 * speed[full]"}}
profiles: {{paper: {{}}}}
"""  # noqa: E501


@pytest.fixture
def speeds(experiments: Experiments) -> Expansion:
    """Rows of teachers at several keep counts."""
    return expand(load_table(experiments.table("paper/speeds", SPEEDS)), "paper")


def test_speed_is_compared_with_the_unmasked_row(speeds: Expansion) -> None:
    store = Store()
    for row, speed in {"full": 500.0, "half": 950.0, "far": 1500.0}.items():
        finish(store, run_of(speeds, "throughput", row, None), {"teacher/throughput": speed})
    model = collect(speeds, store)
    cells = {row.id: row.cell("speed") for row in model.rows}
    assert cells["full"].ratio == Ratio(baseline="", measured=1.0, published=1.0)
    assert cells["half"].ratio == Ratio(baseline="full", measured=1.9, published=2.0)
    assert cells["far"].ratio == Ratio(baseline="full", measured=3.0, published=4.0)  # same teacher
    assert cells["other"].ratio is None  # a teacher that the paper shows only masked
    found = {row: cell.judgement.verdict for row, cell in cells.items() if cell.judgement}
    assert found == {
        "full": Verdict.NOT_COMPARABLE,
        "half": Verdict.REPRODUCED,
        "far": Verdict.BELOW,
        "other": Verdict.MISSING,
    }


def test_a_printed_ratio_stands_in_for_a_missing_baseline(experiments: Experiments) -> None:
    text = changed(", published: {speed: 1000}", "", SPEEDS)
    text = changed(
        "published: {speed: 2000}", "published: {speed: {value: 2000, ratio: 1.9}}", text
    )
    table = load_table(experiments.table("paper/speeds", text))
    speeds, store = expand(table, "paper"), Store()
    for row, speed in {"full": 500.0, "half": 950.0, "far": 1500.0}.items():
        finish(store, run_of(speeds, "throughput", row, None), {"teacher/throughput": speed})
    cells = {row.id: row.cell("speed") for row in collect(speeds, store).rows}
    assert cells["half"].ratio == Ratio(baseline="full", measured=1.9, published=1.9)
    assert cells["half"].judgement is not None
    assert cells["half"].judgement.verdict is Verdict.REPRODUCED
    assert cells["far"].ratio is None  # neither the baseline's number nor the ratio is printed
    assert cells["full"].ratio is None


def is_masked(row: RowResult) -> bool:
    """Whether its teacher sees fewer patches than there are."""
    shown = None if row.config is None else shown_patches(row.config)
    return shown is not None and shown[0] < shown[1]


def test_every_printed_speed_up_of_table_2_can_be_held_against(tmp_path: Path) -> None:
    model = collect(expand(load_table("maskedkd/table2"), "paper"), Store(tmp_path))
    ratios = {
        row.id: ratio.published
        for row in model.rows
        if (ratio := row.cell("throughput").ratio) is not None and ratio.baseline
    }
    masked = {
        row.id
        for row in model.rows
        if row.cell("throughput").published is not None and is_masked(row)
    }
    assert masked <= ratios.keys()
    printed = {
        "deit_ti.deit_s.logit.keep50": 2.1,
        "deit_ti.deit3_s.logit.keep50": 2.0,
        "deit_ti.deit3_s.logit.keep25": 3.9,
        "deit_ti.clip_b.logit.keep75": 1.4,
        "deit_ti.clip_b.logit.keep50": 2.0,
        "mae_h.deit3_h_21k.logit.keep50": 2.0,
    }
    for row, ratio in printed.items():
        assert ratios[row] == pytest.approx(ratio, abs=0.05), row


def test_nothing_is_compared_with_a_printed_zero(experiments: Experiments) -> None:
    text = changed("published: {speed: 1000}", "published: {speed: 0}", SPEEDS)
    speeds, store = expand(load_table(experiments.table("paper/speeds", text)), "paper"), Store()
    for row, speed in {"full": 500.0, "half": 950.0}.items():
        finish(store, run_of(speeds, "throughput", row, None), {"teacher/throughput": speed})
    cell = collect(speeds, store).row("half").cell("speed")
    assert cell.ratio == Ratio(baseline="full", measured=1.9, published=None)
    assert cell.judgement is not None
    assert cell.judgement.verdict is Verdict.NOT_COMPARABLE


def test_a_ratio_timed_in_one_process_is_preferred(speeds: Expansion) -> None:
    store = Store()
    metrics = {"teacher/throughput": 950.0, "teacher/speedup": 2.05}
    finish(store, run_of(speeds, "throughput", "half", None), metrics)
    ratio = collect(speeds, store).row("half").cell("speed").ratio
    assert ratio is not None
    assert ratio.measured == 2.05


def test_claims_use_the_ratio_timed_in_one_process(speeds: Expansion) -> None:
    store = Store()
    for row, speed, ratio in (("full", 500.0, 1.0), ("half", 950.0, 2.15)):
        metrics = {"teacher/throughput": speed, "teacher/speedup": ratio}
        finish(store, run_of(speeds, "throughput", row, None), metrics)
    claim = collect(speeds, store).claims[0]
    assert claim.estimate == pytest.approx(2.15)
    assert claim.verdict is Verdict.SUPPORTED


def test_a_claim_and_its_cell_say_the_same_speed_up(speeds: Expansion) -> None:
    store = Store()
    for row, speed, ratio in (("full", 500.0, 0.96), ("half", 950.0, 1.93)):
        metrics = {"teacher/throughput": speed, "teacher/speedup": ratio}
        finish(store, run_of(speeds, "throughput", row, None), metrics)
    model = collect(speeds, store)
    ratio_of_cell = model.row("half").cell("speed").ratio
    assert ratio_of_cell is not None
    assert model.claims[0].estimate == pytest.approx(ratio_of_cell.measured)
    assert model.claims[0].estimate == pytest.approx(1.93)


DAMAGE = {
    "not UTF-8": b'{"epoch": 1.0}\n\xff\xfe\n{"epoch": 2.0}\n',
    "no record": b"5\n",
    "a word": b'{"epoch": "one", "val/top1": 3.0}\n',
    "not finite": b'{"epoch": 1.0, "val/top1": NaN}\n',
    "no shares": b'{"epoch": 1.0, "kept": ["a"]}\n',
    "deep": b"[" * 5000 + b"\n",
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_of_metrics_costs_that_run_its_curves_alone(
    good: Expansion, content: bytes
) -> None:
    store = Store()
    fill(store, good, {"none": (72.0, 72.2), "logit": (75.0, 75.1)})
    whole = collect(good, store)
    broken = next(
        record for record in store.records() if record.title.row == "logit" and record.title.seed
    )
    path = broken.directory / "metrics.jsonl"
    path.write_bytes(content)
    model = collect(good, store)
    (line,) = model.unreadable
    assert str(path) in line
    assert "\n" not in line
    assert {(c.row, c.seed) for c in whole.curves} - {(c.row, c.seed) for c in model.curves} == {
        ("logit", 1)
    }
    assert model.row("logit").cell("acc") == whole.row("logit").cell("acc")


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("how", ["cut short", "edited", "missing"])
def test_metrics_that_are_not_what_the_run_wrote_are_seen(
    good: Expansion, how: str, noted: bool
) -> None:
    """By what the result notes of them; older results do not."""
    store = Store()
    fill(store, good, {"none": (72.0,)})
    record = next(record for record in store.records() if record.title.row == "none")
    path, result = record.directory / "metrics.jsonl", record.directory / "result.json"
    if not noted:
        content = json.loads(result.read_bytes())
        del content["artifacts"]["metrics.jsonl"]
        result.write_text(json.dumps(content), encoding="utf-8")
    if how == "cut short":
        with path.open("ab") as file:
            file.write(b'{"epoch": 2.0, "lo')
    elif how == "edited":
        path.write_bytes(path.read_bytes().replace(b"62.0", b"63.0"))
    else:
        path.unlink()
    model = collect(good, store)
    said = (f"{path} is missing, or is not what the run wrote",) if noted else ()
    assert model.unreadable == said
    assert bool(model.curves) == (not noted and how != "missing")
    plan = make_plan(good, store, device="cpu", jobs=1, recompute="damaged")
    assert [one.run.name for one in plan.runs if one.damage] == [record.name] * noted


def test_names_of_rows_stand_on_their_own(speeds: Expansion) -> None:
    model = collect(speeds, Store())
    assert [row.name for row in model.rows] == ["Logit", "Logit +Half", "+Half", "Other"]
    assert [row.base for row in model.rows] == ["Logit", "Logit", "+Half", "Other"]
    shown = [shown_patches(row.config) for row in model.rows if row.config is not None]
    assert shown == [(16, 16), (8, 16), (4, 16), (8, 16)]


def test_metrics_cut_short_are_read_up_to_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo', encoding="utf-8")
    assert MetricsFile.read(path).all_records() == [{"epoch": 1}, {"epoch": 2}]
    assert MetricsFile.read(tmp_path / "none").all_records() == []


def test_long_curves_are_thinned_and_keep_their_end(good: Expansion) -> None:
    store = Store()
    history = [{"epoch": i / 100, "loss/total": float(1000 - i)} for i in range(1000)]
    finish(store, run_of(good, "train", "none", 0), {"val/top1": 1.0}, history=history)
    (curve,) = collect(good, store).curves
    assert len(curve.epochs) <= 62
    assert (curve.epochs[-1], curve.values[-1]) == (9.99, 1.0)
    assert list(curve.values) == sorted(curve.values, reverse=True)


def nine_rows(experiments: Experiments) -> tuple[Expansion, list[str]]:
    """One more than a panel of curves holds."""
    rates = '{id: "r{lr}", grid: {recipe.lr: [1, 2, 3, 4, 5, 6, 7]}, set: {method: supervised}}'
    text = changed("rows:\n  - id: none\n", f"rows:\n  - {rates}\n  - id: none\n")
    expansion = expand(load_table(experiments.table("paper/wide", text)), "paper", seeds=[0])
    return expansion, [row.row.id for row in expansion.rows]


def test_losses_that_no_figure_shows_are_read_for_who_asks_for_them(
    experiments: Experiments,
) -> None:
    expansion, rows = nine_rows(experiments)
    store = Store()

    def with_losses(*, every_loss: bool) -> list[str]:
        model = collect(expansion, store, every_loss=every_loss)
        assert {curve.row for curve in model.curves if curve.metric == "val/top1"} <= set(rows)
        return [curve.row for curve in model.curves if curve.metric == "loss/total"]

    fill(store, expansion, dict.fromkeys(rows[:8], (70.0,)))
    assert with_losses(every_loss=False) == rows[:8]  # one panel shows them
    last = run_of(expansion, "train", rows[8], 0)
    finish(store, last, {"val/top1": 70.0}, history=history(70.0))
    assert with_losses(every_loss=False) == rows[:8]
    assert with_losses(every_loss=True) == rows
    panels = find("curves", collect(expansion, store)).select()
    assert {curve.metric for those in panels.values() for curve in those} == {"val/top1"}


def test_a_loss_is_read_where_it_is_the_only_curve(experiments: Experiments) -> None:
    expansion, rows = nine_rows(experiments)
    store = Store()
    only_loss = [{"step": step, "epoch": float(step), "loss/total": 1.0} for step in range(1, 4)]
    for row in rows:
        finish(store, run_of(expansion, "train", row, 0), {"val/top1": 1.0}, history=only_loss)
    assert [curve.row for curve in collect(expansion, store).curves] == rows


def test_the_model_is_immutable(good: Expansion) -> None:
    model = collect(good, Store())
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.table = "other"  # type: ignore[misc]


@pytest.mark.parametrize("profile", ["smoke", "smoke-choose"])
def test_a_smoke_test_judges_no_claim(experiments: Experiments, profile: str) -> None:
    """Its numbers mean nothing, so neither does what they would support or contradict."""
    text = GOOD.replace(
        "  tiny:\n    description: smaller\n    seeds: [0]",
        f"""  {profile}:
    description: for tests
    given: [never]
    seeds: [0, 1, 2]""",
    ).replace(
        "profiles:",
        """preconditions:
  never: {text: All is known, holds: "acc[none] > 99", source: Table 2}
profiles:""",
    )
    part = expand(load_table(experiments.table("paper/good", text)), profile)
    assert collect(part, Store()).claims[0].verdict is Verdict.NOT_RUN
    fill(Store(), part, {"none": (80.0, 80.1, 80.2), "logit": (60.0, 60.1, 60.2)})
    (claim,) = collect(part, Store()).claims
    assert claim.verdict is Verdict.OUT_OF_SCOPE
    assert claim.estimate == pytest.approx(-20.0)
    assert claim.reason == "not judged: a smoke test, whose numbers mean nothing"
    assert (claim.preconditions, claim.p, claim.seeds_needed) == ((), None, "")


def test_of_a_part_of_a_table_claims_about_other_rows_are_untested(
    experiments: Experiments,
) -> None:
    part = expand(load_table(experiments.table("paper/good", GOOD)), "paper", rows="logit")
    store = Store()
    fill(store, part, {"logit": LOGIT})
    model = collect(part, store)
    assert [row.id for row in model.rows] == ["logit"]
    assert model.claims == ()
    (untested,) = model.untested
    assert (untested.claim.id, untested.missing_rows) == ("helps", ("none",))
