"""What a mask keeps, and what is lost with the rest: whole objects, or a part of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, Final

import torch
from torch import Tensor

from harness.evaluate.patches import foreground_shares, patch_means
from harness.evaluate.png import FirstOfClasses, levels, png
from harness.masking.keep import kept_counts
from harness.masking.positions import distance_from_centre, evenness
from harness.models.architectures import PatchGrid

BINS: Final = 20  # of the shares of foreground, from 0 to 1


class KeptMeter:
    """Adds up over batches; read once, at the end. `exact` as of `foreground_shares`."""

    def __init__(self, patches: PatchGrid, *, background: int | None, exact: bool = False) -> None:
        self.patches, self.background, self.exact = patches, background, exact
        rows, columns = patches.shape
        self._counts = torch.zeros(rows * columns, dtype=torch.float64)
        self._keep = 0
        self._likeness: list[Tensor] = []
        self._shares: list[Tensor] = []

    def add(self, kept: Tensor, pixels: Tensor) -> None:
        """`kept` (B, K) of the N patches of images `pixels` (B, C, H, W), in 0..255 or log
        energies, whose objects are what is not background.
        """
        patches = len(self._counts)
        shown = torch.zeros(len(kept), patches, dtype=torch.float64, device=kept.device)
        shown = shown.scatter_(1, kept, 1.0)
        self._counts += kept_counts(kept, patches).cpu()
        self._keep = kept.shape[1]
        self._likeness.append(likeness(pixels, shown, self.patches))
        if self.background is not None:
            foreground = foreground_shares(
                pixels, self.patches, background=self.background, exact=self.exact
            ).double()
            area = foreground.sum(dim=1)
            there = area > 0
            self._shares.append(((foreground * shown).sum(dim=1)[there] / area[there]).cpu())

    @property
    def shares(self) -> Tensor:
        """Of every image with an object: the part of it that is kept, 0 to 1."""
        return torch.cat(self._shares) if self._shares else torch.zeros(0)

    def metrics(self) -> dict[str, float]:
        """By the names of `harness.tasks.kept`."""
        alike = torch.cat(self._likeness)
        found = {
            "kept/evenness": evenness(self._counts),
            "kept/distance": distance_from_centre(self._counts, self.patches.shape),
        }
        if len(alike):
            found["kept/likeness"] = 100 * float(alike.mean())
        if len(self.shares):
            found["kept/foreground"] = 100 * float(self.shares.mean())
            found["kept/foreground_spread"] = 100 * float(self.shares.std(correction=0))
            found["kept/foreground_even"] = 100 * self._keep / len(self._counts)
        return found


def likeness(pixels: Tensor, shown: Tensor, patches: PatchGrid) -> Tensor:
    """Of every image whose patches differ at all: the share of the variance of their mean colours
    that lies between the patches that are `shown` (B, N; 1 or 0) and those that are hidden.

    Patches of one object look alike. Where those that look alike are kept or hidden together the
    share is high; a random choice has 1 / (N - 1) on average.
    """
    colours = patch_means(pixels.double(), patches)  # (B, C, N)
    colours = colours - colours.mean(dim=2, keepdim=True)
    count, keep = shown.shape[1], shown.sum(dim=1)
    total = colours.square().sum(dim=(1, 2))
    # hidden ones sum to minus what the shown ones sum to
    between = (colours * shown[:, None]).sum(dim=2).square().sum(dim=1)
    between = between * (1 / keep + 1 / (count - keep))
    differ = total > 1e-9
    return (between[differ] / total[differ]).cpu()


def look_at_kept(
    choose: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    *,
    patches: PatchGrid,
    background: int | None,
    spectrograms: bool,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics over (images normalised, values as they are, labels) of which `choose` keeps (B, K)
    `patches`; pictures, and how many images keep how much of their object, as JSON values.

    The pictures: the first image of each of the first classes to appear, and what of it is kept.
    """
    meter = KeptMeter(patches, background=background, exact=spectrograms)
    pictures, first = list[dict[str, Any]](), FirstOfClasses()
    for images, pixels, labels in batches:
        kept = choose(images)
        meter.add(kept, pixels)
        for at, label in first.among(labels):
            drawn = png(levels(pixels[at]) if spectrograms else pixels[at])
            pictures.append({"label": label, "png": drawn, "kept": kept[at].tolist()})
    shares = meter.shares
    counts = torch.histc(shares.float(), BINS, 0.0, 1.0).int().tolist() if len(shares) else []
    about = {**asdict(patches), "upward": spectrograms, "pictures": pictures, "shares": counts}
    return meter.metrics(), about
