"""DINO and iBOT written out in float64 with loops over views and images: slow and plain."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from harness.models.layers import ProjectionHead
from harness.models.vit import VisionTransformer


def tokens(
    model: VisionTransformer,
    images: Tensor,
    *,
    patch: int,
    hidden: Tensor | None = None,
    token: Tensor | None = None,
    keep: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """CLS (B, D), patches (B, N, D) after the last norm, CLS attention (B, N) of the last block."""
    state = {name: value.detach().double() for name, value in model.vit.state_dict().items()}
    heads, depth = model.vit.blocks[0].attn.num_heads, len(model.vit.blocks)
    cls, patches, rows = [], [], []
    for at, image in enumerate(images.double()):
        x = functional.conv2d(
            image[None], state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], patch
        )
        x = x[0].flatten(1).T.clone()
        if hidden is not None:
            assert token is not None
            x[hidden[at]] = token.double()
        x = x + state["pos_embed"][0, 1:]
        if keep is not None:
            x = x[keep[at]]
        x = torch.cat([state["cls_token"][0] + state["pos_embed"][0, :1], x])
        for block in range(depth):
            p = f"blocks.{block}."
            q, k, v = linear(norm(x, state, p + "norm1"), state, p + "attn.qkv").chunk(3, dim=1)
            mixed = []
            attention = []
            for one in zip(q.chunk(heads, 1), k.chunk(heads, 1), v.chunk(heads, 1), strict=True):
                weights = (one[0] @ one[1].T / one[0].shape[1] ** 0.5).softmax(dim=1)
                attention.append(weights[0, 1:])
                mixed.append(weights @ one[2])
            x = x + linear(torch.cat(mixed, 1), state, p + "attn.proj")
            inner = functional.gelu(linear(norm(x, state, p + "norm2"), state, p + "mlp.fc1"))
            x = x + linear(inner, state, p + "mlp.fc2")
        x = norm(x, state, "norm")
        cls.append(x[0])
        patches.append(x[1:])
        rows.append(torch.stack(attention).mean(dim=0))
    return torch.stack(cls), torch.stack(patches), torch.stack(rows)


def linear(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    return (x - mean) / (var + 1e-6).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def project(head: ProjectionHead, x: Tensor) -> Tensor:
    """Logits (..., out_dim)."""
    state = {name: value.detach().double() for name, value in head.state_dict().items()}
    for layer in (0, 2, 4):
        x = linear(x, state, f"mlp.{layer}")
        x = functional.gelu(x) if layer < 4 else x
    x = x / x.norm(dim=-1, keepdim=True)
    direction = state["direction"]
    return x @ (state["gain"] * direction / direction.norm(dim=1, keepdim=True)).T


def cross_entropy(teacher: Tensor, center: Tensor, t: float, student: Tensor, s: float) -> Tensor:
    """-sum softmax((teacher - center) / t) log softmax(student / s), over the last axis."""
    return -(((teacher - center) / t).softmax(-1) * (student / s).log_softmax(-1)).sum(-1)


def dino_loss(
    teacher: list[Tensor], student: list[Tensor], center: Tensor, t: float, s: float
) -> Tensor:
    """Mean over all pairs of different views, each a mean over the batch."""
    terms = [
        cross_entropy(teacher[q], center, t, student[v], s).mean()
        for q in range(len(teacher))
        for v in range(len(student))
        if q != v
    ]
    return torch.stack(terms).mean()
