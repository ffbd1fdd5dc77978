"""A slow vision transformer in float64, written from the papers' equations, to compare the fast one
with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reference:
    """Runs timm-named weights of a pre-norm ViT, one image and one head at a time, with full
    attention matrices.
    """

    weights: Mapping[str, Tensor]
    heads: int
    depth: int
    patch: int
    prefix: int = 1
    eps: float = 1e-6

    def run(self, images: Tensor, keep: list[list[int]] | None = None) -> tuple[Tensor, Tensor]:
        """(logits (B, classes), saliency (B, K)) of images (B, C, H, W); `keep` lists the kept
        patches of each image.
        """
        found = [
            self._one(image.double(), None if keep is None else keep[i])
            for i, image in enumerate(images)
        ]
        return torch.stack([logits for logits, _ in found]), torch.stack(
            [saliency for _, saliency in found]
        )

    def maps(self, images: Tensor, keep: list[list[int]] | None = None) -> list[Tensor]:
        """Attention (heads, n, n) of the last block, for each image."""
        return [attention for _, attention in self._all(images, keep)]

    def tokens(self, images: Tensor, keep: list[list[int]] | None = None) -> list[Tensor]:
        """What leaves the last block, (n, D), for each image."""
        return [tokens for tokens, _ in self._all(images, keep)]

    def _all(self, images: Tensor, keep: list[list[int]] | None) -> list[tuple[Tensor, Tensor]]:
        return [
            self._blocks(image.double(), None if keep is None else keep[i])
            for i, image in enumerate(images)
        ]

    def _w(self, name: str) -> Tensor:
        return self.weights[name].double()

    def _one(self, image: Tensor, keep: list[int] | None) -> tuple[Tensor, Tensor]:
        tokens, attention = self._blocks(image, keep)
        if "fc_norm.weight" in self.weights:
            patches = tokens[self.prefix :]
            mean = sum(patches, start=torch.zeros_like(patches[0])) / len(patches)
            logits = self._linear(self._norm(mean, "fc_norm"), "head")
            return logits, attention[:, 0, self.prefix :].mean(dim=0)
        tokens = self._norm(tokens, "norm")
        logits = self._linear(tokens[0], "head")
        if "head_dist.weight" in self.weights:
            logits = (logits + self._linear(tokens[1], "head_dist")) / 2
        return logits, attention[:, 0, self.prefix :].mean(dim=0)

    def _blocks(self, image: Tensor, keep: list[int] | None) -> tuple[Tensor, Tensor]:
        tokens = self._tokens(image, keep)
        if "norm_pre.weight" in self.weights:
            tokens = self._norm(tokens, "norm_pre")
        attention = tokens
        for index in range(self.depth):
            tokens, attention = self._block(tokens, f"blocks.{index}")
        return tokens, attention

    def _tokens(self, image: Tensor, keep: list[int] | None) -> Tensor:
        p = self.patch
        kernel = self._w("patch_embed.proj.weight")
        bias = self.weights.get("patch_embed.proj.bias")
        position = self._w("pos_embed")[0]
        rows, columns = image.shape[1] // p, image.shape[2] // p
        positioned_prefix = len(position) > rows * columns
        patches = []
        for row in range(rows):
            for column in range(columns):
                pixels = image[:, row * p : (row + 1) * p, column * p : (column + 1) * p]
                value = (kernel * pixels).sum(dim=(1, 2, 3))
                patches.append(value if bias is None else value + bias.double())
        prefix = [
            self._w(name)[0, 0] for name in ("cls_token", "dist_token") if name in self.weights
        ]
        if positioned_prefix:
            tokens = [token + position[i] for i, token in enumerate([*prefix, *patches])]
        else:
            tokens = prefix + [token + position[i] for i, token in enumerate(patches)]
        kept = range(len(patches)) if keep is None else keep
        return torch.stack(tokens[: self.prefix] + [tokens[self.prefix + i] for i in kept])

    def _block(self, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
        normed = self._norm(x, f"{name}.norm1")
        qkv = self._linear(normed, f"{name}.attn.qkv")
        width = x.shape[1]
        size = width // self.heads
        mixed, maps = [], []
        for head in range(self.heads):
            columns = slice(head * size, (head + 1) * size)
            q, k, v = (qkv[:, part * width : (part + 1) * width][:, columns] for part in range(3))
            scores = q @ k.T / size**0.5
            weights = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
            maps.append(weights)
            mixed.append(weights @ v)
        out = self._linear(torch.cat(mixed, dim=1), f"{name}.attn.proj")
        x = x + self._scale(out, f"{name}.ls1")
        hidden = self._linear(self._norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
        return x + self._scale(self._linear(hidden, f"{name}.mlp.fc2"), f"{name}.ls2"), torch.stack(
            maps
        )

    def _norm(self, x: Tensor, name: str) -> Tensor:
        mean = x.mean(dim=-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
        return (x - mean) / (variance + self.eps).sqrt() * self._w(f"{name}.weight") + self._w(
            f"{name}.bias"
        )

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self._w(f"{name}.weight").T + self._w(f"{name}.bias")

    def _scale(self, x: Tensor, name: str) -> Tensor:
        gamma = self.weights.get(f"{name}.gamma")
        return x if gamma is None else x * gamma.double()
