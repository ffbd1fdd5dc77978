"""The task `pipeline`: steps of a student and a teacher with a device each, timed and drawn."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.distributed import DistContext
from harness.errors import RunFailed
from harness.launch.rendezvous import use_loopback
from harness.masking.random import RandomCriterion
from harness.methods.distillation import Distillation, Mask
from harness.methods.losses.manifold import Manifold
from harness.methods.supervised import Supervised
from harness.models.config import ModelConfig
from harness.report.figures.timeline import StepTimelines, TimedSteps
from harness.tasks import pipeline
from harness.tasks.pipeline import TIMELINE, PipelineRun
from harness.train.config import TrainConfig
from harness.train.timeline import Span, Timeline, median, typical
from tests.train.test_loop import Context, config, vit

MASKED = Distillation(mask=Mask(keep=8))
NAMES = ["plain", "naive", "pipelined2", "pipelined4", "pipelined8"]


def run_of(train: TrainConfig) -> PipelineRun:
    run = PipelineRun.of(train)
    assert run is not None
    return run


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, float], Path]:
    folder = tmp_path_factory.mktemp("pipeline")
    return executed(run_of(config(MASKED)), folder), folder / "0" / TIMELINE


def executed(run: PipelineRun, folder: Path) -> dict[str, float]:
    """The task by two threads of this process, which meet as processes do."""
    use_loopback()
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    found: list[dict[str, float]] = [{}, {}]

    def side(rank: int) -> None:
        context = Context(folder / str(rank))
        context.dist, context.rendezvous_store = DistContext(rank, 2), store
        found[rank] = run.execute(context)

    teacher = threading.Thread(target=side, args=(1,), daemon=True)
    teacher.start()
    side(0)
    teacher.join(60)
    assert found[1] == {}
    return found[0]


def test_spectrograms_are_no_squares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "REPEATS", 1)
    monkeypatch.setattr(pipeline, "MICRO_BATCHES", (2,))
    sizes = {"image_size": 64, "image_width": 70, "stride": 9, "channels": 1}
    tiny = ModelConfig(arch="ast_small", **sizes, width=16, depth=1, heads=2)
    run = replace(run_of(config(MASKED, batch_size=4)), student=tiny, teacher=tiny)
    shapes, teach = set(), Distillation.teach

    def noted(method: Distillation, teacher: Any, images: torch.Tensor, kept: Any) -> Any:
        shapes.add(tuple(images.shape[1:]))
        return teach(method, teacher, images, kept)

    monkeypatch.setattr(Distillation, "teach", noted)
    executed(run, tmp_path)
    assert shapes == {(1, 64, 70)}  # none is resized within the time that is taken


def test_every_variant_is_timed(timed: tuple[dict[str, float], Path]) -> None:
    metrics, _ = timed
    assert metrics.keys() == PipelineRun.metrics()
    assert min(metrics.values()) > 0
    for name in NAMES[1:]:
        over = metrics[f"step/{name}_ms"] / metrics["step/bound_ms"]
        assert metrics[f"step/{name}_over_bound"] == pytest.approx(over)


def test_the_teacher_waits_for_the_choice_and_no_longer(
    timed: tuple[dict[str, float], Path],
) -> None:
    content = json.loads(timed[1].read_text())
    assert list(content["steps"]) == NAMES
    for name, step in content["steps"].items():
        spans = [Span(*one) for one in step["spans"]]
        pieces = int(name.removeprefix("pipelined")) if "pipelined" in name else 1
        by_part = {
            part: [span for span in spans if span.part == part]
            for part in ("student forward", "teacher forward", "student backward")
        }
        assert [len(some) for some in by_part.values()] == [pieces] * 3
        assert step["seconds"] == max(span.end for span in spans)
        assert all(0 <= span.start < span.end for span in spans)
        for forward, taught, backward in zip(*by_part.values(), strict=True):
            assert taught.end <= backward.start  # on one clock
            if name != "plain":
                assert taught.start >= forward.start
        for some in by_part.values():  # a device does one thing at a time, in order
            assert all(one.end <= other.start for one, other in pairwise(some))
        assert by_part["student forward"][-1].end <= by_part["student backward"][0].start


def test_the_bound_is_the_work_of_the_busier_device() -> None:
    one = Timeline(
        9.0,
        (
            Span("student forward", 0, 0.0, 1.0),
            Span("student forward", 1, 1.0, 2.0),
            Span("teacher forward", 0, 1.5, 4.0),
            Span("teacher forward", 1, 4.0, 6.0),
            Span("student backward", 0, 5.0, 6.0),
            Span("student backward", 1, 7.0, 9.0),
        ),
    )
    assert one.bound == 5.0  # the student's; the teacher's is 4.5
    slower = replace(one, seconds=11.0)
    fastest = replace(one, seconds=1.0)
    assert typical([slower, one, fastest]) is one
    assert median([slower, one, fastest]) == 9.0


def test_it_is_of_rows_whose_student_chooses_the_patches() -> None:
    assert PipelineRun.of(config(Supervised())) is None
    assert PipelineRun.of(config(Distillation())) is None
    random = Distillation(mask=Mask(keep=8, criterion=RandomCriterion()))
    assert PipelineRun.of(config(random)) is None
    run = run_of(config(MASKED, batch_size=100))
    assert (run.batch_size, run.method.teacher_keep(16)) == (100, 8)
    again = replace(MASKED, teacher_accuracy=True)  # which changes no step
    assert run_of(config(again, batch_size=100)) == run


def test_micro_batches_without_groups_of_images_are_left_out() -> None:
    groups = Distillation(loss=Manifold(group=14, samples=16), mask=Mask(keep=8))
    run = run_of(config(groups))  # 50 images: 4 groups
    assert run.lacks("step/pipelined4_ms") is None
    assert run.lacks("step/naive_ms") is None
    assert run.lacks("step/pipelined8_gain") == (
        "`pipeline` is 8, and a step has 4 groups of images that its loss compares: give at most 4"
    )


def test_it_needs_two_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(config(MASKED))
    with pytest.raises(
        RunFailed, match="need a process each, and a GPU or a core each: give --processes 2"
    ):
        run.execute(Context(tmp_path))
    for count, needs in (
        (1, ["two cores, one of the student and one of its teacher: 1 here"]),
        (2, []),
    ):
        monkeypatch.setattr(pipeline, "cores", lambda count=count: count)
        assert run.needs("cpu") == needs
    monkeypatch.setattr(pipeline, "visible_gpus", lambda: ["0"])
    assert run.needs("cuda") == ["two GPUs, one of the student and one of its teacher: 1 here"]
    large = replace(run, student=vit(768), teacher=vit(768), batch_size=10_000)
    assert "takes minutes on CPU cores" in large.needs("cpu")[0]


def content(**changes: Any) -> str:
    steps = {
        name: {"seconds": seconds, "spans": [["student forward", 0, 0.0, seconds]]}
        for name, seconds in (
            ("plain", 3.0),
            ("naive", 4.0),
            ("pipelined2", 2.0),
            ("pipelined4", 2.5),
        )
    }
    return json.dumps({"bound": 1.5, "steps": steps, **changes})


def test_the_figure_shows_the_shortest_step_in_micro_batches(tmp_path: Path) -> None:
    path = tmp_path / TIMELINE
    path.write_text(content())
    assert StepTimelines.read(path).shown == ["plain", "naive", "pipelined2"]
    assert isinstance(StepTimelines.read(path), TimedSteps)


@pytest.mark.parametrize(
    "damaged",
    [
        content(bound=float("nan")),
        content(steps={}),
        content(steps={"plain": {"seconds": 1.0, "spans": [["sleep", 0, 0.0, 1.0]]}}),
        content(steps={"plain": {"seconds": 1.0, "spans": [["student forward", 0, 0.0]]}}),
        "{}",
    ],
)
def test_a_damaged_timeline_is_an_error_that_reports_tell(damaged: str, tmp_path: Path) -> None:
    path = tmp_path / TIMELINE
    path.write_text(damaged)
    with pytest.raises((ValueError, KeyError)):
        StepTimelines.read(path)
