"""Stochastic depth (arXiv 1603.09382) whose draws belong to the images of the whole batch."""

from __future__ import annotations

from timm.layers.drop import DropPath
from torch import Tensor, nn

from harness.batch_slice import BatchSlice


class StochasticDepth(nn.Module):
    """timm's `DropPath`, bit for bit where a batch is computed at once."""

    def __init__(self, given: DropPath) -> None:
        super().__init__()
        self.drop = float(given.drop_prob or 0.0)
        self.scale = given.scale_by_keep
        self.batch_slice = BatchSlice()

    def forward(self, branch: Tensor) -> Tensor:
        """The branch (B, ...) of a residual block, 0 for the images that skip it."""
        if self.drop == 0 or not self.training:
            return branch
        keep, rest = 1 - self.drop, (1,) * (branch.ndim - 1)
        mask = self.batch_slice.draw_for_slice(
            len(branch), lambda rows: branch.new_empty(rows, *rest).bernoulli_(keep)
        )
        if keep > 0 and self.scale:
            mask = mask / keep
        return branch * mask


def replace_drop_path(network: nn.Module) -> list[StochasticDepth]:
    """Replace timm's modules in a network; those that took their place, to be told the share."""
    found = []
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, DropPath):
                new = StochasticDepth(child).train(child.training)
                setattr(parent, name, new)
                found.append(new)
    return found


def set_batch_slice(depths: list[StochasticDepth], batch_slice: BatchSlice) -> None:
    """Whose draws the next passes are."""
    for depth in depths:
        depth.batch_slice = batch_slice
