"""Two processes train one model: step by step they do what one does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.data.config import DataConfig
from harness.data.multicrop import MultiCrop
from harness.distributed import DistContext
from harness.errors import FieldError, Interrupted
from harness.masking.random import RandomCriterion
from harness.masking.views.attmask import AttMaskHint
from harness.masking.views.random import RandomMask as RandomMask
from harness.masking.views.stratified import StratifiedBlocks
from harness.methods import Method
from harness.methods.dino import Dino
from harness.methods.dino_masked_teacher import DinoMaskedTeacher
from harness.methods.dinov2 import Dinov2
from harness.methods.distillation import Distillation, Mask
from harness.methods.ibot import Ibot
from harness.methods.losses.manifold import Manifold
from harness.methods.masked_dino import MaskedDino
from harness.methods.selfdistillation.config import Head
from harness.methods.supervised import Supervised
from harness.train.config import Augment, Recipe, TrainConfig
from harness.train.loop import train
from tests.train.test_loop import Context, vit
from tests.train.together import outcome, train_together

HEAD = Head(
    out_dim=32, hidden=16, bottleneck=8, norm_last_layer=False, freeze_last_layer_epochs=0.5
)
CROPS = MultiCrop(local_crops=2, local_size=14)
BATCH = 54  # one process has 26 images of it, the other 28


def config(method: Method, **changes: Any) -> TrainConfig:
    augment = Augment()
    if method.multicrop is None:
        augment = Augment(mixup=0.8, cutmix=1.0, label_smoothing=0.1, erasing=0.5)
    recipe = Recipe(
        epochs=1.5, batch_size=BATCH, lr=1e-3, weight_decay=0.04, clip_norm=1.0, augment=augment
    )
    fields = {"student": vit(drop_path=0.3), **changes}
    data = DataConfig(name="fashion-mnist", train_fraction=0.005)
    return TrainConfig(data=data, method=method, recipe=recipe, **fields)


TRAININGS = {
    "supervised": config(Supervised()),
    "random patches": config(
        Distillation(mask=Mask(keep=8, criterion=RandomCriterion()), teacher_accuracy=True),
        teacher=vit(),
    ),
    "groups of images": config(  # 27 pairs in 4 groups: 12, 14, 14 and 14 images
        Distillation(loss=Manifold(group=14, samples=16), mask=Mask(keep=8)), teacher=vit(24)
    ),
    "dino": config(Dino(head=HEAD, crops=CROPS)),
    "ibot, blocks": config(Ibot(head=HEAD, crops=CROPS)),
    "ibot, random": config(Ibot(head=HEAD, crops=CROPS, mask=RandomMask())),
    "attmask with hints": config(
        Ibot(head=HEAD, crops=CROPS, mask=AttMaskHint(ratio=(0.3, 0.6), show=0.5))
    ),
    "masked dino": config(MaskedDino(head=HEAD, crops=CROPS, where="student-and-teacher")),
    "patches left out": config(
        MaskedDino(head=HEAD, crops=CROPS, how="drop", mask=RandomMask()), student=vit()
    ),
    "as many left out of every view": config(
        MaskedDino(
            head=HEAD,
            crops=CROPS,
            how="drop",
            where="student-all",
            mask=RandomMask(ratio_per="batch", probability=1.0),
        )
    ),
    # 27 pairs in 4 groups of neighbours. All branches stay: images whose attention is left out
    # twice have one and the same class token, and -log of their distance, 0, is rounding alone.
    "dinov2": config(
        Dinov2(head=HEAD, crops=CROPS, koleo_images=14, mask=StratifiedBlocks(ratio=(0.2, 0.5))),
        student=replace(vit(), registers=2, layer_scale=0.1, mlp="swiglu"),
    ),
    "dinov2, centred": config(
        Dinov2(head=HEAD, crops=CROPS, koleo_weight=0.0, targets="centering", heads="shared"),
        student=replace(vit(drop_path=0.3), drop_path_rule="uniform"),
    ),
    "masked teacher": config(DinoMaskedTeacher(head=HEAD, crops=CROPS, keep=9)),
}

CONTINUED = "ibot, blocks"


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("together")
    begun = folder / "begun"
    with pytest.raises(Interrupted):
        train(TRAININGS[CONTINUED], Context(begun, stop_at=3))
    trainings = [(one, None) for one in TRAININGS.values()] + [(TRAININGS[CONTINUED], begun)]
    found = train_together(trainings, folder, 2)
    return dict(zip([*TRAININGS, "begun alone"], found, strict=True))


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_do_what_one_does(
    name: str, together: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """Every loss, evaluation and summary, and both centres after every step.

    Stochastic depth, masks and erasing are drawn as for one process, or this would be far off.
    """
    alone = outcome(TRAININGS[name], tmp_path / "alone", DistContext())
    assert_same(alone, together[name])
    if alone["centers"][-1] and name != "dinov2":  # whose targets are not centred
        assert float(alone["centers"][-1]["center"].abs().max()) > 1e-3


def test_no_branch_is_left_out_where_views_lose_different_numbers() -> None:
    with pytest.raises(FieldError, match=r"drop_path: does not go with `how: drop` where views"):
        config(MaskedDino(head=HEAD, crops=CROPS, how="drop", mask=RandomMask()))


def test_two_processes_go_on_where_one_was_stopped(
    together: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    found = together["begun alone"]
    whole = outcome(TRAININGS[CONTINUED], tmp_path / "whole", DistContext())
    whole["centers"] = whole["centers"][-len(found["centers"]) :]
    assert_same(whole, found)


def assert_same(alone: dict[str, Any], two: dict[str, Any]) -> None:
    assert len(alone["metrics"]) == len(two["metrics"]) >= 9
    for line, other in zip(alone["metrics"], two["metrics"], strict=True):
        assert_close(other, line)
    assert len(alone["centers"]) == len(two["centers"]) >= 3
    for one, other in zip(alone["centers"], two["centers"], strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-5)
    assert_close(two["result"], alone["result"])


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-3, abs=1e-4), (name, found, expected)
