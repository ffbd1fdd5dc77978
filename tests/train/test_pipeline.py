"""Student and teacher at the same time, in micro-batches: the numbers of one process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.batch_plan import BatchPlan
from harness.batch_slice import FULL_BATCH
from harness.channel import open_channel
from harness.data.config import DataConfig
from harness.distributed import DistContext
from harness.errors import Interrupted
from harness.launch.rendezvous import use_loopback
from harness.masking.random import RandomCriterion
from harness.methods import Batch, Method, Networks, Step
from harness.methods.distillation import Distillation, Mask
from harness.methods.losses.manifold import Manifold
from harness.methods.masked_student import MaskedStudent
from harness.methods.merged_teacher import MergedTeacher
from harness.methods.supervised import Supervised
from harness.models.build import freeze_watched
from harness.models.vit import VisionTransformer
from harness.train.config import TrainConfig
from harness.train.loop import train
from harness.train.pipeline import RemoteTeacher, teach
from tests.models.networks import build
from tests.train.test_loop import Context, vit
from tests.train.test_together import assert_same, config
from tests.train.together import Watched, train_together

FLOAT64 = {"rtol": 1e-9, "atol": 1e-12}
CPU = torch.device("cpu")
METHODS: dict[str, Method] = {
    "logit": Distillation(),
    "masked": Distillation(mask=Mask(keep=6)),
    "random patches": Distillation(mask=Mask(keep=6, criterion=RandomCriterion())),
    "groups of images": Distillation(loss=Manifold(group=2, samples=16), mask=Mask(keep=8)),
    "merged": MergedTeacher(merge=2),
    "masked student": MaskedStudent(keep=8),
}


def network(width: int, seed: int) -> VisionTransformer:
    return build(vit(width), 10, channels=1, seed=seed).double()


@contextmanager
def pipelined(
    method: Method, teacher: VisionTransformer, stopping: Callable[[], bool] = lambda: False
) -> Iterator[RemoteTeacher]:
    """A teacher behind a real channel, in a thread of this process."""
    use_loopback()
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    about = TrainConfig(
        data=DataConfig(name="fashion-mnist"),
        student=vit(),
        teacher=vit(24),
        method=method,
        recipe=config(Supervised()).recipe,
    )

    def serve() -> None:
        with open_channel(store, "test", 1, CPU) as channel:
            teach(about, teacher, channel, stopping)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with open_channel(store, "test", 0, CPU) as channel:
        yield RemoteTeacher(channel)
    thread.join(60)
    assert not thread.is_alive()


def gradients(
    method: Method, networks: Networks, plan: BatchPlan, images: torch.Tensor, labels: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The loss of one step, and its gradients."""
    objective, student = method.build(networks), networks.student
    student.zero_grad()
    begun = []
    for chosen in plan.micro_batches(FULL_BATCH, len(images)):
        rows = list(chosen)
        step = Step(
            index=0,
            total=1,
            generator=torch.Generator().manual_seed(5),
            batch_slice=FULL_BATCH.subset(rows, len(images)),
        )
        batch = Batch(images=images[rows], targets=labels[rows])
        begun.append((len(rows) / len(images), objective.begin(batch, step)))
    total = torch.zeros((), dtype=torch.float64)
    for weight, rest in begun:
        loss = rest()["total"] * weight
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    found = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}
    return {**found, "loss": total}


@pytest.mark.parametrize("name", METHODS)
def test_losses_and_gradients_are_those_of_the_whole_batch_at_once(name: str) -> None:
    method, images = METHODS[name], torch.randn(10, 1, 28, 28, dtype=torch.float64)
    labels = torch.randn(10, 10, dtype=torch.float64).softmax(1)
    networks = Networks(student=network(16, 1), teacher=freeze_watched(network(24, 2)))
    plan = BatchPlan(batch=10, group_size=method.group_size)
    expected = gradients(method, networks, plan, images, labels)
    assert len(expected) > 20
    teacher = freeze_watched(network(24, 2))
    with pipelined(method, teacher) as remote:
        for pieces in (1, 2, 3, 5):
            there = remote.instead_of(networks)
            cut = replace(plan, pieces=pieces)
            found = gradients(method, there, cut, images, labels)
            remote.settle()
            assert found.keys() == expected.keys()
            for what, value in expected.items():
                # losses between images are computed in float32, all others to the last digits
                near = {"rtol": 1e-4, "atol": 1e-7} if method.group_size > 1 else FLOAT64
                torch.testing.assert_close(found[what], value, **near)
    assert networks.teacher is not None
    assert networks.teacher.nan_flag is not None  # what the teacher knew has come along


def one(name: str, **changes: Any) -> TrainConfig:
    return config(METHODS[name], teacher=vit(24), **changes)


TRAININGS: dict[str, tuple[TrainConfig, int]] = {  # a batch of 54, in so many micro-batches
    "masked, two": (one("masked"), 2),
    "masked, uneven": (one("masked"), 4),
    "random patches": (one("random patches"), 3),
    "groups of images": (
        config(Distillation(loss=Manifold(group=14, samples=16)), teacher=vit(24)),
        2,
    ),
}
half = replace(one("masked").recipe, teacher_precision="bf16")
TRAININGS["masked, teacher in bf16"] = replace(one("masked"), recipe=half), 2
STOPPED = "masked, two"


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("pipeline")
    begun = folder / "begun"
    with pytest.raises(Interrupted):
        train(TRAININGS[STOPPED][0], Context(begun, stop_at=2))
    trainings = [*TRAININGS.values(), TRAININGS[STOPPED]]
    found = train_together(
        [(config, None) for config, _ in trainings[:-1]] + [(trainings[-1][0], begun)],
        folder,
        2,
        [pieces for _, pieces in trainings],
    )
    for at, name in enumerate([*TRAININGS, "begun alone"]):
        found[at]["weights"] = load_file(folder / f"{at}-0" / "model.safetensors")
        assert not (folder / f"{at}-1" / "model.safetensors").exists(), name
    return dict(zip([*TRAININGS, "begun alone"], found, strict=True))


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_in_a_pipeline_is_that_of_one_process(
    name: str, together: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """With stochastic depth, mixup and erasing: every loss, evaluation and weight."""
    training, _ = TRAININGS[name]
    context = Watched(tmp_path / "alone", DistContext(), None)
    result = train(training, context)
    found = together[name]
    assert_same({"result": result, "metrics": context.metrics, "centers": context.centers}, found)
    weights = load_file(tmp_path / "alone" / "model.safetensors")
    for what, value in weights.items():
        torch.testing.assert_close(found["weights"][what], value, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("name", ["masked, two", "masked, teacher in bf16"])
def test_it_is_the_accumulation_of_one_process_to_the_last_bit(
    name: str, together: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    context = Context(tmp_path, micro_batch=27)
    result = train(TRAININGS[name][0], context)
    found = together[name]
    assert (result, context.metrics) == (found["result"], found["metrics"])
    for what, value in load_file(tmp_path / "model.safetensors").items():
        assert torch.equal(found["weights"][what], value), what


def test_a_pipeline_goes_on_where_one_process_was_stopped(
    together: dict[str, dict[str, Any]],
) -> None:
    whole, found = together[STOPPED], together["begun alone"]
    whole["centers"] = whole["centers"][-len(found["centers"]) :]
    assert_same(whole, found)
    for what, value in whole["weights"].items():
        torch.testing.assert_close(found["weights"][what], value, rtol=1e-2, atol=1e-4)


def test_two_students_with_a_teacher_each_train_together(tmp_path: Path) -> None:
    """Four processes: slices of 26 and 28 images, each in three micro-batches."""
    training = TRAININGS["random patches"][0]
    (found,) = train_together([(training, None)], tmp_path, 4, [3])
    context = Watched(tmp_path / "alone", DistContext(), None)
    result = train(training, context)
    assert_same({"result": result, "metrics": context.metrics, "centers": context.centers}, found)
