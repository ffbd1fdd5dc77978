"""Self-distillation through the training loop: resuming, and what the run leaves."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from harness.data.config import DataConfig
from harness.data.multicrop import MultiCrop
from harness.errors import FieldError, Interrupted
from harness.methods import Method
from harness.methods.dino import Dino
from harness.methods.selfdistillation.config import Head
from harness.train.config import Augment, Recipe, TrainConfig
from harness.train.loop import train
from tests.train.test_loop import Context, outcome, vit

HEAD = Head(out_dim=32, hidden=16, bottleneck=8, norm_last_layer=False, freeze_epochs=0.5)
CROPS = MultiCrop(local_crops=2, local_size=14)


def config(method: Method | None = None) -> TrainConfig:
    return TrainConfig(
        data=DataConfig(name="fashion-mnist", train_fraction=0.005),
        student=vit(drop_path=0.1),
        method=method or Dino(head=HEAD, crops=CROPS),
        recipe=Recipe(epochs=2, batch_size=50, lr=1e-3, weight_decay=0.04),
    )


@pytest.mark.parametrize("stop_at", [2, 6, 11])
def test_a_resumed_run_is_bit_identical(tmp_path: Path, stop_at: int) -> None:
    whole = Context(tmp_path / "whole")
    expected = outcome(whole, train(config(), whole))
    with pytest.raises(Interrupted):
        train(config(), Context(tmp_path / "broken", stop_at=stop_at))
    resumed = Context(tmp_path / "broken")
    assert outcome(resumed, train(config(), resumed)) == expected
    assert 0 < expected[0]["features/std"] <= 1
    entropies = [record for record in whole.metrics if "teacher_entropy" in record]
    assert len(entropies) > 2
    assert all(0 <= record["mean_entropy"] <= math.log(32) + 1e-5 for record in entropies)


def test_options_that_do_nothing_or_do_not_fit_are_refused() -> None:
    with pytest.raises(FieldError, match="`augment` has no effect here"):
        TrainConfig(
            data=DataConfig(name="fashion-mnist"),
            student=vit(),
            method=Dino(crops=CROPS),
            recipe=Recipe(epochs=1, batch_size=50, lr=1e-3, augment=Augment(crop="none")),
        )
    with pytest.raises(FieldError, match="local_size must be a multiple of the patch size 7"):
        config(Dino(crops=MultiCrop(local_size=16)))
