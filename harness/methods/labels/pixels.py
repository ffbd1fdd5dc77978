"""What a network learns from the class of every pixel."""

from __future__ import annotations

from harness.lazy import torch
from harness.methods.labels import LabelLoss
from harness.models.interface import ForwardOutput


class MaskLoss(LabelLoss):
    """`ce`, the cross-entropy of pixels: the mean over an image's known ones, then over images."""

    def __init__(self, grid: tuple[int, int]) -> None:
        self.grid = grid  # of the student's patches

    def __call__(self, output: ForwardOutput, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Targets are masks (B, H, W)."""
        from harness.models.segmenter import mean_cross_entropy, on_pixels

        height, width = targets.shape[1:]
        scores = on_pixels(output.logits, self.grid, (height, width))
        return {"ce": mean_cross_entropy(scores, targets).mean()}
