"""Closed form, torch's counter, timm's own shapes and the published figures must agree."""

from __future__ import annotations

import pytest
import timm
import torch

from harness.evaluate.flops import counted_macs
from harness.models.config import ModelConfig
from harness.models.cost import efficient_macs, published_macs
from harness.models.families import family_of, known_architectures
from tests.models.networks import build

ARCHITECTURES = known_architectures()
# of networks that timm does not build: tests/models/test_yolos.py, test_segmenter.py, test_ast.py
NAMED = [
    name
    for name, arch in ARCHITECTURES.items()
    if arch.width and family_of(arch).labelling == "classes"
]
COLUMNAR = [name for name in NAMED if ARCHITECTURES[name].family not in ("swin", "ast")]


@pytest.mark.parametrize("name", COLUMNAR)
def test_shapes_are_those_that_timm_builds(name: str) -> None:
    arch = ARCHITECTURES[name]
    with torch.device("meta"):
        vit = timm.create_model(arch.timm)
    assert vit.patch_embed.img_size == (arch.image_size, arch.image_size)
    assert vit.patch_embed.patch_size == (arch.patch_size, arch.patch_size)
    assert (vit.embed_dim, len(vit.blocks)) == (arch.width, arch.depth)
    assert vit.blocks[0].attn.num_heads == arch.heads
    assert vit.blocks[0].mlp.fc1.out_features == arch.mlp_ratio * arch.width
    assert vit.num_prefix_tokens == arch.prefix_tokens
    assert (vit.pos_embed.shape[1] > arch.patches) is arch.positioned_prefix


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("efficient", [True, False])
def test_counter_equals_closed_form(name: str, efficient: bool) -> None:
    arch = ARCHITECTURES[name]
    with torch.device("meta"):
        model = build(ModelConfig(arch=name), 1000, channels=arch.channels)
    closed = efficient_macs if efficient else published_macs
    part = {arch.patches // 2, 49} if family_of(arch).maskable else set()
    for keep in {model.patches, *part}:
        assert (
            counted_macs(model, keep=keep, efficient=efficient)
            == closed(arch, keep=keep, classes=1000).total
        )


@pytest.mark.parametrize(
    ("name", "keep", "giga"),
    [
        ("deit_base_patch16_224", 196, 17.56),
        ("deit_base_patch16_224", 98, 8.71),
        ("deit_base_patch16_224", 49, 4.41),
        ("deit_small_patch16_224", 196, 4.60),
        ("deit_small_patch16_224", 98, 2.25),
        ("deit_tiny_patch16_224", 196, 1.254),
        ("deit_tiny_patch16_224", 49, 0.306),
        # implied by the published 3591, 2583 and 1728 PFLOPs (arXiv 2302.10494, Table 2)
        ("cait_s24_224", 196, 9.343),
        ("cait_s24_224", 144, 6.720),
        ("cait_s24_224", 98, 4.496),
        ("swin_tiny_patch4_window7_224", 49, 4.49),
    ],
)
def test_known_costs_per_image(name: str, keep: int, giga: float) -> None:
    assert published_macs(
        ARCHITECTURES[name], keep=keep, classes=1000
    ).total / 1e9 == pytest.approx(giga, rel=2.5e-3)


def test_lean_is_cheaper_by_the_last_block_and_the_masked_patches() -> None:
    arch = ARCHITECTURES["deit_tiny_patch16_224"]
    n, d = 99, 192
    saved = 98 * 768 * d  # the embedding of 98 masked patches
    # attention, q and out, MLP of the 98 patch tokens
    saved += (n - 1) * (2 * n * d + 2 * d * d + 8 * d * d)
    full, lean = (
        count(arch, keep=98, classes=1000).total for count in (published_macs, efficient_macs)
    )
    assert full - lean == saved
