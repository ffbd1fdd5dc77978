"""Compiled blocks: the same draws, choices and numbers as without; a run of its own by identity."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from harness.errors import FieldError, RunFailed
from harness.masking.views.random import RandomMask
from harness.methods.dino import Dino
from harness.methods.masked_dino import MaskedDino
from harness.models.config import ModelConfig
from harness.spec.identity import identity
from harness.tasks.train import TrainRun
from harness.train import loop
from harness.train.compiled import compile_blocks
from harness.train.config import TrainConfig
from harness.train.loop import train
from tests.train.test_loop import Context, config, outcome, vit
from tests.train.test_selfdistillation import CROPS, HEAD
from tests.train.test_selfdistillation import config as crops_config


def compiled(training: TrainConfig) -> TrainConfig:
    return replace(training, recipe=replace(training.recipe, compile="blocks"))


# torch's own tracing looks at gradients of what is no leaf
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize(
    "training",
    [config(epochs=0.5), crops_config(Dino(head=HEAD, crops=CROPS))],
    ids=["masked teacher", "dino"],
)
def test_what_torch_captures_of_blocks_are_the_blocks(
    training: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captured, and then run as it is, without a compiler of C++: every bit is the same."""
    plain = Context(tmp_path / "plain")
    expected = outcome(plain, train(training, plain))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(loop, "compile_blocks", partial(compile_blocks, backend="eager"))
    context = Context(tmp_path / "compiled")
    assert outcome(context, train(compiled(training), context)) == expected
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 3


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_blocks_that_meet_too_many_shapes_fail_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every number of patches that a view keeps is one; torch would leave the rest uncompiled."""
    monkeypatch.setattr(loop, "compile_blocks", partial(compile_blocks, backend="eager"))
    monkeypatch.setattr("harness.train.compiled.MOST_SHAPES", 3)
    mask = RandomMask(ratio=(0.1, 0.9), probability=1.0)
    method = MaskedDino(head=HEAD, crops=CROPS, mask=mask, how="drop")
    training = compiled(replace(crops_config(), method=method, student=vit()))
    with pytest.raises(RunFailed, match=r"compile is `blocks`, and they meet more than 3 shapes"):
        train(training, Context(tmp_path / "compiled"))
    assert not torch._dynamo.config.fail_on_cache_limit_hit


@pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="there is no GPU here, and compiling for a CPU takes a minute of a compiler of C++",
)
def test_a_gpu_gives_the_losses_of_uncompiled_blocks(tmp_path: Path) -> None:
    losses = []
    for training in (config(epochs=0.5), compiled(config(epochs=0.5))):
        context = Context(tmp_path / training.recipe.compile)
        context.resources = replace(context.resources, device="cuda")
        train(training, context)
        losses.append([one["loss/total"] for one in context.metrics if "loss/total" in one])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_what_cannot_be_compiled_is_one_sentence() -> None:
    with pytest.raises(RunFailed, match=r"torch cannot compile on this machine .*: install"):
        compile_blocks([], torch.device("cpu"), backend="of-nobody")


def test_it_is_part_of_the_identity_where_it_is_on() -> None:
    plain = config()
    runs = [TrainRun(train=one) for one in (plain, compiled(plain))]
    assert identity("train", runs[0]) != identity("train", runs[1])


def test_only_blocks_that_run_as_they_are_can_be_compiled() -> None:
    swin = ModelConfig(arch="swin_tiny_patch4_window7_224")
    training = compiled(config())
    with pytest.raises(FieldError, match="the student is a swin"):
        replace(training, student=swin, teacher=training.teacher, method=replace_mask(training))


def replace_mask(training: TrainConfig) -> object:
    return replace(training.method, mask=None)  # type: ignore[type-var]


def test_tf32_is_of_gpus(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="precision tf32 is of NVIDIA GPUs"):
        train(config(precision="tf32"), Context(tmp_path))
