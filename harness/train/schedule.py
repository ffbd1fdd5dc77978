"""The learning rate at every step."""

from __future__ import annotations

import math

from harness.train.config import Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Linear warm-up to `peak_lr`, then `decay` down to `min_lr`; `step` counts from 0.

    Never above the peak: where warm-up ends within a step, that step runs at the peak itself.

    `step`: smooth, every step; the last step of warm-up is the peak, the end of training
    `min_lr`. `epoch-lagged`: as in DeiT's released code, which sets the rate after an epoch with
    the index of the epoch that ended: epochs 0 and 1 both run at `warmup_lr`, and every later one
    lags by one. Warm-up counts into the decay's time. `from-warmup-lr`: as `step`, but the first
    step runs at `warmup_lr` itself, and the peak is still reached in warm-up's last (DINO).
    """
    return min(recipe.peak_lr, _planned(recipe, step, steps_per_epoch))


def _planned(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The same by the formulas alone, which reach beyond the peak within a step."""
    if recipe.schedule == "epoch-lagged":
        epoch = max(0, step // steps_per_epoch - 1)
        if epoch < recipe.warmup_epochs:
            return (
                recipe.warmup_lr
                + (recipe.peak_lr - recipe.warmup_lr) * epoch / recipe.warmup_epochs
            )
        return _decayed(recipe, epoch / recipe.epochs)
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        if recipe.schedule == "from-warmup-lr":
            share = step / max(1.0, warmup - 1)
            return recipe.warmup_lr + (recipe.peak_lr - recipe.warmup_lr) * share
        return recipe.warmup_lr + (recipe.peak_lr - recipe.warmup_lr) * (step + 1) / warmup
    if recipe.decay == "exponential":
        epoch = step // steps_per_epoch
        return recipe.peak_lr * recipe.decay_rate ** max(0, epoch - recipe.decay_from + 1)
    total = total_steps(recipe, steps_per_epoch)
    return _decayed(recipe, (step - warmup) / max(1.0, total - warmup))


def _decayed(recipe: Recipe, progress: float) -> float:
    """The rate when this share of the time after warm-up has passed."""
    progress = min(1.0, progress)
    if recipe.decay == "polynomial":
        left: float = (1 - progress) ** recipe.decay_power
    else:
        left = 0.5 * (1 + math.cos(math.pi * progress))
    return recipe.min_lr + (recipe.peak_lr - recipe.min_lr) * left


def total_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    """Optimiser steps of the whole training, at least one."""
    return max(1, round(recipe.epochs * steps_per_epoch))
