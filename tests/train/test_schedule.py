"""The learning rate against its formula, and against timm's scheduler for DeiT's recipe."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.scheduler.cosine_lr import CosineLRScheduler

from harness.errors import FieldError
from harness.train.config import Recipe
from harness.train.schedule import learning_rate, total_steps

DEIT = Recipe(
    epochs=300,
    batch_size=1024,
    lr=5e-4,
    lr_batch=512,
    min_lr=1e-5,
    warmup_epochs=5,
    warmup_lr=1e-6,
    schedule="epoch-lagged",
)


def test_the_peak_follows_the_linear_rule() -> None:
    assert DEIT.peak_lr == pytest.approx(1e-3)
    assert Recipe(epochs=1, batch_size=64, lr=2e-3).peak_lr == 2e-3


@pytest.mark.parametrize("epoch", [0, 1, 2, 3, 5, 6, 7, 50, 150, 298, 299])
def test_epoch_lagged_is_the_released_codes_rate(epoch: int) -> None:
    t = max(0, epoch - 1)
    if t < 5:
        expected = 1e-6 + t * (1e-3 - 1e-6) / 5
    else:
        expected = 1e-5 + 0.5 * (1e-3 - 1e-5) * (1 + math.cos(math.pi * t / 300))
    for step in (epoch * 1251, epoch * 1251 + 1250):
        assert learning_rate(DEIT, step, 1251) == pytest.approx(expected, rel=1e-12)


def test_epoch_lagged_equals_timms_scheduler_stepped_after_each_epoch() -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=DEIT.peak_lr)
    scheduler = CosineLRScheduler(
        optimizer, t_initial=300, lr_min=1e-5, warmup_t=5, warmup_lr_init=1e-6
    )
    for epoch in range(300):
        assert learning_rate(DEIT, epoch * 10, 10) == pytest.approx(
            optimizer.param_groups[0]["lr"], rel=1e-9
        )
        scheduler.step(epoch)


def test_smooth_schedule_touches_its_corners() -> None:
    recipe = Recipe(epochs=10, batch_size=8, lr=1.0, min_lr=0.1, warmup_epochs=2, warmup_lr=0.2)
    rates = [learning_rate(recipe, step, 50) for step in range(total_steps(recipe, 50))]
    assert rates[99] == pytest.approx(1.0)  # the last warm-up step is the peak
    assert rates[0] == pytest.approx(0.2 + 0.8 / 100)
    assert rates[300] == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * 200 / 400)))
    assert rates[-1] == pytest.approx(0.1, abs=1e-4)
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_part_of_an_epoch_is_a_whole_number_of_steps() -> None:
    assert total_steps(Recipe(epochs=0.25, batch_size=8, lr=1.0), 10) == 2
    assert total_steps(Recipe(epochs=0.001, batch_size=8, lr=1.0), 10) == 1


SHARES = st.floats(0, 1)


@given(
    schedule=st.sampled_from(["step", "epoch-lagged", "from-warmup-lr"]),
    epochs=st.floats(0.01, 12),
    warmup=SHARES,
    per_epoch=st.integers(1, 30),
    peak=st.floats(1e-6, 10),
    low=SHARES,
    first=SHARES,
)
def test_no_rate_is_above_the_peak_or_below_both_ends(
    schedule: Any,
    epochs: float,
    warmup: float,
    per_epoch: int,
    peak: float,
    low: float,
    first: float,
) -> None:
    recipe = Recipe(
        epochs=epochs,
        batch_size=8,
        lr=peak,
        min_lr=low * peak,
        warmup_epochs=warmup * epochs,
        warmup_lr=first * peak,
        schedule=schedule,
    )
    rates = [
        learning_rate(recipe, step, per_epoch) for step in range(total_steps(recipe, per_epoch))
    ]
    assert max(rates) <= recipe.peak_lr
    assert min(rates) >= min(recipe.min_lr, recipe.warmup_lr) * (1 - 1e-12)
    last = math.ceil(recipe.warmup_epochs * per_epoch) - 1
    lone = (
        schedule == "from-warmup-lr" and last == 0
    )  # its first step is `warmup_lr`, whatever else
    if schedule != "epoch-lagged" and 0 <= last < len(rates) and not lone:
        assert rates[last] == pytest.approx(peak)
    after = rates[last + 1 :]
    if schedule != "epoch-lagged":
        assert after == sorted(after, reverse=True)


@pytest.mark.parametrize("schedule", ["step", "from-warmup-lr"])
@pytest.mark.parametrize(("warmup", "per_epoch"), [(0.1, 1), (0.2, 937), (0.4, 281), (1.5, 3)])
def test_a_warm_up_that_ends_within_a_step_ends_at_the_peak(
    schedule: Any, warmup: float, per_epoch: int
) -> None:
    recipe = Recipe(epochs=2, batch_size=8, lr=2e-3, warmup_epochs=warmup, schedule=schedule)
    rates = [learning_rate(recipe, step, per_epoch) for step in range(2 * per_epoch)]
    last = math.ceil(warmup * per_epoch) - 1
    assert max(rates) <= 2e-3
    assert rates[last] == (2e-3 if schedule == "step" or last else 0.0)


@pytest.mark.parametrize("key", ["min_lr", "warmup_lr"])
def test_no_end_of_the_schedule_lies_above_the_peak(key: Any) -> None:
    with pytest.raises(FieldError, match=r"must be at most 0.5, the peak rate \(lr\); got 0.6"):
        Recipe(epochs=1, batch_size=8, lr=0.5, **{key: 0.6})
    with pytest.raises(FieldError, match=r"at most 0.25, the peak rate \(lr \* batch_size"):
        Recipe(epochs=1, batch_size=8, lr=0.5, lr_batch=16, **{key: 0.3})
    assert getattr(Recipe(epochs=1, batch_size=8, lr=0.5, **{key: 0.5}), key) == 0.5


def test_polynomial_is_its_closed_form() -> None:
    recipe = Recipe(epochs=64, batch_size=8, lr=1e-3, min_lr=1e-5, decay="polynomial")
    total = total_steps(recipe, 2526)
    assert total == 161_664
    for step in (0, 1, 80_832, total - 1):
        expected = 1e-5 + (1e-3 - 1e-5) * (1 - step / total) ** 0.9
        assert learning_rate(recipe, step, 2526) == pytest.approx(expected, rel=1e-12)
    assert learning_rate(recipe, 0, 2526) == 1e-3


def test_polynomial_equals_torchs_scheduler() -> None:
    recipe = Recipe(epochs=4, batch_size=8, lr=0.1, decay="polynomial", decay_power=2.0)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=40, power=2.0)
    for step in range(40):
        rate = optimizer.param_groups[0]["lr"]
        assert learning_rate(recipe, step, 10) == pytest.approx(rate, rel=1e-9)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("per_epoch", [1, 33])
def test_decay_is_torchs_scheduler_as_ast_sets_it(per_epoch: int) -> None:
    recipe = Recipe(epochs=25, batch_size=48, lr=1e-4, decay="exponential")
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(range(5, 1000, 1)), gamma=0.85)
    for epoch in range(25):
        expected = optimizer.param_groups[0]["lr"]
        for step in (epoch * per_epoch, (epoch + 1) * per_epoch - 1):
            assert learning_rate(recipe, step, per_epoch) == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        scheduler.step()


def test_options_of_another_decay_are_told() -> None:
    with pytest.raises(FieldError, match="goes with `decay: polynomial`"):
        Recipe(epochs=1, batch_size=8, lr=1.0, decay_power=2.0)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"decay_rate": 0.5}, "decay_rate"),
        ({"decay_from": 2}, "decay_from"),
        ({"decay": "exponential", "min_lr": 1e-5}, "min_lr"),
        ({"decay": "exponential", "schedule": "from-warmup-lr"}, "schedule"),
    ],
)
def test_options_of_another_schedule_are_refused(options: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldError) as raised:
        Recipe(epochs=25, batch_size=48, lr=1e-4, **options)
    assert raised.value.field == field
