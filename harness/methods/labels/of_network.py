"""Which loss of labels a network learns by: that of what it tells of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.methods.labels import ClassLoss, LabelLoss

if TYPE_CHECKING:
    from harness.models.vit import VisionTransformer


def label_loss(network: VisionTransformer) -> LabelLoss:
    """The loss of what `network` tells of an image."""
    if network.family.labelling == "boxes":
        from harness.methods.labels.set_loss import SetLoss

        return SetLoss(network.prefix - 1)
    if network.family.labelling == "masks":
        from harness.methods.labels.pixels import MaskLoss

        return MaskLoss(network.grid)
    return ClassLoss()
