"""MAE and LUT written out in float64 from the papers, with loops over images and patches."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Weights = dict[str, Tensor]


def doubled(module: nn.Module, gradients: bool = True) -> Weights:
    """Its parameters and buffers in float64, each a leaf of its own."""
    wanted = {name for name, value in module.named_parameters() if value.requires_grad}
    return {
        name: value.detach().double().requires_grad_(gradients and name in wanted)
        for name, value in module.state_dict().items()
    }


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    scaled = (x - mean) / (var + 1e-6).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def block(x: Tensor, weights: Weights, p: str, heads: int) -> Tensor:
    q, k, v = linear(norm(x, weights, p + "norm1"), weights, p + "attn.qkv").chunk(3, dim=1)
    mixed = [
        (one @ two.T / math.sqrt(one.shape[1])).softmax(dim=1) @ three
        for one, two, three in zip(
            q.chunk(heads, 1), k.chunk(heads, 1), v.chunk(heads, 1), strict=True
        )
    ]
    x = x + linear(torch.cat(mixed, 1), weights, p + "attn.proj")
    inner = functional.gelu(linear(norm(x, weights, p + "norm2"), weights, p + "mlp.fc1"))
    return x + linear(inner, weights, p + "mlp.fc2")


def position(row: int, column: int, width: int) -> list[float]:
    """One position of the grid: its column first, as released."""
    quarter = width // 4
    waves = []
    for place in (column, row):
        angles = [place / 10000 ** (k / quarter) for k in range(quarter)]
        waves += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    return waves


def positions(grid: tuple[int, int], width: int) -> Tensor:
    """(N, width)."""
    places = [position(row, column, width) for row in range(grid[0]) for column in range(grid[1])]
    return torch.tensor(places, dtype=torch.float64)


def patchified(image: Tensor, patch: int) -> Tensor:
    """Pixels (N, C * p * p) of an image (C, H, W)."""
    rows, columns = image.shape[1] // patch, image.shape[2] // patch
    return torch.stack(
        [
            image[:, y * patch : (y + 1) * patch, x * patch : (x + 1) * patch].flatten()
            for y in range(rows)
            for x in range(columns)
        ]
    )


def encode(model: Any, weights: Weights, image: Tensor, keep: Tensor | None) -> Tensor:
    """Tokens (1 + K, D) of one image (C, H, W) of which the patches `keep` are seen, normed."""
    size = model.vit.patch_embed.patch_size[0]
    flat = weights["patch_embed.proj.weight"].flatten(1)
    x = patchified(image.double(), size) @ flat.T + weights["patch_embed.proj.bias"]
    x = x + positions(model.grid, x.shape[1])
    if keep is not None:
        x = x[keep]
    x = torch.cat([weights["cls_token"][0], x])  # its position is 0
    for number, one in enumerate(model.vit.blocks):
        x = block(x, weights, f"blocks.{number}.", one.attn.num_heads)
    return norm(x, weights, "norm")


def decode(built: Any, weights: Weights, tokens: Tensor, keep: Tensor) -> Tensor:
    """Guesses (N, C * p * p) for every patch, in raster order, as the paper's Figure 1 has it."""
    grid, width = built.student.grid, weights["norm.weight"].shape[0]
    embedded = linear(tokens, weights, "embed")
    whole = weights["mask_token"][0].expand(grid[0] * grid[1], -1).clone()
    whole[keep] = embedded[1:]
    x = torch.cat([embedded[:1], whole + positions(grid, width)])
    for number, one in enumerate(built.decoder.blocks):
        x = block(x, weights, f"blocks.{number}.", one.attn.num_heads)
    return linear(norm(x, weights, "norm"), weights, "head")[1:]


def mae_loss(
    built: Any,
    student: Weights,
    decoder: Weights,
    images: Tensor,
    keep: Tensor,
    *,
    normalise: bool = True,
) -> Tensor:
    """The squared error, a mean over the hidden patches of all images."""
    size, errors = built.patch_size[0], []
    for image, own in zip(images, keep, strict=True):
        guesses = decode(built, decoder, encode(built.student, student, image, own), own)
        for number, pixels in enumerate(patchified(image.double(), size)):
            if number in own.tolist():
                continue
            target = pixels
            if normalise:
                target = (pixels - pixels.mean()) / (pixels.var(unbiased=True) + 1e-6).sqrt()
            errors.append(((guesses[number] - target) ** 2).mean())
    return torch.stack(errors).mean()


def assert_gradients(module: nn.Module, weights: Weights, nothing: set[str]) -> None:
    """Those of `module` are those of the reference; those of `nothing` are none."""
    for name, parameter in module.named_parameters():
        if name in nothing or not parameter.requires_grad:
            assert parameter.grad is None, name
            continue
        wanted = weights[name].grad
        assert parameter.grad is not None, name
        assert wanted is not None, name
        torch.testing.assert_close(
            parameter.grad.double(), wanted, atol=2e-6, rtol=2e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def batch_norm(rows: Tensor, weights: Weights, name: str, *, running: bool) -> Tensor:
    """Over the rows, or by the running statistics."""
    mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    if not running:
        mean, var = rows.mean(0), rows.var(0, unbiased=False)
    scaled = (rows - mean) / (var + 1e-5).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def embed(rows: Tensor, weights: Weights, *, running: bool = False) -> Tensor:
    """Linear, batch norm, ReLU, linear, without biases."""
    x = batch_norm(rows @ weights["first.weight"].T, weights, "norm", running=running)
    return x.clamp(min=0) @ weights["second.weight"].T


def cosine(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum() / (one.norm() * other.norm())


def context_loss(
    built: Any,
    networks: dict[str, Weights],
    views: tuple[Tensor, ...],
    seen: tuple[Tensor, Tensor],
    *,
    own: bool = False,
) -> Tensor:
    """LUT's loss between views: every pair of a student's view and a teacher's, written out."""
    predicted, taught = [], []
    for view, keep in zip(views, seen, strict=True):
        pooled, whole = [], []
        for image, places in zip(view, keep, strict=True):
            tokens = encode(built.student, networks["student"], image, places)
            pooled.append(tokens[1:].mean(0))
            whole.append(encode(built.teacher, networks["teacher"], image, None)[1:].mean(0))
        rows = embed(torch.stack(pooled), networks["head"])
        predicted.append(embed(rows, networks["predictor"]))
        taught.append(embed(torch.stack(whole), networks["teacher_head"], running=True))
    terms = [
        2 - 2 * cosine(predicted[view][image], taught[view if own else 1 - view][image])
        for view in range(2)
        for image in range(len(views[0]))
    ]
    return torch.stack(terms).mean()
