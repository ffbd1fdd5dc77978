"""Self-distillation through the training loop: resuming, and what the run leaves."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.data.config import DataConfig
from harness.data.multicrop import MultiCrop
from harness.errors import FieldError, Interrupted
from harness.evaluate.collapse import COLLAPSED
from harness.masking.views.attmask import AttMaskHint
from harness.masking.views.block import BlockWise
from harness.masking.views.random import RandomMask
from harness.methods import Method
from harness.methods.dino import Dino
from harness.methods.dino_masked_teacher import DinoMaskedTeacher
from harness.methods.dinov2 import Dinov2
from harness.methods.ibot import Ibot
from harness.methods.masked_dino import MaskedDino
from harness.methods.selfdistillation.config import Head, Temperatures
from harness.models.config import Weights
from harness.tasks.knn import KnnRun
from harness.train.config import Augment, Recipe, TrainConfig
from harness.train.loop import train
from tests.train.test_loop import Context, outcome, vit

HEAD = Head(
    out_dim=32, hidden=16, bottleneck=8, norm_last_layer=False, freeze_last_layer_epochs=0.5
)
CROPS = MultiCrop(local_crops=2, local_size=14)
GLOBAL = MultiCrop(local_crops=0)


def config(method: Method | None = None) -> TrainConfig:
    return TrainConfig(
        data=DataConfig(name="fashion-mnist", train_fraction=0.005),
        student=vit(drop_path=0.1),
        method=method or Dino(head=HEAD, crops=CROPS),
        recipe=Recipe(epochs=2, batch_size=50, lr=1e-3, weight_decay=0.04),
    )


def test_a_curve_of_neighbours_is_recorded_where_it_is_asked_for(tmp_path: Path) -> None:
    """At the end the same as the evaluation of the network that the run leaves."""
    asked = config()
    asked = replace(asked, recipe=replace(asked.recipe, epochs=1, evaluate_every=0.5))
    context = Context(tmp_path / "curve")
    result = train(asked, context)
    found = [one for one in context.metrics if "val/knn20_top1" in one]
    curve = {one["epoch"]: one["val/knn20_top1"] for one in found}
    assert list(curve) == [0.5, 1.0]
    weights = Weights(file=str(context.directory / "model.safetensors"))
    judged = KnnRun(
        model=replace(asked.student, weights=weights, drop_path=0.0),
        data=asked.data,
        eval_crop=asked.recipe.eval_crop,
        seed=0,
    ).execute(Context(tmp_path / "judged"))
    assert curve[1.0] == result["val/knn20_top1"] == judged["val/knn20_top1"]


EQUAL = RandomMask(ratio_per="batch", probability=1.0)  # as many patches in every view


@pytest.mark.parametrize(
    ("method", "stop_at"),
    [
        (Dino(head=HEAD, crops=CROPS), 2),
        (Dino(head=HEAD, crops=CROPS), 6),
        (Dino(head=HEAD, crops=CROPS), 11),
        (Dino(head=replace(HEAD, norm_last_layer=True), crops=CROPS), 7),
        (Ibot(head=HEAD, crops=CROPS), 7),
        (Ibot(head=HEAD, crops=CROPS, mask=AttMaskHint(ratio=(0.3, 0.6), show=0.5)), 5),
        (Dinov2(head=HEAD, crops=CROPS), 5),
        (Dinov2(head=HEAD, crops=CROPS, targets="centering", koleo_images=20), 7),
        (MaskedDino(head=HEAD, crops=CROPS, where="student-and-teacher"), 7),
        (MaskedDino(head=HEAD, crops=CROPS, where="student-all", how="drop", mask=EQUAL), 3),
        (DinoMaskedTeacher(head=HEAD, crops=CROPS, keep=9), 7),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Method) else str(value),
)
def test_a_resumed_run_is_bit_identical(tmp_path: Path, method: Method, stop_at: int) -> None:
    whole = Context(tmp_path / "whole")
    expected = outcome(whole, train(config(method), whole))
    with pytest.raises(Interrupted):
        train(config(method), Context(tmp_path / "broken", stop_at=stop_at))
    resumed = Context(tmp_path / "broken")
    assert outcome(resumed, train(config(method), resumed)) == expected
    assert 0 < expected[0]["features/std"] <= 1
    entropies = [record for record in whole.metrics if "teacher_entropy" in record]
    assert len(entropies) > 2
    assert all(0 <= record["mean_entropy"] <= math.log(32) + 1e-5 for record in entropies)


def test_a_run_that_an_earlier_version_began_goes_on(tmp_path: Path) -> None:
    method = Ibot(head=HEAD, crops=CROPS)
    whole, broken = Context(tmp_path / "whole"), Context(tmp_path / "broken", stop_at=5)
    expected = outcome(whole, train(config(method), whole))
    with pytest.raises(Interrupted):
        train(config(method), broken)
    path = tmp_path / "broken" / "checkpoint.pt"
    saved = torch.load(path, weights_only=True)
    kept = saved["objective"]
    kept["watch"], kept["hiding"] = kept.pop("collapse_monitor"), kept.pop("patch_masking")
    torch.save(saved, path)
    resumed = Context(tmp_path / "broken")
    assert outcome(resumed, train(config(method), resumed)) == expected


def test_options_that_do_nothing_or_do_not_fit_are_refused() -> None:
    with pytest.raises(FieldError, match="`augment` has no effect here"):
        TrainConfig(
            data=DataConfig(name="fashion-mnist"),
            student=vit(),
            method=Dino(crops=CROPS),
            recipe=Recipe(epochs=1, batch_size=50, lr=1e-3, augment=Augment(crop="none")),
        )
    with pytest.raises(FieldError, match="local_size: must be a multiple of the patch size 7"):
        config(Dino(crops=MultiCrop(local_size=16)))


@pytest.mark.parametrize(
    ("method", "changes", "field", "words"),
    [
        (Dinov2(crops=CROPS), {"batch": 1}, "koleo_weight", "compares images, and .* is 1: give"),
        (Dinov2(crops=CROPS), {"patch": 14}, "mask", "blocks have at least 4 patches and leave a"),
        (Ibot(crops=GLOBAL), {"patch": 28}, "mask", "hide nothing: .* 1 patch .* the 1 x 1 patch"),
        (MaskedDino(crops=GLOBAL, mask=BlockWise()), {"patch": 28}, "mask", "would hide nothing"),
        (Dino(crops=replace(GLOBAL, cut="pad", pad_pixels=28)), {}, "crops.pad_pixels", "below"),
    ],
    ids=["koleo of one", "large blocks", "one patch", "masked dino", "a border"],
)
def test_what_would_have_no_effect_or_a_wrong_one_is_refused(
    method: Method, changes: dict[str, int], field: str, words: str
) -> None:
    """A border beyond the image's reflection would show its far side, without a word."""
    student = replace(vit(), patch_size=changes.get("patch", 7))
    with pytest.raises(FieldError, match=words) as told:
        TrainConfig(
            data=DataConfig(name="fashion-mnist"),
            student=student,
            method=method,
            recipe=Recipe(epochs=1, batch_size=changes.get("batch", 50), lr=1e-3),
        )
    assert told.value.field == f"method.{field}"


def test_nothing_to_learn_from_is_refused() -> None:
    for method in (Ibot, Dinov2):
        with pytest.raises(FieldError, match="both 0: there is nothing to learn from"):
            method(cls_weight=0.0, patch_weight=0.0)
    with pytest.raises(FieldError, match="at least 2 prototypes, got 1"):
        Head(out_dim=1)  # the softmax of one is 1, whatever the network says


def test_warm_ups_that_never_end_are_refused() -> None:
    """`config` trains for 2 epochs."""
    slow = Temperatures(teacher=0.07, teacher_start=0.04, warmup_epochs=3)
    with pytest.raises(FieldError, match="warmup_epochs: 3 is longer than the 2 epoch"):
        config(Dino(crops=CROPS, temperatures=slow))
    with pytest.raises(FieldError, match="start_epoch: 1 and a warm-up of 2 are longer than the 2"):
        config(Ibot(crops=CROPS, temperatures=replace(slow, warmup_epochs=2), start_epoch=1))
    with pytest.raises(FieldError, match="start_epoch: 3 and a warm-up of 0 are longer than the 2"):
        config(Ibot(crops=CROPS, start_epoch=3))
    config(Ibot(crops=CROPS, temperatures=replace(slow, warmup_epochs=2)))
    config(Ibot(crops=CROPS, temperatures=replace(slow, warmup_epochs=1), start_epoch=1))


def test_a_start_without_a_warm_up_is_refused() -> None:
    with pytest.raises(
        FieldError, match=r"without warmup_epochs: make it 0\.07, as teacher is, or"
    ):
        Temperatures(teacher=0.07)
    with pytest.raises(
        FieldError, match=r"without temperatures.warmup_epochs: leave it out; got 0.0"
    ):
        Ibot(patch_teacher_start=0.05)
    assert Ibot(patch_teacher=0.05, patch_teacher_start=0.05).temperatures.warmup_epochs == 0
    assert Temperatures(teacher=0.07, teacher_start=0.07).warmup_epochs == 0
    assert Temperatures(teacher=0.07, warmup_epochs=1).teacher_start == 0.04


def test_everything_that_a_step_moves_is_in_the_checkpoint(tmp_path: Path) -> None:
    """What is restored into a fresh objective is what was saved, tensor by tensor."""
    method = Ibot(head=HEAD, crops=CROPS)
    with pytest.raises(Interrupted):
        train(config(method), Context(tmp_path / "run", stop_at=6))
    saved = torch.load(tmp_path / "run/checkpoint.pt", weights_only=True)
    modules = {"student", "head", "teacher", "teacher_head", "mask_token"}
    assert set(saved["modules"]) == modules
    assert float(saved["objective"]["center"].abs().sum()) > 0
    assert float(saved["objective"]["patch_center"].abs().sum()) > 0
    assert not torch.equal(
        saved["modules"]["student"]["vit.cls_token"], saved["modules"]["teacher"]["vit.cls_token"]
    )
    moments = saved["optimizer"]["state"].values()
    assert all(float(moment["exp_avg_sq"].sum()) > 0 for moment in moments)


def test_a_collapsed_network_is_noticed_and_reported(tmp_path: Path) -> None:
    """A rate far too high drives every image to one point."""
    said: list[str] = []

    class Listening(Context):
        def log(self, message: str) -> None:
            said.append(message)

    constant = Dino(head=HEAD, crops=CROPS, momentum=0.0, center_momentum=1.0)
    wild = replace(config(constant), recipe=replace(config().recipe, lr=0.5, epochs=2))
    result = train(wild, Listening(tmp_path / "run"))
    assert result["features/std"] < COLLAPSED
    assert any(message.startswith("collapsed at step 12: features/std is") for message in said)


@pytest.mark.parametrize(
    ("temperature", "sign"), [(1e3, "teacher_entropy is 3.4"), (1e-4, "mean_entropy is ")]
)
def test_a_teacher_that_is_collapsing_is_said_once(
    tmp_path: Path, temperature: float, sign: str
) -> None:
    """Outputs made uniform by a high temperature; and one prototype, by a low one and no centre."""
    said: list[str] = []

    class Listening(Context):
        def log(self, message: str) -> None:
            said.append(message)

    given = Temperatures(teacher=temperature, teacher_start=temperature, warmup_epochs=0)
    method = Dino(head=HEAD, crops=CROPS, temperatures=given, momentum=0.0, center_momentum=1.0)
    train(config(method), Listening(tmp_path / "run"))
    warnings = [message for message in said if message.startswith("warning at step")]
    assert len(warnings) == 1
    assert sign in warnings[0]


def test_a_batch_of_two_trains(tmp_path: Path) -> None:
    small = replace(
        config(Ibot(head=HEAD, crops=CROPS)),
        recipe=Recipe(epochs=0.05, batch_size=2, lr=1e-3, weight_decay=0.04),
    )
    assert 0 < train(small, Context(tmp_path / "run"))["features/std"] <= 1


@pytest.mark.parametrize(
    "method",
    [Dino(head=HEAD, crops=CROPS), Dinov2(head=HEAD, crops=CROPS, koleo_images=10)],
    ids=["Dino", "Dinov2"],
)
def test_parts_of_a_batch_give_the_loss_of_the_whole(tmp_path: Path, method: Method) -> None:
    """What is drawn is drawn for the whole batch, so only rounding is left between the two."""
    plain = replace(config(method), recipe=replace(config().recipe, epochs=0.5))
    whole, parts = Context(tmp_path / "whole"), Context(tmp_path / "parts", micro_batch=10)
    train(plain, whole)
    train(plain, parts)
    losses = [
        [record["loss/total"] for record in context.metrics if "loss/total" in record]
        for context in (whole, parts)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
