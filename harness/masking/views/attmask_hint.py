"""AttMask-Hint: as High, with a few of the most attended patches left as hints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.bounds import Unit
from harness.lazy import torch
from harness.masking.views import VIEW_MASKS, Hidden, RatioMask, Sight, whole
from harness.masking.views.attended import by_attention, first_ranks


@VIEW_MASKS.register("attmask-hint")
@dataclass(frozen=True, kw_only=True, slots=True)
class AttMaskHint(RatioMask):
    """`attmask-high`, then floor(show * r' * N) of the top floor(show * N) patches are shown again
    (arXiv 2203.12719, section 3.2).

    As released: r' is a second draw of the ratio, independent of the mask's; the shown ones are
    drawn without replacement in each view, and nothing is hidden in their place. Where that rounds
    to none, none is shown (the released code stops with an error).
    """

    show: Unit = 0.1  # s: share of all patches that hints are taken from

    looks: ClassVar[bool] = True

    def hide(self, sight: Sight) -> Hidden:
        """The highest ranks of each masked view without its hints."""
        second = self.between(torch.tensor(sight.shared[1], dtype=torch.float64))
        shown = int(whole(self.show * second, sight.patches))
        top = int(whole(torch.tensor(self.show, dtype=torch.float64), sight.patches))
        chosen = first_ranks(self, sight)
        noise = sight.noise(top)
        hints = noise.argsort(dim=1)[:, :shown]
        return by_attention(sight, chosen.scatter(1, hints, False))
