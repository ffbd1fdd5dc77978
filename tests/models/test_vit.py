"""The fast forward against timm's own and against a float64 reference, for every family of plain
ViT.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.errors import WeightsError
from harness.models.available import missing_weights
from harness.models.build import (
    freeze,
    freeze_all_but_head,
    require_classifier,
    save_model,
)
from harness.models.config import ModelConfig, Weights
from harness.models.families.vit import gather_patches
from harness.models.interface import ForwardRequest, Saliency
from harness.models.vit import Normalisation, VisionTransformer
from tests.models.networks import build, shake
from tests.models.reference import Reference

FAMILIES = {
    "deit_tiny_patch16_224": 1e-6,
    "deit_small_distilled_patch16_224": 1e-6,
    "deit3_small_patch16_224": 1e-6,
    "vit_base_patch16_clip_224": 1e-5,
}
SEEN = Normalisation(mean=(0.5,) * 3, std=(0.25,) * 3)


SMALL = ModelConfig(
    arch="deit_tiny_patch16_224", image_size=32, patch_size=8, width=48, depth=3, heads=4
)


def small(arch: str) -> VisionTransformer:
    """A small network of the family with weights far from their initial values, so that every one
    matters.
    """
    config = replace(SMALL, arch=arch)
    return shake(build(config), 0.3).eval()


def images(count: int = 5) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("arch", FAMILIES)
def test_full_forward_equals_timm(arch: str) -> None:
    model = small(arch)
    expected = model.vit(images())
    for efficient in (True, False):
        torch.testing.assert_close(
            model(images(), efficient=efficient).logits, expected, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("efficient", [True, False])
@pytest.mark.parametrize(("arch", "eps"), FAMILIES.items())
def test_any_subset_equals_the_float64_reference(arch: str, eps: float, efficient: bool) -> None:
    model = small(arch)
    reference = Reference(
        model.vit.state_dict(), heads=4, depth=3, patch=8, prefix=model.prefix, eps=eps
    )
    keep = torch.stack([torch.randperm(16)[:6].sort().values for _ in range(5)])
    logits, saliency = reference.run(images(), keep.tolist())
    found = model(
        images(), keep=keep, outputs=ForwardRequest(saliency=Saliency()), efficient=efficient
    )
    torch.testing.assert_close(found.logits.double(), logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.saliency.double(), saliency, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("arch", FAMILIES)
def test_keeping_every_patch_is_the_full_forward(arch: str) -> None:
    model = small(arch)
    keep = torch.arange(16).expand(5, -1)
    torch.testing.assert_close(
        model(images(), keep=keep).logits, model.vit(images()), rtol=1e-5, atol=1e-5
    )


def test_masked_pixels_do_not_matter() -> None:
    model = small("deit_tiny_patch16_224")
    keep = torch.tensor([[0, 5, 10]])
    image = images(1)
    changed = image.clone()
    changed[:, :, 8:16, 24:32] = 99.0  # patch 7
    assert torch.equal(model(image, keep=keep).logits, model(changed, keep=keep).logits)
    changed[:, :, 8:16, 8:16] = 99.0  # patch 5
    assert not torch.equal(model(image, keep=keep).logits, model(changed, keep=keep).logits)


def test_gradients_equal_those_of_the_whole_last_block() -> None:
    gradients = []
    for efficient in (True, False):
        model = small("deit_tiny_patch16_224").train()
        model(images(), efficient=efficient).logits.square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=2e-4, atol=2e-3, msg=name)


def test_drop_path_falls_on_the_same_samples_as_in_timm() -> None:
    config = ModelConfig(
        arch="deit_tiny_patch16_224",
        image_size=32,
        patch_size=8,
        width=48,
        depth=3,
        heads=4,
        drop_path=0.5,
    )
    model = build(config).train()
    torch.manual_seed(3)
    expected = model.vit(images())
    torch.manual_seed(3)
    torch.testing.assert_close(model(images()).logits, expected, rtol=1e-5, atol=1e-5)


def test_saliency_is_attention_without_a_gradient() -> None:
    model = small("deit_tiny_patch16_224").train()
    saliency = model(images(), outputs=ForwardRequest(saliency=Saliency())).saliency
    assert saliency.shape == (5, 16)
    assert not saliency.requires_grad
    assert torch.all(saliency > 0)
    assert torch.all(saliency.sum(dim=1) < 1)  # the rest goes to the CLS token itself


def test_patches_are_gathered_as_the_projection_reads_them() -> None:
    image = torch.arange(2 * 3 * 8 * 12, dtype=torch.float32).reshape(2, 3, 8, 12)
    keep = torch.tensor([[4, 0], [3, 5]])
    found = gather_patches(image, keep, (4, 4))
    assert torch.equal(found[0, 0], image[0, :, 4:8, 4:8].flatten())
    assert torch.equal(found[1, 1], image[1, :, 4:8, 8:12].flatten())


def test_a_network_gets_its_own_normalisation() -> None:
    model = small("deit_tiny_patch16_224")
    pixels = torch.rand(2, 3, 32, 32)
    own = Normalisation(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))

    def normalised(how: Normalisation) -> Tensor:
        return (pixels - torch.tensor(how.mean).view(-1, 1, 1)) / torch.tensor(how.std).view(
            -1, 1, 1
        )

    expected = model(normalised(own)).logits
    model.set_input_norm(own, SEEN)
    torch.testing.assert_close(model(normalised(SEEN)).logits, expected, rtol=1e-5, atol=1e-5)


def test_weights_in_a_file_keep_their_normalisation(tmp_path: Path) -> None:
    model = small("deit_tiny_patch16_224")
    own = Normalisation(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    model.set_input_norm(own, SEEN)
    save_model(model, tmp_path / "own.safetensors")
    save_file(model.vit.state_dict(), tmp_path / "plain.safetensors")
    for name, rescaled in (("own", True), ("plain", False)):
        weights = Weights(file=str(tmp_path / f"{name}.safetensors"))
        again = build(replace(SMALL, weights=weights)).eval()
        assert (again.norm_factor is not None) is rescaled
        assert torch.equal(again(images()).logits, model(images()).logits) is rescaled
    save_file(model.vit.state_dict(), tmp_path / "half.safetensors", metadata={"mean": "0.1,0.2"})
    with pytest.raises(WeightsError, match="both mean and std"):
        build(replace(SMALL, weights=Weights(file=str(tmp_path / "half.safetensors"))))


COMMIT = "0123456789" * 4


def published(
    cache: Path, monkeypatch: pytest.MonkeyPatch, mean: tuple[float, ...] = (0.4, 0.5, 0.6)
) -> Weights:
    """DeiT-Ti's random weights as the hub's client leaves them in its cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = cache / "models--me--own" / "snapshots" / COMMIT
    ref = cache / "models--me--own" / "refs" / "main"
    ref.parent.mkdir(parents=True)
    ref.write_text(COMMIT)
    config = ModelConfig(arch="deit_tiny_patch16_224")
    model = build(config)
    folder.mkdir(parents=True)
    save_file(model.vit.state_dict(), folder / "model.safetensors")
    about: dict[str, object] = {
        "num_classes": 7,
        "input_size": [3, 224, 224],
        "mean": mean,
        "std": [0.2, 0.3, 0.4],
    }
    about |= {"first_conv": "patch_embed.proj", "classifier": "head"}
    content = {"architecture": config.arch, "num_classes": 7, "pretrained_cfg": about}
    (folder / "config.json").write_text(json.dumps(content))
    return Weights(hub="hf-hub:me/own")


def test_published_weights_see_images_as_they_want_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = published(tmp_path, monkeypatch)
    assert missing_weights(weights) is None
    config = ModelConfig(arch="deit_tiny_patch16_224", weights=weights)
    model = build(config).eval()
    require_classifier(model, weights, 7)
    pixels = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.4])
    expected = model.vit((pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    torch.testing.assert_close(model((pixels - 0.5) / 0.25).logits, expected, rtol=1e-4, atol=1e-5)


def test_published_weights_of_colour_refuse_grey_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = published(tmp_path, monkeypatch)
    config = ModelConfig(arch="deit_tiny_patch16_224", weights=weights)
    grey = Normalisation(mean=(0.5,), std=(0.25,))
    with pytest.raises(WeightsError, match="want images of 3 channels, here they have 1"):
        build(config, channels=1, norm=grey)


def test_published_weights_on_another_scale_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = published(tmp_path, monkeypatch, mean=(123.7, 116.3, 103.5))
    config = ModelConfig(arch="deit_tiny_patch16_224", weights=weights)
    with pytest.raises(WeightsError, match=r"the weights '.*': mean .* divide by 255"):
        build(config)


def test_a_teacher_without_a_classifier_of_its_own_is_refused() -> None:
    model = small("deit_tiny_patch16_224")
    hub = Weights(hub="vit_base_patch16_224.mae")
    for own, words in ((0, "come without a classifier"), (1000, "tell 1000 classes apart")):
        model.vit.pretrained_cfg["num_classes"] = own
        with pytest.raises(WeightsError, match=words):
            require_classifier(model, hub, 7)
    model.vit.pretrained_cfg["num_classes"] = 7
    require_classifier(model, hub, 7)
    require_classifier(model, Weights(), 8)
    with pytest.raises(WeightsError, match="a classifier drawn at random"):
        require_classifier(model, Weights(file="dino.pth", head="new"), 7)


@pytest.mark.parametrize(
    ("arch", "heads"),
    [
        ("deit_tiny_patch16_224", {"head"}),
        ("deit_small_distilled_patch16_224", {"head", "head_dist"}),
    ],
)
def test_a_student_of_which_the_head_alone_is_trained(arch: str, heads: set[str]) -> None:
    model = small(arch)
    freeze_all_but_head(model)
    trained = {name for name, parameter in model.vit.named_parameters() if parameter.requires_grad}
    assert trained == {f"{head}.{part}" for head in heads for part in ("weight", "bias")}


def test_a_frozen_teacher_gets_no_gradient() -> None:
    model = freeze(small("deit_tiny_patch16_224"))
    assert not model(images()).logits.requires_grad
    assert not model.training
