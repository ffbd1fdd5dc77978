"""Merging tokens against a loop over tokens in float64, and its cost against torch's counter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.models.build import freeze
from harness.models.config import ModelConfig
from harness.models.merging import merge_tokens, merged_away, merged_macs
from harness.models.vit import VisionTransformer
from tests.models.networks import build, shake

SMALL = ModelConfig(
    arch="deit_tiny_patch16_224",
    image_size=32, patch_size=8, width=48, depth=3, heads=4, channels=3,
)  # fmt: skip


def network() -> VisionTransformer:
    """Weights far from their initial values, so that every one matters."""
    return freeze(shake(build(SMALL), 0.3))


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def merged_slowly(
    tokens: list[Tensor], sizes: list[float], keys: list[Tensor], merge: int
) -> tuple[list[Tensor], list[float]]:
    """One image's round, token by token."""
    unit = [key / key.norm() for key in keys]
    odd = range(1, len(tokens), 2)
    best = {a: max((float(unit[a] @ unit[b]), b) for b in odd) for a in range(2, len(tokens), 2)}
    gone = sorted(best, key=lambda a: -best[a][0])[: merged_away(len(tokens), merge)]
    sums = [token * size for token, size in zip(tokens, sizes, strict=True)]
    counts = list(sizes)
    for a in gone:
        b = best[a][1]
        sums[b], counts[b] = sums[b] + sums[a], counts[b] + counts[a]
    left = [i for i in range(0, len(tokens), 2) if i not in gone] + list(odd)
    return [sums[i] / counts[i] for i in left], [counts[i] for i in left]


def reference(model: VisionTransformer, image: Tensor, merge: int) -> Tensor:
    """Logits (classes,) of one image; `model` is in float64."""
    vit = model.vit
    patches = vit.patch_embed(image.double()[None])
    x = torch.cat([vit.cls_token, patches], dim=1)[0] + vit.pos_embed[0]
    sizes = [1.0] * len(x)
    for block in vit.blocks:
        qkv = block.attn.qkv(block.norm1(x)).reshape(len(x), 3, 4, 12)
        mixed = []
        for head in range(4):
            q, k, v = (qkv[:, part, head] for part in range(3))
            shares = (q @ k.T / 12**0.5).exp() * torch.tensor(sizes, dtype=torch.float64)
            mixed.append(shares / shares.sum(dim=1, keepdim=True) @ v)
        x = x + block.attn.proj(torch.cat(mixed, dim=1))
        keys = list(qkv[:, 1].mean(dim=1))
        tokens, sizes = merged_slowly(list(x), sizes, keys, merge)
        x = torch.stack(tokens)
        x = x + block.mlp(block.norm2(x))
    logits: Tensor = vit.head(vit.norm(x)[0])
    return logits


@pytest.mark.parametrize("merge", [1, 3, 8])
def test_logits_equal_the_float64_reference(merge: int) -> None:
    model = network()
    found = model.merged_logits(images(), merge)
    slow = network().double()
    expected = torch.stack([reference(slow, image, merge) for image in images()])
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


def test_merging_nothing_is_the_plain_forward() -> None:
    model = network()
    torch.testing.assert_close(
        model.merged_logits(images(), 0), model.vit(images()), rtol=1e-5, atol=1e-5
    )


def test_every_patch_is_in_exactly_one_token_and_the_class_token_stands_alone() -> None:
    generator = torch.Generator().manual_seed(3)
    tokens, metric = (torch.randn(2, 17, 5, generator=generator) for _ in range(2))
    size = torch.randint(1, 4, (2, 17, 1), generator=generator).float()
    size[:, 0] = 1
    merged, sizes = merge_tokens(tokens, size, metric, 8)
    assert merged.shape == (2, 9, 5)
    assert torch.equal(sizes.sum(dim=1), size.sum(dim=1))
    torch.testing.assert_close((merged * sizes).sum(dim=1), (tokens * size).sum(dim=1))
    torch.testing.assert_close(merged[:, 0], tokens[:, 0])
    assert torch.equal(sizes[:, 0], size[:, 0])


def test_no_gradient() -> None:
    model = network()
    for parameter in model.parameters():
        parameter.requires_grad_(True)  # even so
    assert not model.merged_logits(images(), 3).requires_grad


@pytest.mark.parametrize("merge", [2, 5])
def test_the_closed_form_is_what_torch_counts(merge: int) -> None:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network().merged_logits(images(1), merge)
    tokens, matching = 17, 0
    for _ in range(3):
        matching += (tokens + 1) // 2 * (tokens // 2) * 12
        tokens -= merged_away(tokens, merge)
    closed = merged_macs(SMALL.shape, merge=merge, classes=7)
    assert counter.get_total_flops() // 2 == closed.total + matching
