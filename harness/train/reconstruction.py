"""What a masked autoencoder guesses of images that judge: how wrong it is, and pictures of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from harness.batch_slice import FULL_BATCH
from harness.evaluate.png import FirstOfClasses, png
from harness.methods.mae import MaeObjective, patch_statistics, random_order
from harness.models.families.vit import gather_patches
from harness.models.vit import Normalisation
from harness.seeding import generator


@torch.no_grad()
def reconstruct(
    built: MaeObjective,
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    *,
    seed: int,
    norm: Normalisation,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics over (images normalised, pixels in 0..255, labels), and pictures as JSON values.

    The pictures: the first image of each of the first classes to appear, what is seen of it, and
    the guess, PNG in base64. `norm` is how the images are normalised.
    """
    built.decoder.eval()
    sums = torch.zeros(2, dtype=torch.float64)
    count, pictures, first = 0, list[dict[str, Any]](), FirstOfClasses()
    patches, seen = built.student.patches, built.method.seen(built.student.patches)
    for at, (images, pixels, labels) in enumerate(batches):
        draws = generator(seed, "reconstruction", at)
        order = random_order(len(images), patches, draws, FULL_BATCH).to(images.device)
        keep, hidden = order[:, :seen], order[:, seen:]
        guesses = built.decoder(built.encoded(images, keep), keep, hidden).float()
        given = gather_patches(images, hidden, built.patch_size).float()
        mean, deviation = patch_statistics(given)
        targets = (given - mean) / deviation
        if not built.method.normalise_targets:
            guesses = (guesses - mean) / deviation
        errors = torch.stack([(guesses - targets).square().mean(), targets.square().mean()])
        sums += errors.double().cpu() * len(images)
        count += len(images)
        for number, label in first.among(labels):
            one = pixels[number : number + 1].float()
            filled = guesses[number] * deviation[number] + mean[number]
            parts = _drawn(built, one, _as_pixels(filled, norm), hidden[number])
            pictures.append({"label": label, **parts})
    error, baseline = (sums / count).tolist()
    metrics = {"reconstruction/error": error, "reconstruction/error_of_means": baseline}
    return metrics, {"pictures": pictures}


def _as_pixels(patches: Tensor, norm: Normalisation) -> Tensor:
    """Patches (M, C * p * p) that are normalised, in 0..255."""
    mean, std = (torch.tensor(part, device=patches.device) for part in (norm.mean, norm.std))
    channels = patches.view(len(patches), len(norm.mean), -1)
    return (255 * (channels * std[:, None] + mean[:, None])).flatten(1)


def _drawn(built: MaeObjective, pixels: Tensor, guess: Tensor, hidden: Tensor) -> dict[str, str]:
    """An image (1, C, H, W) in 0..255, what is seen of it, and that with the guess (M, P)."""
    grey = torch.full_like(guess, 128.0)
    return {
        "original": png(pixels[0]),
        "masked": png(_put(built, pixels, hidden, grey)),
        "guess": png(_put(built, pixels, hidden, guess)),
    }


def _put(built: MaeObjective, pixels: Tensor, places: Tensor, patches: Tensor) -> Tensor:
    """The image (C, H, W) with `patches` (M, C * p * p) at `places` (M,)."""
    out, (height, width) = pixels[0].clone(), built.patch_size
    columns = built.student.grid[1]
    for place, patch in zip(places.tolist(), patches, strict=True):
        top, left = place // columns * height, place % columns * width
        out[:, top : top + height, left : left + width] = patch.view(-1, height, width)
    return out
