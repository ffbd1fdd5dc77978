"""Segmenter against a float64 forward written from its paper, whole and on kept patches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.errors import WeightsError
from harness.evaluate.flops import counted_macs
from harness.methods.labels.of_network import label_loss
from harness.models.build import freeze, freeze_all_but_head, require_classifier
from harness.models.config import ModelConfig, Weights
from harness.models.cost import efficient_macs, published_macs
from harness.models.interface import ForwardRequest, Saliency
from harness.models.segmenter import mean_cross_entropy, on_pixels
from harness.models.vit import VisionTransformer
from tests.models.networks import build, shake
from tests.models.reference import Reference

CONFIG = ModelConfig(arch="segmenter", image_size=32, patch_size=8, width=24, depth=3, heads=3)
KEPT = torch.tensor([[0, 3, 4, 9, 15], [1, 2, 7, 8, 14]])
CLASSES = 7


def built(config: ModelConfig = CONFIG, classes: int = CLASSES) -> VisionTransformer:
    """Weights far from their initial values."""
    return freeze(shake(build(config, classes)))


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def slow(model: VisionTransformer, keep: list[list[int]]) -> Tensor:
    """Scores (B, classes, K) in float64, one image, one patch and one class at a time."""
    weights = model.vit.state_dict()
    encoder = Reference(weights, heads=3, depth=3, patch=8)
    of_decoder = {
        name.removeprefix("decoder."): value.double()
        for name, value in weights.items()
        if name.startswith("decoder.")
    }
    decoder = Reference(of_decoder, heads=3, depth=2, patch=8, eps=1e-5)
    found = []
    for tokens in encoder.tokens(images(), keep):
        patches = encoder._norm(tokens, "norm")[1:]  # the class token goes no further
        patches = patches @ of_decoder["proj_dec.weight"].T + of_decoder["proj_dec.bias"]
        mixed = torch.cat([patches, of_decoder["cls_emb"][0]])
        for index in range(2):
            mixed, _ = decoder._block(mixed, f"blocks.{index}")
        mixed = decoder._norm(mixed, "decoder_norm")
        rows = []
        for patch in mixed[: len(patches)]:
            one = patch @ of_decoder["proj_patch"]
            each = [query @ of_decoder["proj_classes"] for query in mixed[len(patches) :]]
            cosines = torch.stack([one @ c / one.norm() / c.norm() for c in each])
            rows.append(decoder._norm(cosines[None], "mask_norm")[0])
        found.append(torch.stack(rows).T)
    return torch.stack(found)


@pytest.mark.parametrize("efficient", [True, False])
@pytest.mark.parametrize("keep", [None, KEPT])
def test_the_forward_is_the_papers(keep: Tensor | None, efficient: bool) -> None:
    model = built()
    rows = [list(range(16))] * 2 if keep is None else keep.tolist()
    found = model(images(), keep=keep, efficient=efficient).logits
    assert found.shape == (2, CLASSES, len(rows[0]))
    torch.testing.assert_close(found.double(), slow(model, rows), rtol=1e-4, atol=1e-5)


def test_keeping_everything_is_no_mask() -> None:
    model = built()
    request = ForwardRequest(tokens=True, saliency=Saliency())
    whole = model(images(), outputs=request)
    kept = model(images(), keep=torch.arange(16).expand(2, -1), outputs=request)
    torch.testing.assert_close(kept.logits, whole.logits, rtol=1e-5, atol=1e-5)
    assert whole.saliency is not None
    torch.testing.assert_close(kept.saliency, whole.saliency, rtol=1e-5, atol=1e-5)
    for one, other in zip(kept.tokens, whole.tokens, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_saliency_is_the_encoders_class_token() -> None:
    model = built()
    rows = [list(range(16))] * 2
    maps = Reference(model.vit.state_dict(), heads=3, depth=3, patch=8).maps(images(), rows)
    found = model(images(), outputs=ForwardRequest(saliency=Saliency())).saliency
    expected = torch.stack([one.mean(dim=0)[0, 1:] for one in maps])
    assert found is not None
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("efficient", [True, False])
@pytest.mark.parametrize("keep", [16, 5])
def test_the_cost_is_what_torch_counts(keep: int, efficient: bool) -> None:
    closed = efficient_macs if efficient else published_macs
    counted = counted_macs(built(), keep=keep, efficient=efficient)
    assert counted == closed(CONFIG.shape, keep=keep, classes=CLASSES).total


def test_scores_on_pixels_are_those_of_patches_between_their_centres() -> None:
    scores = torch.arange(8.0).view(1, 2, 4)  # two classes, 2 x 2 patches
    pixels = on_pixels(scores, (2, 2), (4, 4))
    quarter = torch.tensor([0.0, 0.25, 0.75, 1.0])  # of the way from one centre to the next
    rows, columns = torch.meshgrid(quarter, quarter, indexing="ij")
    torch.testing.assert_close(pixels[0, 0], 2 * rows + columns)
    torch.testing.assert_close(pixels[0, 1], 4 + 2 * rows + columns)


def test_the_label_loss_is_a_mean_over_known_pixels_of_each_image() -> None:
    draws = torch.Generator().manual_seed(4)
    masks = torch.randint(0, CLASSES, (3, 32, 32), generator=draws, dtype=torch.uint8)
    masks[0, :20] = 255
    masks[2] = 255  # nobody knows anything of it
    model, image = built(), images(3)
    output = model(image)
    pixels = on_pixels(output.logits, (4, 4), (32, 32)).double().log_softmax(dim=1)
    expected = []
    for one, mask in zip(pixels, masks, strict=True):
        known = [
            -float(one[int(mask[y, x]), y, x])
            for y in range(32)
            for x in range(32)
            if mask[y, x] != 255
        ]
        expected.append(sum(known) / max(1, len(known)))
    found = label_loss(model)(output, masks)["ce"]
    assert float(found) == pytest.approx(sum(expected) / 3, rel=1e-5)
    each = mean_cross_entropy(on_pixels(output.logits, (4, 4), (32, 32)), masks)
    assert each.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_classifiers_encoder_starts_a_segmenter(tmp_path: Path) -> None:
    plain = replace(CONFIG, arch="vit", image_size=16)
    source = build(plain, 3, seed=3)
    path = tmp_path / "encoder.safetensors"
    save_file(source.vit.state_dict(), path)
    config = replace(CONFIG, weights=Weights(file=str(path), head="new"))
    model = build(config, CLASSES)
    assert torch.equal(model.vit.blocks[2].mlp.fc1.weight, source.vit.blocks[2].mlp.fc1.weight)
    assert model.vit.pos_embed.shape == (1, 17, 24)  # resized from 2 x 2
    assert model(images()).logits.shape == (2, CLASSES, 16)
    with pytest.raises(WeightsError, match=r"decoder\.") as told:
        build(replace(config, weights=Weights(file=str(path))), CLASSES)
    assert "head: new" in str(told.value) or "lacks" in str(told.value)


def test_checkpoints_of_the_released_code_are_read(tmp_path: Path) -> None:
    model = built()
    state = {}
    for name, value in model.vit.state_dict().items():
        state[name if name.startswith("decoder.") else f"encoder.{name}"] = value
    # its encoder keeps the classifier of its pre-training, which nothing uses
    state |= {"encoder.head.weight": torch.randn(1000, 24), "encoder.head.bias": torch.zeros(1000)}
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": state, "n_cls": CLASSES, "epoch": 64}, path)
    again = freeze(build(replace(CONFIG, weights=Weights(file=str(path))), CLASSES))
    assert torch.equal(again(images()).logits, model(images()).logits)


def test_a_teacher_needs_a_decoder_that_learned_something() -> None:
    model = built()
    hub = Weights(hub="vit_tiny_patch16_384.augreg_in21k_ft_in1k")
    with pytest.raises(WeightsError, match="tell nothing of masks"):
        require_classifier(model, hub, CLASSES)


def test_the_decoder_is_what_is_trained_alone() -> None:
    model = build(CONFIG, CLASSES)
    freeze_all_but_head(model)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {n for n, _ in model.named_parameters() if n.startswith("vit.decoder.")}
