"""Blocks of patches, as BEiT and iBOT mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.bounds import Share
from harness.errors import FieldError
from harness.lazy import torch
from harness.masking.views import MASK_SAMPLERS, MaskInput, PatchMask, RatioMask, from_bool_mask
from harness.text import count

ATTEMPTS = 10


@MASK_SAMPLERS.register("block-wise")
@dataclass(frozen=True, kw_only=True, slots=True)
class BlockWise(RatioMask):
    """Rectangles until the ratio is reached or none fits any more (arXiv 2106.08254, algorithm 1;
    sizes as iBOT's released code draws them).

    A view gets at most ratio * N patches. The smallest block is a third of the shorter side,
    squared; where fewer patches are left than that, areas between the two are drawn.
    """

    aspect: Share = 0.3  # aspect of the flattest block; uniform in the logarithm up to its inverse

    def sample(self, inputs: MaskInput) -> PatchMask:
        """Blocks of each masked view, a ratio each; all views draw their next block at once."""
        target = self.targets(inputs)
        hidden = torch.zeros(inputs.views, inputs.rows, inputs.columns, dtype=torch.bool)
        going = target > 0
        while going.any():
            left = target - hidden.sum(dim=(1, 2))
            found, block = self._blocks(inputs, hidden, left)
            hidden |= block & (going & found)[:, None, None]
            going &= found & (hidden.sum(dim=(1, 2)) < target)
        return from_bool_mask(hidden.flatten(1), inputs.device)

    def check(self, rows: int, columns: int) -> None:
        """A block leaves a row and a column."""
        least = max(1, self.smallest(rows, columns))
        if least > (rows - 1) * (columns - 1):
            raise FieldError(
                "mask",
                f"would hide nothing: its blocks have at least {count(least, 'patch', 'patches')} "
                f"and leave a row and a column of the {rows} x {columns} patches of a view",
            )

    def targets(self, inputs: MaskInput) -> torch.Tensor:
        """(V,) on the CPU: how many patches of each view are to be hidden, at most."""
        return self.ratios(inputs, "view") * inputs.patches

    def smallest(self, rows: int, columns: int) -> int:
        """Patches of the smallest block."""
        return int((min(rows, columns) // 3) ** 2)

    def _blocks(
        self, inputs: MaskInput, hidden: torch.Tensor, left: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The first of ten blocks in each view that hides something more and no more than `left`:
        whether there is one (V,), and which patches it covers (V, rows, columns).
        """
        rows, columns = inputs.rows, inputs.columns
        draws = inputs.draws(4, ATTEMPTS)
        smallest = self.smallest(rows, columns)
        area = smallest + (left - smallest) * draws[0]
        aspect = torch.exp(math.log(self.aspect) * (2 * draws[1] - 1))
        height, width = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
        fits = (height < rows) & (width < columns)
        height, width = height.clamp(max=rows), width.clamp(max=columns)
        top = (draws[2] * (rows - height + 1)).long()
        start = (draws[3] * (columns - width + 1)).long()
        new = height * width - _inside(hidden, top, start, height, width)
        good = fits & (new > 0) & (new <= left)
        first = good.to(torch.uint8).argmax(dim=0, keepdim=True)
        top, start, height, width = (
            part.gather(0, first)[0][:, None] for part in (top, start, height, width)
        )
        row, column = torch.arange(rows), torch.arange(columns)
        tall = (row >= top) & (row < top + height)
        wide = (column >= start) & (column < start + width)
        return good.any(dim=0), tall[:, :, None] & wide[:, None, :]


def _inside(
    hidden: torch.Tensor,
    top: torch.Tensor,
    start: torch.Tensor,
    height: torch.Tensor,
    width: torch.Tensor,
) -> torch.Tensor:
    """How many patches of each block (A, V) are hidden (V, rows, columns) already."""
    table = torch.nn.functional.pad(hidden.long().cumsum(1).cumsum(2), (1, 0, 1, 0))
    view = torch.arange(len(hidden))
    bottom, end = top + height, start + width
    inner = table[view, bottom, end] - table[view, top, end]
    return inner - table[view, bottom, start] + table[view, top, start]
