"""KoLeo: every image is pushed away from its nearest neighbour (arXiv 1806.03198; 2304.07193)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.lazy import torch
from harness.transfer import to_device

if TYPE_CHECKING:
    from torch import Tensor

EPS = 1e-8  # added to differences and distances, as released


def koleo(tokens: Tensor, groups: Iterable[Sequence[int]]) -> Tensor:
    """Mean over images of -log |x - its nearest neighbour|, for tokens (B, D) scaled to unit
    length; neighbours are sought within a group. An image alone in its group counts as 0.

    Always in fp32.
    """
    functional = torch.nn.functional
    with torch.autocast(tokens.device.type, enabled=False):
        units = functional.normalize(tokens.float(), dim=-1, eps=EPS)
        total = units.new_zeros(())
        for members in groups:
            if len(members) < 2:
                continue
            part = units[to_device(torch.as_tensor(members), units.device)]
            with torch.no_grad():
                nearest = (part @ part.T).fill_diagonal_(-torch.inf).argmax(dim=1)
            distances = functional.pairwise_distance(part, part[nearest], eps=EPS)
            total = total - (distances + EPS).log().sum()
        return total / len(tokens)
