"""Fine-tuning as an evaluation: it starts from what was trained, and is no part of the training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.errors import HarnessError, Interrupted
from harness.methods.supervised import Supervised
from harness.methods.untrained import Pixels, Untrained
from harness.models.config import Weights
from harness.spec.identity import identity
from harness.tasks.finetune import FineTuneRun
from harness.tasks.train import TrainRun
from harness.train.config import FineTune, Recipe, TrainConfig
from harness.train.loop import train
from tests.train.test_loop import Context, outcome
from tests.train.test_masked_autoencoders import MAE, config

STEPS = Recipe(epochs=0.4, batch_size=50, lr=1e-3, layer_decay=0.75)
HOW = FineTune(recipe=STEPS, drop_path=0.1)


def row(**changes: Any) -> TrainConfig:
    return replace(config(MAE), finetune=HOW, **changes)


def test_it_trains_the_rows_network_with_a_new_classifier_on_all_of_the_data() -> None:
    trained = replace(row().student, weights=Weights(run="a" * 64))
    found = FineTuneRun.of(row(student=trained, seed=3))
    assert found is not None
    assert found.train.student.weights == Weights(run="a" * 64, head="new")
    assert found.train.student.drop_path == 0.1
    assert (found.train.recipe, found.train.seed) == (STEPS, 3)
    assert isinstance(found.train.method, Supervised)
    assert found.train.data.train_fraction == 1.0
    scratch = FineTuneRun.of(row(method=Untrained()))
    assert scratch is not None
    assert scratch.train.student.weights.random
    assert FineTuneRun.of(row(method=Pixels())) is None
    with pytest.raises(HarnessError, match=r"give `finetune: \{recipe: ...\}`"):
        FineTuneRun.of(config(MAE))


@pytest.mark.parametrize(("drop_path", "rule"), [(0.0, "linear"), (0.2, "uniform")])
def test_stochastic_depth_of_its_own_may_be_none(drop_path: float, rule: str) -> None:
    """DINOv2's networks drop uniformly; that rule has no meaning where nothing is dropped."""
    student = replace(row().student, drop_path=0.3, drop_path_rule="uniform")
    how = replace(HOW, drop_path=drop_path)
    found = FineTuneRun.of(replace(row(student=student), finetune=how))
    assert found is not None
    tuned = found.train.student
    assert (tuned.drop_path, tuned.drop_path_rule) == (drop_path, rule)


def test_patches_can_be_pooled_where_the_network_has_such_a_form() -> None:
    base = replace(row().student, arch="vit_base_patch16_224", weights=Weights(run="a" * 64))
    base = replace(base, image_size=None, patch_size=None, width=None, depth=None, heads=None)
    how = replace(HOW, arch="mae_base_patch16_224")
    found = FineTuneRun.of(replace(row(student=base), finetune=how))
    assert found is not None
    shape = found.train.student.shape
    assert (shape.pooling, shape.width) == ("avg", base.shape.width)
    small = FineTuneRun.of(replace(row(), finetune=how))
    assert small is not None
    assert replace(small.train.student.shape, pooling="token", timm="") == replace(
        row().student.shape, timm=""
    )
    large = replace(row(student=base), finetune=replace(HOW, arch="vit_large_patch16_224"))
    with pytest.raises(HarnessError, match="'vit_large_patch16_224' has width 1024, the student 7"):
        FineTuneRun.of(large)


def test_a_training_does_not_know_how_it_will_be_fine_tuned() -> None:
    plain, tuned = TrainRun.of(config(MAE)), TrainRun.of(row())
    assert plain is not None
    assert tuned is not None
    assert identity("train", plain) == identity("train", tuned)


def test_the_network_goes_on_from_where_the_training_ended(tmp_path: Path) -> None:
    before = Context(tmp_path / "mae")
    train(config(MAE), before)
    trained = replace(row().student, weights=Weights(run="mae"))
    still = replace(HOW, recipe=replace(STEPS, epochs=0.01, lr=1e-12))
    fraction = replace(config(MAE).data, train_fraction=0.005)
    for how, name in ((still, "still"), (HOW, "tuned")):
        run = FineTuneRun.of(replace(row(student=trained), finetune=how))
        assert run is not None
        run = replace(run, train=replace(run.train, data=fraction))
        after = Context(tmp_path / name)
        after.dependencies = {"mae": before.directory}
        result = run.execute(after)
        assert result.keys() == FineTuneRun.metrics()
        weights = [load_file(one.directory / "model.safetensors") for one in (before, after)]
        moved = {key for key, value in weights[0].items() if not value.allclose(weights[1][key])}
        if name == "still":
            assert moved <= {"head.weight", "head.bias"}
        else:
            assert {"blocks.0.mlp.fc1.weight", "pos_embed", "head.weight"} <= moved


def test_a_resumed_fine_tuning_is_bit_identical(tmp_path: Path) -> None:
    fraction = replace(config(MAE).data, train_fraction=0.005)
    run = FineTuneRun.of(row(method=Untrained(), data=fraction))
    assert run is not None
    run = replace(run, train=replace(run.train, data=fraction))
    whole = Context(tmp_path / "whole")
    expected = outcome(whole, run.execute(whole))
    with pytest.raises(Interrupted):
        run.execute(Context(tmp_path / "broken", stop_at=1))
    resumed = Context(tmp_path / "broken")
    assert outcome(resumed, run.execute(resumed)) == expected
    assert torch.is_grad_enabled()
