"""What is in patches that lie side by side or overlap, against windows cut out one by one."""

from __future__ import annotations

import numpy as np
import torch

from harness.evaluate.patches import foreground_shares, patch_means
from harness.models.architectures import PatchGrid

OVERLAPPING = PatchGrid(size=(20, 33), patch=8, stride=5)


def windows(values: torch.Tensor) -> np.ndarray:
    """Each of 3 x 6 overlapping patches: (B, C, 18, 64)."""
    cut = [
        values[:, :, top : top + 8, left : left + 8].flatten(2)
        for top in (0, 5, 10)
        for left in (0, 5, 10, 15, 20, 25)
    ]
    return torch.stack(cut, dim=2).double().numpy()


def test_means_of_overlapping_patches_are_those_of_their_windows() -> None:
    values = torch.randn(2, 3, 20, 33, generator=torch.Generator().manual_seed(0)).double()
    assert OVERLAPPING.shape == (3, 6)
    np.testing.assert_allclose(patch_means(values, OVERLAPPING), windows(values).mean(axis=3))


def test_a_teacher_of_another_size_has_its_own_patches() -> None:
    values = torch.arange(16.0).reshape(1, 1, 4, 4)
    of_twice_the_size = PatchGrid(size=(8, 8), patch=4, stride=4)
    assert patch_means(values, of_twice_the_size).tolist() == [[[2.5, 4.5, 10.5, 12.5]]]


def test_shares_of_overlapping_patches_are_counted() -> None:
    values = torch.zeros(2, 1, 20, 33)
    values[0, :, :, :14] = 0.2  # rounds to nothing, and is something
    values[1, 0, 3, 9] = -4
    found = foreground_shares(values, OVERLAPPING, background=0, exact=True)
    np.testing.assert_allclose(found, (windows(values) != 0).mean(axis=3)[:, 0], atol=1e-6)
    rounded = foreground_shares(values, OVERLAPPING, background=0, exact=False)
    assert rounded[0].sum() == 0


def test_a_pixel_is_foreground_when_any_channel_differs_from_the_background() -> None:
    pixels = torch.zeros(1, 3, 4, 4)
    pixels[0, 1, 0, 0] = 9
    pixels[0, :, 2:, 2:] = 255
    pixels[0, 0, 3, 0] = 0.3  # left by resizing: rounds to the background
    patches = PatchGrid(size=(4, 4), patch=2, stride=2)
    found = foreground_shares(pixels, patches, background=0, exact=False)
    assert found.tolist() == [[0.25, 0.0, 0.0, 1.0]]
