"""A frozen teacher that computes in a precision of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from harness import device
from harness.errors import FieldError
from harness.launch.worker import _fp32
from harness.methods import Batch, Method, Networks, Step
from harness.methods.distillation import Distillation, Mask
from harness.methods.losses.manifold import Manifold
from harness.methods.masked_student import MaskedStudent
from harness.methods.merged_teacher import MergedTeacher
from harness.methods.supervised import Supervised
from harness.models.build import freeze
from harness.spec.identity import identity
from harness.tasks.train import TrainRun
from harness.train.config import FineTune
from harness.train.loop import train
from tests.train.test_loop import Context, config
from tests.train.test_pipeline import network

HALF = {"teacher_precision": "bf16"}


def networks(precision: str | None = "bf16") -> Networks:
    student, teacher = network(16, 1).float(), freeze(network(24, 2).float())
    return Networks(student=student, teacher=teacher, teacher_precision=precision)


def batch() -> Batch:
    draws = torch.Generator().manual_seed(3)
    return Batch(
        images=torch.randn(8, 1, 28, 28, generator=draws),
        targets=torch.randn(8, 10, generator=draws).softmax(1),
    )


def step() -> Step:
    return Step(index=0, total=1, generator=torch.Generator().manual_seed(5))


def test_the_loss_is_against_logits_computed_in_bf16() -> None:
    given, built = batch(), networks()
    found = Distillation().build(built).losses(given, step())["distill"]
    assert built.teacher is not None
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        taught = built.teacher(given.images).logits
    assert taught.dtype == torch.bfloat16
    student = built.student(given.images).logits.log_softmax(1)
    right = taught.float().log_softmax(1)
    expected = functional.kl_div(student, right, reduction="batchmean", log_target=True)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "method",
    [
        Distillation(mask=Mask(keep=6)),
        Distillation(loss=Manifold(group=4, samples=16)),  # tokens of the teacher
        MaskedStudent(keep=8),
        MergedTeacher(merge=2),
    ],
    ids=lambda method: method.loss.__class__.__name__ + method.__class__.__name__,
)
def test_every_method_with_a_frozen_teacher_has_it(method: Method) -> None:
    losses = {}
    for precision in (None, "bf16"):
        torch.manual_seed(0)
        objective = method.build(networks(precision))
        losses[precision] = objective.losses(batch(), step())
        losses[precision]["total"].backward()  # type: ignore[no-untyped-call]
    assert torch.equal(losses["bf16"]["ce"], losses[None]["ce"])  # the student is as it was
    torch.testing.assert_close(losses["bf16"]["distill"], losses[None]["distill"], rtol=0.1, atol=0)
    assert not torch.equal(losses["bf16"]["distill"], losses[None]["distill"])


def test_a_training_stays_close(tmp_path: Path) -> None:
    found = []
    for more in ({}, HALF):
        context = Context(tmp_path / str(len(more)))
        train(config(epochs=1, **more), context)
        found.append([one["loss/total"] for one in context.metrics if "loss/total" in one])
    assert found[1] == pytest.approx(found[0], rel=0.02)
    assert found[1] != found[0]


def kernels(precision: str, folder: Path, **more: str) -> Counter[str]:
    """Which kernels of fused attention a training on a CPU calls."""
    training = config(epochs=0.1, precision=precision, **more)
    with torch.profiler.profile() as profile:
        train(training, Context(folder))
    return Counter(
        one.name for one in profile.events() if one.name.startswith("aten::_scaled_dot_product")
    )


def test_attention_is_fused_on_a_cpu_but_in_bf16(tmp_path: Path) -> None:
    fused, half = kernels("fp32", tmp_path / "a"), kernels("fp32", tmp_path / "b", **HALF)
    assert 0 < sum(half.values()) < sum(fused.values())  # the student's alone
    assert not kernels("bf16", tmp_path / "c")


@pytest.mark.parametrize(
    ("flags", "slow"),
    [("flags : fpu avx512f", True), ("flags : fpu avx512_bf16", False), ("Features : bf16", False)],
)
def test_a_cpu_without_bf16_is_told(
    flags: str, slow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    monkeypatch.setattr(device, "CPUINFO", tmp_path / "cpuinfo")
    context = Context(tmp_path)
    train(config(epochs=0.05, **HALF), context)
    said = "`recipe.teacher_precision: bf16` is slower than fp32 here: this CPU has no bf16"
    assert (f"warning: {said}" in context.logged) == slow


def test_it_is_in_the_identity_where_it_is_given() -> None:
    names = {identity("train", TrainRun(train=config(**more))) for more in ({}, HALF)}
    assert len(names) == 2


def test_where_it_says_nothing_it_is_refused() -> None:
    with pytest.raises(FieldError, match="is of frozen teachers, and the method has none"):
        config(Supervised(), **HALF)
    with pytest.raises(FieldError, match="is `precision` already: leave it out, got bf16"):
        config(precision="bf16", **HALF)
    with pytest.raises(FieldError, match="is of frozen teachers, and there is none"):
        FineTune(recipe=config(**HALF).recipe)


def test_evaluations_and_timings_on_a_gpu_are_not_rounded_to_tf32() -> None:
    """Not in convolutions either, where PyTorch itself would; a CPU needs nothing."""
    before = torch.backends.cudnn.allow_tf32
    with _fp32("cuda"):
        assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
    with _fp32("cpu"):
        assert torch.backends.cudnn.allow_tf32 == before
