"""Within a training step of any method the host waits for nothing that a GPU computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.data.config import DataConfig
from harness.data.multicrop import MultiCrop
from harness.data.prefetch import prefetched
from harness.masking import CRITERIA
from harness.masking.attention import (
    DetectionAttention,
    LayerAttention,
    PatchAttention,
    SaliencyModelAttention,
    SpecialTokensAttention,
    StudentAttention,
    StudentAttentionLowest,
    TeacherAttention,
)
from harness.masking.late_random import LateRandom
from harness.masking.random import RandomCriterion
from harness.masking.views import MASK_SAMPLERS
from harness.masking.views.attmask import AttMaskHigh, AttMaskHint, AttMaskLow
from harness.masking.views.block import BlockWise
from harness.masking.views.random import RandomMask
from harness.methods import METHODS, Method
from harness.methods.dino import Dino
from harness.methods.dino_masked_teacher import DinoMaskedTeacher
from harness.methods.dinov2 import Dinov2
from harness.methods.distillation import Distillation, Mask
from harness.methods.ibot import Ibot
from harness.methods.losses import LOSSES
from harness.methods.losses.attention import Attention
from harness.methods.losses.g2sd import G2SD
from harness.methods.losses.logit import Logit
from harness.methods.losses.manifold import Manifold
from harness.methods.lut import Lut, LutHead, TwoViews
from harness.methods.mae import Decoder, Mae
from harness.methods.masked_dino import MaskedDino
from harness.methods.masked_student import MaskedStudent
from harness.methods.merged_teacher import MergedTeacher
from harness.methods.selfdistillation.config import Head
from harness.methods.supervised import Supervised
from harness.models.config import ModelConfig
from harness.train import loop
from harness.train.config import Augment, Recipe, TrainConfig
from harness.transfer import to_device
from tests.train.test_base_losses import DISTILLED
from tests.train.test_loop import Context, vit
from tests.train.waiting import Waits

HEAD = Head(out_dim=32, hidden=16, bottleneck=8, norm_last_layer=False)
DECODER = Decoder(width=16, depth=1, heads=2)
CROPS = MultiCrop(local_crops=2, local_size=14)
BATCH = 54


def config(method: Method, **changes: Any) -> TrainConfig:
    augment = Augment()
    if method.uses_labels:
        augment = Augment(mixup=0.8, cutmix=1.0, label_smoothing=0.1, erasing=0.5)
    recipe = Recipe(
        epochs=1.5, batch_size=BATCH, lr=1e-3, weight_decay=0.04, clip_norm=1.0, augment=augment
    )
    fields: dict[str, Any] = {"student": vit(drop_path=0.3), "recipe": recipe, **changes}
    if method.uses_teacher:
        fields = {"teacher": vit(24), **fields}
    return TrainConfig(
        data=DataConfig(name="fashion-mnist", train_fraction=0.005), method=method, **fields
    )


def masked(criterion: Any, **changes: Any) -> TrainConfig:
    return config(Distillation(mask=Mask(keep=8, criterion=criterion)), **changes)


PADDED = Augment(crop="pad", mixup=0.8)
TRAININGS = {
    "supervised": config(Supervised()),
    "supervised, padded crops": config(
        Supervised(), recipe=Recipe(epochs=1, batch_size=BATCH, lr=1e-3, augment=PADDED)
    ),
    "colours image by image": config(
        Supervised(),
        recipe=Recipe(epochs=1, batch_size=BATCH, lr=1e-3, augment=Augment(color_jitter=0.3)),
    ),
    "distillation": config(Distillation()),
    **{
        type(criterion).__name__: masked(criterion)
        for criterion in (
            StudentAttention(),
            StudentAttentionLowest(),
            LayerAttention(layer="1"),
            PatchAttention(),
            SpecialTokensAttention(),
            TeacherAttention(),
            RandomCriterion(),
        )
    },
    "SaliencyModelAttention": masked(SaliencyModelAttention(), saliency_model=vit()),
    "LateRandom": masked(LateRandom(random=3, start=0.0, attention=StudentAttention())),
    "manifold": config(Distillation(loss=Manifold(group=14, samples=16), mask=Mask(keep=8))),
    "attention": config(Distillation(loss=Attention(), mask=Mask(keep=8))),
    "hard labels": config(Distillation(loss=Logit(hard=True))),
    "g2sd": config(Distillation(loss=G2SD(), mask=Mask(keep=8)), student=DISTILLED),
    "maps of a distilled student": config(Distillation(loss=Attention()), student=DISTILLED),
    "masked student": config(MaskedStudent(keep=8)),
    "merged teacher": config(MergedTeacher(merge=3)),
    "dino": config(Dino(head=HEAD, crops=CROPS)),
    "masked teacher in dino": config(DinoMaskedTeacher(head=HEAD, crops=CROPS, keep=9)),
    **{
        f"ibot, {type(mask).__name__}": config(Ibot(head=HEAD, crops=CROPS, mask=mask))
        for mask in (BlockWise(), RandomMask(), AttMaskHigh(), AttMaskLow(), AttMaskHint())
    },
    "dinov2": config(Dinov2(head=HEAD, crops=CROPS, koleo_images=7)),
    "dinov2 with running means": config(
        Dinov2(head=HEAD, crops=CROPS, koleo_images=7, targets="centering", heads="shared")
    ),
    "mae": config(Mae(decoder=DECODER)),
    "lut": config(Lut(decoder=DECODER, head=LutHead(hidden=16), crops=TwoViews(pad_pixels=2))),
    "ibot before it hides": config(Ibot(head=HEAD, crops=CROPS, start_epoch=1)),
    "masked dino": config(MaskedDino(head=HEAD, crops=CROPS, where="student-and-teacher")),
    "patches left out": config(
        MaskedDino(head=HEAD, crops=CROPS, how="drop", where="student-all"), student=vit()
    ),
    "cait, convit": config(
        Distillation(mask=Mask(keep=150)),
        student=ModelConfig(arch="convit_tiny", depth=4, drop_path=0.1),
        teacher=ModelConfig(arch="cait_s24_224", depth=2),
    ),
    "swin": config(
        Distillation(mask=Mask(keep=98, criterion=PatchAttention())),
        student=ModelConfig(arch="swin_tiny_patch4_window7_224", drop_path=0.1),
        teacher=ModelConfig(arch="deit_tiny_patch16_224", depth=2),
    ),
}


def test_every_method_loss_criterion_and_mask_is_tried() -> None:
    methods = {type(one.method) for one in TRAININGS.values()}
    assert methods == {METHODS.get(name) for name in METHODS.names() if METHODS.get(name).trains}
    of = [one.method for one in TRAININGS.values() if isinstance(one.method, Distillation)]
    # a detector's boxes are matched on the host: its losses wait, as DETR's do
    losses = {LOSSES.get(name) for name in LOSSES.names()}
    assert {type(one.loss) for one in of} == {one for one in losses if "classes" in one.labellings}
    criteria = {type(one.mask.criterion) for one in of if one.mask is not None}
    assert criteria == {CRITERIA.get(name) for name in CRITERIA.names()} - {DetectionAttention}
    views = {type(one.method.mask) for one in TRAININGS.values() if isinstance(one.method, Ibot)}
    assert views == {MASK_SAMPLERS.get(name) for name in MASK_SAMPLERS.names()}


@contextmanager
def on_meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The device of trainings has shapes only; what knows no such device is told another name."""
    plain = torch.optim.AdamW

    def optimizer(groups: Any, *, fused: bool, **options: Any) -> torch.optim.AdamW:
        return plain(groups, foreach=False, **options)

    cast = torch.autocast

    def autocast(device_type: str, **options: Any) -> Any:
        return cast("cpu" if device_type == "meta" else device_type, **options)

    monkeypatch.setattr(loop, "pick_device", lambda wanted: torch.device("meta"))
    monkeypatch.setattr(torch.optim, "AdamW", optimizer)
    monkeypatch.setattr(torch, "autocast", autocast)
    yield


IN_PARTS = ("supervised", "manifold", "masked dino")  # what is cut differently in micro-batches


@pytest.mark.parametrize(
    ("name", "micro_batch"),
    [*((name, None) for name in TRAININGS), *((name, 28) for name in IN_PARTS)],
)
def test_no_step_waits(
    name: str, micro_batch: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the batch on the host to the optimiser's step, the second one: tables that are made once
    may wait.
    """
    context = Context(tmp_path, micro_batch=micro_batch)
    with on_meta(monkeypatch):
        training = loop._Training(TRAININGS[name], context)
        batches = prefetched(training._batches(0), training.device)
        training._train_step(0, batches)
        with Waits():
            training._train_step(1, batches)
    assert training.meters.sums["total"].device.type == "meta"
    assert training.meters.steps == 2


WAITERS: dict[str, Callable[[torch.Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "if": lambda x: 1 if x.sum() > 0 else 0,
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "list": lambda x: x[[0, 1]],
    "host index": lambda x: x[torch.tensor([0, 1])],
    "put": lambda x: x.index_put_((torch.tensor([0, 1]),), torch.zeros((), device=x.device)),
    "bincount": lambda x: torch.bincount(x.flatten().long()),
    "tensor": lambda x: torch.tensor([1.0], device=x.device),
    "to": lambda x: torch.zeros(3).to(x.device, non_blocking=True),
    "copy": lambda x: x.copy_(torch.zeros(4, 5)),
    "cpu": lambda x: x.cpu(),
    "lengths": lambda x: x.repeat_interleave(x[:, 0].long(), dim=0),
}


@pytest.mark.parametrize("name", WAITERS)
def test_what_waits_is_found(name: str) -> None:
    values = torch.zeros(4, 5, device="meta")
    with Waits(), pytest.raises(AssertionError, match="the host waits for the device"):
        WAITERS[name](values)


def test_what_does_not_wait_is_let_through() -> None:
    values = torch.zeros(4, 5, device="meta")
    with Waits():
        chosen = to_device(torch.tensor([0, 1]), values.device)
        values[chosen].index_add_(0, chosen, values[chosen])
        values[:, 0] = 1.0
        torch.zeros(7).nonzero()  # of the host alone
        (values * torch.tensor(2.0)).mean()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine")
@pytest.mark.parametrize("name", TRAININGS)
def test_no_step_waits_for_a_gpu(name: str, tmp_path: Path) -> None:
    """torch's own word for it, which knows every copy and no more than those it was told of."""
    context = Context(tmp_path)
    context.resources = replace(context.resources, device="cuda")
    training = loop._Training(TRAININGS[name], context)
    batches = prefetched(training._batches(0), training.device)
    for step in range(2):
        training._train_step(step, batches)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        training._train_step(2, batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
