"""A small training of each system, over the sets of `tests.train.few`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.data.config import DataConfig
from harness.data.multicrop import MultiCrop
from harness.masking.attention import DetectionAttention
from harness.methods import Method
from harness.methods.dinov2 import Dinov2
from harness.methods.distillation import Distillation, Mask
from harness.methods.losses.manifold import Manifold
from harness.methods.losses.tokens import TokenMatching
from harness.methods.lut import Lut, LutHead, TwoViews
from harness.methods.mae import Decoder, Mae
from harness.methods.selfdistillation.config import Head
from harness.methods.supervised import Supervised
from harness.models.config import ModelConfig
from harness.train.config import Augment, Recipe, TrainConfig

VIT = ModelConfig(arch="vit", image_size=28, patch_size=7, width=16, depth=2, heads=2)
YOLOS = ModelConfig(
    arch="yolos", image_size=56, patch_size=14, width=16, depth=2, heads=2, detection_tokens=5
)
SEGMENTER = ModelConfig(arch="segmenter", image_size=56, patch_size=14, width=16, depth=2, heads=2)
AST = ModelConfig(
    arch="ast_small", image_size=64, image_width=70, patch_size=16, stride=14,
    width=16, depth=2, heads=2,
)  # fmt: skip
DECODER = Decoder(width=16, depth=1, heads=2)
HEAD = Head(
    out_dim=32, hidden=16, bottleneck=8, norm_last_layer=False, freeze_last_layer_epochs=0.5
)
SHIFTED = Augment(crop="pad", pad_pixels=4)


def config(
    method: Method,
    data: str,
    student: ModelConfig,
    augment: Augment | None = None,
    *,
    teacher: ModelConfig | None = None,
    **recipe: Any,
) -> TrainConfig:
    """Three epochs of four steps of nine images."""
    given = {"epochs": 3, "batch_size": 9, "lr": 1e-3, "augment": augment or Augment(), **recipe}
    return TrainConfig(
        data=DataConfig(name=data),
        student=replace(student, drop_path=0.2),
        teacher=teacher,
        method=method,
        recipe=Recipe(**given),
    )


SYSTEMS = {
    "mae": config(Mae(decoder=DECODER), "fashion-mnist", VIT),
    "lut": config(
        Lut(decoder=DECODER, head=LutHead(hidden=24), crops=TwoViews(pad_pixels=2)),
        "fashion-mnist",
        VIT,
    ),
    "dinov2": config(
        Dinov2(head=HEAD, crops=MultiCrop(local_crops=2, local_size=14)),
        "fashion-mnist",
        replace(VIT, registers=2),
    ),
    "detection": config(Supervised(), "canvases", YOLOS, SHIFTED, evaluate_every=1.0),
    "detection, taught": config(
        Distillation(
            loss=TokenMatching(), weight=4.0, mask=Mask(keep=8, criterion=DetectionAttention())
        ),
        "canvases",
        YOLOS,
        Augment(crop="scaled", scaled=(0.8, 1.2)),
        teacher=replace(YOLOS, width=24),
    ),
    "segmentation": config(
        Supervised(),
        "canvases-masks",
        SEGMENTER,
        Augment(crop="scaled", scaled=(0.8, 1.2)),
        optimizer="sgd",
        decay="polynomial",
        weight_decay=0.0,
        evaluate_every=1.0,
    ),
    "segmentation, taught": config(
        Distillation(loss=Manifold(logit=0.0, group=4), mask=Mask(keep=12)),
        "canvases-masks",
        SEGMENTER,
        SHIFTED,
        teacher=replace(SEGMENTER, width=24),
        batch_size=8,
    ),
    "sounds": config(
        Distillation(mask=Mask(keep=8)),
        "fsdd",
        AST,
        Augment(crop="none", flip=0.0, frequency_mask=20, time_mask=20, mixup=0.5),
        teacher=replace(AST, width=24),
        batch_size=8,
        optimizer="adam",
        decay="exponential",
        decay_from=1,
    ),
}
