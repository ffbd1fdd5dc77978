"""Features for self-distillation against timm's own forward."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from harness.models.config import ModelConfig
from harness.models.families.vit import resize_positions
from harness.models.interface import ForwardRequest
from harness.models.vit import Normalisation, VisionTransformer
from tests.models.networks import build, shake

WITH_PATCHES = ForwardRequest(patches=True)
OWN = Normalisation(mean=(0.5, 0.4, 0.3), std=(0.2, 0.5, 0.25))
GIVEN = Normalisation(mean=(0.1, 0.45, 0.3), std=(0.3, 0.2, 0.25))


def network(own: Normalisation, given: Normalisation) -> VisionTransformer:
    config = ModelConfig(arch="vit", image_size=32, patch_size=8, width=24, depth=2, heads=3)
    model = shake(build(config, 5, norm=own))
    model.set_input_norm(own, given)
    return model.eval()


def pictures(size: int) -> Tensor:
    """In 0..1."""
    return torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(3))


def scaled(images: Tensor, how: Normalisation) -> Tensor:
    mean, std = (np.array(part)[:, None, None] for part in (how.mean, how.std))
    return torch.from_numpy((images.double().numpy() - mean) / std).float()


def test_images_are_rescaled_to_what_the_weights_were_trained_on() -> None:
    model, images = network(OWN, GIVEN), pictures(32)
    seen = scaled(images, GIVEN)
    with torch.no_grad():
        found = model.forward_features(seen, outputs=WITH_PATCHES)
        expected = model.vit.forward_features(scaled(images, OWN))
        assert torch.allclose(model.forward_features(seen).cls, expected[:, 0], atol=1e-5)
        assert torch.allclose(found.patches, expected[:, 1:], atol=1e-5)
        assert torch.equal(model.preprocess(seen), model.renormalise(seen))
        assert not torch.allclose(expected[:, 0], model.vit.forward_features(seen)[:, 0], atol=0.1)


def test_small_crops_are_rescaled_and_stay_small() -> None:
    model, images = network(OWN, GIVEN), pictures(16)
    same = network(OWN, OWN)
    with torch.no_grad():
        found = model.forward_features(scaled(images, GIVEN), outputs=WITH_PATCHES)
        expected = same.forward_features(scaled(images, OWN), outputs=WITH_PATCHES)
    assert found.patches.shape == (4, 4, 24)
    assert torch.allclose(found.patches, expected.patches, atol=1e-5)
    assert torch.allclose(found.cls, expected.cls, atol=1e-5)


@pytest.mark.parametrize("size", [16, 32])
def test_their_own_scale_is_left_as_it_is(size: int) -> None:
    images = pictures(size)
    assert network(OWN, OWN).renormalise(images) is images


def cubic(distance: float) -> float:
    """Keys' kernel with a = -0.75."""
    a, x = -0.75, abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def sampling(count: int, side: int, scale: float) -> NDArray[np.float64]:
    """(count, side): the weights of a line's places in `count` samples, edges repeated."""
    weights = np.zeros((count, side))
    for at in range(count):
        place = (at + 0.5) / scale - 0.5
        first = int(np.floor(place))
        for near in range(first - 1, first + 3):
            weights[at, min(max(near, 0), side - 1)] += cubic(place - near)
    return weights


@pytest.mark.parametrize(("rows", "columns"), [(6, 6), (14, 7), (3, 12)])
def test_positions_of_other_grids_are_sampled_as_dino_released(rows: int, columns: int) -> None:
    """A tenth of a patch is added to the target grid before the scale is taken, and the scale is
    kept: 6 patches of 14 are sampled 14 / 6.1 apart.
    """
    draws = torch.Generator().manual_seed(0)
    embedding = torch.randn(1, 196, 5, generator=draws)
    grid = embedding[0].double().numpy().reshape(14, 14, 5)
    down = sampling(rows, 14, (rows + 0.1) / 14)
    across = sampling(columns, 14, (columns + 0.1) / 14)
    expected = np.einsum("ra,cb,abd->rcd", down, across, grid).reshape(-1, 5)
    found = resize_positions(embedding, rows, columns)
    np.testing.assert_allclose(found[0].double().numpy(), expected, atol=1e-5)
    image = embedding.view(1, 14, 14, 5).permute(0, 3, 1, 2)
    usual = functional.interpolate(image, size=(rows, columns), mode="bicubic")
    assert float((found - usual.flatten(2).transpose(1, 2)).abs().max()) > 0.02
