"""Which image is seen when."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
import torch

from harness.data.sampler import Sampler
from harness.errors import DataError


def steps(order: Sampler, start: int, count: int) -> list[tuple[int, list[int]]]:
    return [(step, found.tolist()) for step, found in islice(order.batches(start), count)]


def test_an_epoch_covers_every_image_once() -> None:
    order = Sampler(images=60, batch_size=12, repeats=1, seed=0)
    assert order.steps_per_epoch == 5
    for epoch in (0, 1):
        seen = [index for _, batch in steps(order, 5 * epoch, 5) for index in batch]
        assert sorted(seen) == list(range(60))
    assert not torch.equal(order.epoch(0), order.epoch(1))


def test_the_last_incomplete_batch_is_dropped() -> None:
    order = Sampler(images=65, batch_size=12, repeats=1, seed=0)
    assert order.steps_per_epoch == 5
    assert {len(batch) for _, batch in steps(order, 0, 12)} == {12}
    assert steps(order, 5, 1)[0][1] == order.epoch(1)[:12].tolist()


def test_repeats_put_an_image_in_a_row_and_keep_the_epochs_length() -> None:
    order = Sampler(images=60, batch_size=20, repeats=3, seed=0)
    seen = [index for _, batch in steps(order, 0, 3) for index in batch]
    assert Counter(Counter(seen).values()) == {3: 20}
    assert seen[0::3] == seen[1::3] == seen[2::3]
    assert seen[0::3] == Sampler(images=60, batch_size=20, repeats=1, seed=0).epoch(0)[:20].tolist()


def test_any_step_can_be_started_from() -> None:
    order = Sampler(images=50, batch_size=8, repeats=2, seed=7)
    whole = steps(order, 0, 20)
    for start in (1, 5, 6, 13):
        assert steps(order, start, 20 - start) == whole[start:]


def test_seeds_give_other_orders() -> None:
    orders = [Sampler(images=50, batch_size=8, repeats=1, seed=seed).epoch(0) for seed in (0, 1)]
    assert not torch.equal(*orders)


def test_a_batch_larger_than_the_set_is_an_error() -> None:
    with pytest.raises(DataError, match="batch_size 512 is larger than the 300 images; lower"):
        _ = Sampler(images=300, batch_size=512, repeats=1, seed=0).steps_per_epoch
