"""AdamW, SGD, or Adam as AST has it, with the parameter groups that vision transformers are trained
with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from harness.train.config import Recipe

NEVER_DECAYED = (
    "cls_token",
    "dist_token",
    "reg_token",
    "pos_embed",
    "cls_emb",
)  # the last: Segmenter's


def parameter_groups(
    modules: Mapping[str, nn.Module], recipe: Recipe, *, decay_tokens: bool = False
) -> list[dict[str, Any]]:
    """Matrices with weight decay; biases, norms, tokens and position embeddings without (DeiT).

    `decay_tokens`: only what has one axis goes without (DINO). Adam takes every parameter (AST).

    With `layer_decay` below 1 every depth has its own two groups, and each group's `lr_scale`
    multiplies the schedule's rate: 1 for the head and the last norm, `layer_decay` to the power of
    the blocks above for the others (BEiT, MAE). A mask token counts to what comes before the
    blocks. `patch_embed_rate` multiplies the patch embedding's too (DINOv2).
    """
    groups: dict[tuple[bool, int, bool], dict[str, Any]] = {}
    names = [name for module in modules.values() for name, _ in module.named_parameters()]
    top = 1 + max((_block(name) or 0 for name in names), default=0)
    for module in modules.values():
        timms: set[str] = getattr(getattr(module, "vit", None), "no_weight_decay", set)()
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            block = _block(name)
            above = 0 if block is None or recipe.layer_decay == 1 else top - block
            token = name.rsplit(".", 1)[-1] in NEVER_DECAYED
            never = not decay_tokens if token else name.removeprefix("vit.") in timms
            decayed = recipe.optimizer == "adam" or (parameter.ndim > 1 and not never)
            slow = recipe.patch_embed_rate != 1 and "patch_embed" in name
            new = {
                "params": [],
                "weight_decay": recipe.weight_decay if decayed else 0.0,
                "lr_scale": recipe.layer_decay**above * (recipe.patch_embed_rate if slow else 1),
            }
            groups.setdefault((decayed, above, slow), new)["params"].append(parameter)
    return list(groups.values())


def _block(name: str) -> int | None:
    """0 for what comes before the blocks, 1, 2, ... for the blocks, None for what comes after, as
    all of Segmenter's decoder does.
    """
    if name.startswith("vit.decoder."):
        return None
    match = re.search(r"(?:^|\.)blocks\.(\d+)\.", name)
    if match:
        return int(match[1]) + 1
    before = ("patch_embed", "pos_embed", "norm_pre", "mask_token", *NEVER_DECAYED)
    return 0 if any(part in name for part in before) else None


def build_optimizer(
    modules: Mapping[str, nn.Module], recipe: Recipe, *, decay_tokens: bool = False
) -> torch.optim.Optimizer:
    """In its fused form, which is exact and the fastest on CPU and GPU."""
    groups = parameter_groups(modules, recipe, decay_tokens=decay_tokens)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=recipe.peak_lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            fused=True,
        )
    optimizer = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return optimizer(groups, lr=recipe.peak_lr, betas=recipe.betas, eps=recipe.eps, fused=True)
