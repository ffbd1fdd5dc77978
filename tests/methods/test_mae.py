"""MAE against a float64 reference with loops over images and patches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from harness.batch_slice import FULL_BATCH, BatchSlice
from harness.errors import FieldError
from harness.methods import Batch, Networks, Step
from harness.methods.mae import Decoder, Mae, normalised
from harness.models.config import ModelConfig
from harness.models.mae import PixelDecoder, sine_cosine_positions
from harness.models.vit import VisionTransformer
from harness.seeding import generator
from harness.train.config import Augment, Recipe
from harness.train.optimizer import parameter_groups
from tests.methods.mae_reference import (
    assert_gradients,
    decode,
    doubled,
    encode,
    mae_loss,
    position,
)
from tests.methods.test_dino import network
from tests.models.networks import build, shake

SMALL = Mae(decoder=Decoder(width=16, depth=2, heads=2))
VIT = ModelConfig(arch="vit", image_size=16, patch_size=4, width=32, depth=2, heads=4, init="mae")


def objective(method: Mae = SMALL) -> Any:
    built: Any = method.build(Networks(student=network(), teacher=None))
    shake(built.decoder, 0.1)
    return built


def batch(size: int = 5) -> Batch:
    draws = torch.Generator().manual_seed(9)
    images = torch.randn(size, 1, 16, 16, generator=draws)
    return Batch(images=images, targets=torch.zeros(size, 5))


def step(index: int = 0, batch_slice: BatchSlice = FULL_BATCH) -> Step:
    draws = generator(3, "method", index)
    return Step(index=index, total=40, generator=draws, per_epoch=10, batch_slice=batch_slice)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("ratio", [0.75, 0.5])
def test_loss_and_gradients_equal_the_reference(ratio: float, normalise: bool) -> None:
    method = replace(SMALL, mask_ratio=ratio, normalise_targets=normalise)
    built, data = objective(method), batch()
    found = built.losses(data, step(4))
    found["total"].backward()
    order = built.draw_order(step(4), 5)
    keep = order[:, : round(16 * (1 - ratio))]
    student, decoder = doubled(built.student.vit), doubled(built.decoder)
    expected = mae_loss(built, student, decoder, data.images, keep, normalise=normalise)
    expected.backward()
    assert float(found["total"].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    classifier = {"head.weight", "head.bias"}
    assert_gradients(built.student.vit, student, {*classifier, "pos_embed"})
    assert_gradients(built.decoder, decoder, set())


def test_the_decoder_puts_what_was_seen_where_it_was_seen() -> None:
    """It stands in another order than the paper's; so may the patches that were seen."""
    built, data = objective(), batch(3)
    order = built.draw_order(step(), 3)
    keep, hidden = order[:, :4], order[:, 4:]
    tokens = built.encoded(data.images, keep)
    found = built.decoder(tokens, keep, hidden)
    weights = doubled(built.decoder)
    for image in range(3):
        whole = decode(built, weights, tokens[image].double(), keep[image])
        torch.testing.assert_close(
            found[image].double(), whole[hidden[image]], atol=1e-5, rtol=1e-4
        )
    turned = torch.tensor([2, 0, 3, 1])
    moved = tokens[:, [0, *(1 + turned).tolist()]]
    torch.testing.assert_close(built.decoder(moved, keep[:, turned], hidden), found)
    back = torch.arange(11, -1, -1)
    torch.testing.assert_close(built.decoder(tokens, keep, hidden[:, back]), found[:, back])
    wrong = built.decoder(tokens, keep[:, turned], hidden)
    assert float((wrong - found).detach().abs().max()) > 1e-3


def test_the_encoder_sees_no_pixel_of_a_hidden_patch() -> None:
    built, data = objective(), batch(3)
    keep = built.draw_order(step(), 3)[:, :4]
    found = built.encoded(data.images, keep)
    assert found.shape == (3, 5, 32)
    seen = torch.zeros(3, 16).scatter(1, keep, 1.0).view(3, 1, 4, 4)
    seen = seen.repeat_interleave(4, 2).repeat_interleave(4, 3)
    others = torch.where(seen > 0, data.images, torch.full_like(data.images, 7.0))
    torch.testing.assert_close(built.encoded(others, keep), found)
    one = encode(built.student, doubled(built.student.vit), data.images[1], keep[1])
    torch.testing.assert_close(found[1].double(), one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("ratio", "patches", "seen"),
    [(0.75, 196, 49), (0.75, 16, 4), (0.9, 10, 1), (0.4, 5, 3), (0.7, 10, 3), (0.75, 49, 12)],
)
def test_as_many_patches_are_seen_as_released(ratio: float, patches: int, seen: int) -> None:
    assert Mae(mask_ratio=ratio).seen(patches) == seen


def test_masks_are_drawn_by_image_whoever_computes_it() -> None:
    built = objective()
    whole = built.draw_order(step(2), 6)
    assert torch.equal(whole.sort(dim=1).values, torch.arange(16).expand(6, 16))
    assert len({tuple(row.tolist()) for row in whole}) == 6
    part = built.draw_order(step(2, BatchSlice((4, 1), 6)), 2)
    assert torch.equal(part, whole[[4, 1]])
    assert not torch.equal(built.draw_order(step(3), 6), whole)


def test_every_patch_is_seen_as_often_as_another() -> None:
    built = objective()
    seen = torch.zeros(16)
    for index in range(40):
        seen += torch.bincount(built.draw_order(step(index), 50)[:, :4].flatten(), minlength=16)
    # 2,000 images: 500 each, standard deviation 19
    assert 420 < float(seen.min()) <= float(seen.max()) < 580


def test_positions_have_the_closed_form() -> None:
    found = sine_cosine_positions(3, 5, 24)
    for row in range(3):
        for column in range(5):
            wanted = torch.tensor(position(row, column, 24))
            torch.testing.assert_close(found[5 * row + column], wanted, atol=1e-6, rtol=0)


def test_positions_are_fixed_and_the_class_token_has_none() -> None:
    built = objective()
    embedding = built.student.vit.pos_embed
    assert not embedding.requires_grad
    assert not embedding[0, 0].any()
    torch.testing.assert_close(embedding[0, 1:], sine_cosine_positions(4, 4, 32))
    trained = {
        id(p)
        for group in parameter_groups(
            built.modules, Recipe(epochs=1, batch_size=4, lr=1.0), decay_tokens=True
        )
        for p in group["params"]
        if group["weight_decay"] > 0
    }
    assert id(built.student.vit.cls_token) in trained
    assert id(built.decoder.mask_token) in trained
    assert id(embedding) not in trained


def test_random_weights_start_as_in_the_released_code() -> None:
    config = replace(VIT, width=64)
    model = build(config, 5, channels=1)
    for name, fans in (
        ("patch_embed.proj", 16 + 64),
        ("blocks.1.attn.qkv", 64 + 192),
        ("blocks.1.attn.proj", 128),
        ("blocks.0.mlp.fc1", 64 + 256),
    ):
        layer: Any = model.vit.get_submodule(name)
        bound = (6 / fans) ** 0.5
        assert 0.97 * bound < float(layer.weight.detach().abs().max()) <= bound, name
        assert name == "patch_embed.proj" or not layer.bias.any(), name
    torch.testing.assert_close(model.vit.pos_embed[0, 1:], sine_cosine_positions(4, 4, 64))
    classifier = model.vit.head.weight.detach()
    assert float(classifier.std()) == pytest.approx(2e-5, rel=0.2)
    assert not model.vit.head.bias.any()
    decoder = PixelDecoder(64, width=128, depth=1, heads=2, grid=(4, 4), outputs=16)
    assert float(decoder.mask_token.detach().std()) == pytest.approx(0.02, rel=0.3)
    assert float(decoder.embed.weight.detach().abs().max()) <= (6 / 192) ** 0.5


def test_targets_are_normalised_by_patch() -> None:
    pixels = torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    wanted = torch.tensor([[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])  # unbiased: variance 1
    torch.testing.assert_close(normalised(pixels), wanted, atol=1e-5, rtol=0)


def test_targets_are_in_fp32_whatever_the_step_is_in() -> None:
    """Losses in bf16 are near those in fp32; the targets are the same bits."""
    built, data = objective(), batch()
    pixels = torch.randn(4, 16) * 50 + 200
    expected = normalised(pixels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(normalised(pixels), expected)
        half = built.losses(data, step(4))["total"]
    whole = built.losses(data, step(4))["total"]
    assert half.dtype == torch.float32
    assert float(half.detach()) == pytest.approx(float(whole.detach()), rel=0.02)


def test_what_does_not_fit_is_refused() -> None:
    student = ModelConfig(arch="vit", image_size=16, patch_size=4, width=30, depth=1, heads=2)
    recipe = Recipe(epochs=1, batch_size=4, lr=1e-3)
    with pytest.raises(FieldError, match=r"a width that 4 divides.*; the student's is 30"):
        SMALL.check({"student": student.shape}, recipe)
    with pytest.raises(FieldError, match=r"0\.95 leaves none of the student's 16 patch"):
        Mae(mask_ratio=0.95).check({"student": replace(student, width=32).shape}, recipe)
    with pytest.raises(FieldError, match=r"1e-12 hides none of the student's 16 patch"):
        Mae(mask_ratio=1e-12).check({"student": replace(student, width=32).shape}, recipe)
    pixels = replace(student, width=32, patch_size=1).shape
    with pytest.raises(FieldError, match="needs patches of more than one pixel") as told:
        SMALL.check({"student": pixels}, recipe)  # a pixel has no spread: the loss would be NaN
    assert told.value.field == "normalise_targets"
    replace(SMALL, normalise_targets=False).check({"student": pixels}, recipe)
    with pytest.raises(FieldError, match=r"trains a decoder.* `layer_decay` of `recipe` must be 1"):
        SMALL.check({"student": replace(student, width=32).shape}, replace(recipe, layer_decay=0.9))
    mixed = replace(recipe, augment=Augment(mixup=0.8))
    with pytest.raises(FieldError, match="learns without labels: mixup, cutmix"):
        SMALL.check({"student": replace(student, width=32).shape}, mixed)
    tuned = ModelConfig(arch="mae_base_patch16_224")
    with pytest.raises(FieldError, match="vit_base_patch16_224 as `arch`"):
        SMALL.check({"student": tuned.shape}, recipe)
    with pytest.raises(FieldError, match=r"must be a multiple of 4.*; got 18"):
        Decoder(width=18, heads=2)
    with pytest.raises(FieldError, match="must divide the width 16, got 3"):
        Decoder(width=16, heads=3)


def test_the_cost_of_an_image_is_that_of_what_is_seen() -> None:
    """Against torch's count of the operations of a forward and a backward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    built, data = objective(), batch(2)
    with FlopCounterMode(display=False) as counter:
        built.losses(data, step())["total"].backward()
    counted = counter.get_total_flops() / 2 / 2
    shape = ModelConfig(
        arch="vit", image_size=16, patch_size=4, channels=1, width=32, depth=3, heads=4
    )
    assert SMALL.image_macs(shape.shape) == pytest.approx(counted, rel=0.05)


def test_the_network_is_still_timms() -> None:
    """What a pre-training leaves is fine-tuned: it is a plain ViT with all its parameters."""
    built = objective()
    assert isinstance(built.final_model, VisionTransformer)
    assert built.final_model(batch(2).images).logits.shape == (2, 5)
