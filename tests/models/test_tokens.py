"""Features for self-distillation against timm's own forward."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.models.build import build_model
from harness.models.config import ModelConfig
from harness.models.tokens import encode
from harness.models.vit import Normalisation, VisionTransformer

OWN = Normalisation(mean=(0.5, 0.4, 0.3), std=(0.2, 0.5, 0.25))
GIVEN = Normalisation(mean=(0.1, 0.45, 0.3), std=(0.3, 0.2, 0.25))


def network(own: Normalisation, given: Normalisation) -> VisionTransformer:
    torch.manual_seed(1)
    config = ModelConfig(arch="vit", image_size=32, patch_size=8, width=24, depth=2, heads=3)
    model = build_model(config, classes=5, channels=3, seen=own, dependencies={})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.expect(own, given)
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
        found = encode(model, seen, patches=True)
        expected = model.vit.forward_features(scaled(images, OWN))
        assert torch.allclose(encode(model, seen).cls, expected[:, 0], atol=1e-5)
        assert found.patches is not None
        assert torch.allclose(found.patches, expected[:, 1:], atol=1e-5)
        assert torch.equal(model.prepared(seen), model.rescaled(seen))
        assert not torch.allclose(expected[:, 0], model.vit.forward_features(seen)[:, 0], atol=0.1)


def test_small_crops_are_rescaled_and_stay_small() -> None:
    model, images = network(OWN, GIVEN), pictures(16)
    same = network(OWN, OWN)
    with torch.no_grad():
        found = encode(model, scaled(images, GIVEN), patches=True)
        expected = encode(same, scaled(images, OWN), patches=True)
    assert found.patches is not None
    assert expected.patches is not None
    assert found.patches.shape == (4, 4, 24)
    assert torch.allclose(found.patches, expected.patches, atol=1e-5)
    assert torch.allclose(found.cls, expected.cls, atol=1e-5)


@pytest.mark.parametrize("size", [16, 32])
def test_their_own_scale_is_left_as_it_is(size: int) -> None:
    images = pictures(size)
    assert network(OWN, OWN).rescaled(images) is images
