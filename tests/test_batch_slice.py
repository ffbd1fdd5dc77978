"""Draws for a part of a batch are those that the whole batch gives its images."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers.drop import DropPath

from harness.batch_plan import BatchPlan
from harness.batch_slice import FULL_BATCH, BatchSlice, num_groups
from harness.data.mixing import erase
from harness.distributed import DistContext
from harness.models.layers import replace_drop_path, set_batch_slice


def noise(rows: int) -> torch.Tensor:
    return torch.rand(rows, 3, generator=torch.Generator().manual_seed(5))


@given(
    size=st.integers(1, 5),
    batch=st.integers(10, 40),
    views=st.integers(1, 4),
    part=st.integers(1, 40),
)
def test_every_image_gets_the_draws_of_the_whole_batch(
    size: int, batch: int, views: int, part: int
) -> None:
    expected = noise(views * batch).view(views, batch, 3)
    met = []
    for rank in range(size):
        places = DistContext(rank, size).shard_indices(batch)
        for first in range(0, len(places), part):
            mine = places[first : first + part]
            chosen = range(first, first + len(mine))
            share = DistContext(rank, size).batch_slice(batch).subset(chosen, len(places))
            found = share.draw_for_slice(views * len(mine), noise).view(views, len(mine), 3)
            torch.testing.assert_close(found, expected[:, mine], rtol=0, atol=0)
            met += mine
    assert sorted(met) == list(range(batch))


@given(batch=st.integers(4, 60), most=st.integers(2, 30), size=st.integers(1, 6))
def test_groups_are_whole_and_the_same_in_every_share(batch: int, most: int, size: int) -> None:
    whole = FULL_BATCH.groups(batch, most)
    assert sorted(place for group in whole.values() for place in group) == list(range(batch))
    assert max(map(len, whole.values())) <= most + batch % 2 or len(whole) == 1
    for group in whole.values():  # with mixup's partners
        assert {batch - 1 - place for place in group} == set(group)
    count = num_groups(batch, most)
    if batch % 2 == 0:
        assert list(whole) == list(range(count))
        assert max(map(len, whole.values())) - min(map(len, whole.values())) <= 2
    if count % size:
        return
    found: dict[int, list[int]] = {}
    for rank in range(size):
        places = DistContext(rank, size).shard_indices(batch)
        mine = DistContext(rank, size).batch_slice(batch).groups(len(places), most)
        assert not found.keys() & mine.keys()
        found |= {key: [places[index] for index in group] for key, group in mine.items()}
    assert {key: sorted(group) for key, group in found.items()} == whole


def test_a_batch_of_1024_has_eight_groups_of_128() -> None:
    assert [len(group) for group in FULL_BATCH.groups(1024, 128).values()] == [128] * 8
    assert FULL_BATCH.groups(100, 128) == {0: list(range(100))}


def test_rows_that_are_no_whole_views_get_draws_of_their_own() -> None:
    one, other = (
        BatchSlice(places, 6).draw_for_slice(4, noise) for places in ((0, 1, 2), (3, 4, 5))
    )
    rows = {tuple(row) for row in torch.cat([one, other]).tolist()}
    assert len(rows) == 8


def test_stochastic_depth_is_timms_and_each_image_keeps_its_own() -> None:
    branch = torch.randn(40, 5, 3)
    torch.manual_seed(3)
    expected = DropPath(0.4)(branch)
    network = torch.nn.Sequential(DropPath(0.4))
    depths = replace_drop_path(network)
    torch.manual_seed(3)
    torch.testing.assert_close(network(branch), expected, rtol=0, atol=0)
    assert 0 < int((expected == 0).all(dim=(1, 2)).sum()) < 40
    set_batch_slice(depths, BatchSlice((7, 30, 2), 40))
    torch.manual_seed(3)
    torch.testing.assert_close(network(branch[[7, 30, 2]]), expected[[7, 30, 2]], rtol=0, atol=0)
    network.eval()
    torch.testing.assert_close(network(branch), branch, rtol=0, atol=0)


@pytest.mark.parametrize("places", [(0, 5, 9), (1, 2, 3, 4, 6, 7, 8)])
def test_erasing_a_part_erases_what_the_batch_would(places: tuple[int, ...]) -> None:
    images = torch.zeros(10, 1, 28, 28)

    def erased(given: torch.Tensor, share: BatchSlice) -> torch.Tensor:
        draws = torch.Generator().manual_seed(1)
        return erase(given.clone(), probability=0.5, generator=draws, batch_slice=share)

    expected = erased(images, FULL_BATCH)
    assert 0 < int(expected.flatten(1).any(dim=1).sum()) < 10
    torch.testing.assert_close(
        erased(images[list(places)], BatchSlice(places, 10)), expected[list(places)], rtol=0, atol=0
    )


def test_a_plan_gives_every_process_whole_groups() -> None:
    whole = BatchPlan(batch=1024, group_size=128)
    assert (whole.groups, whole.max_processes) == (8, 8)
    assert whole.by(4).why_not_divisible() is None
    assert whole.by(16).why_not_divisible() is None  # eight of them are used
    assert whole.by(3).why_not_divisible() == (
        "its loss compares images with each other within 8 groups of a batch"
    )
    assert whole.by(3).why_not_computable() == "3 processes cannot share 8 groups of images evenly"
    few = BatchPlan(batch=1024, group_size=128, micro_batch=100)
    assert "this loss compares 128 images of the batch of 1024" in str(few.why_not_computable())
    assert BatchPlan(batch=10, micro_batch=3).why_not_computable() is None
    assert BatchPlan(batch=10).max_processes == 5


def test_a_pipeline_cuts_a_step_as_evenly_as_can_be() -> None:
    plain = BatchPlan(batch=10, pieces=4)
    assert [list(rows) for rows in plain.micro_batches(FULL_BATCH, 10)] == [
        [0, 1],
        [2, 3, 4],
        [5, 6],
        [7, 8, 9],
    ]
    grouped = BatchPlan(batch=12, group_size=4, pieces=2)
    first, second = grouped.micro_batches(FULL_BATCH, 12)
    assert (len(first), len(second)) == (4, 8)
    assert sorted([*first, *second]) == list(range(12))


def test_a_step_has_images_for_all_micro_batches_of_a_pipeline() -> None:
    assert BatchPlan(batch=10, pieces=10).why_not_computable() is None
    assert BatchPlan(batch=10, pieces=11).why_not_computable() == (
        "`pipeline` is 11, and a step has 10 images: give at most 10"
    )
    assert BatchPlan(batch=10, processes=2, pieces=5).why_not_computable() == (
        "`pipeline` is 5, and each of 2 students has 4 images: give at most 4"
    )
    grouped = BatchPlan(batch=1024, group_size=128, processes=4, pieces=3)
    assert grouped.why_not_computable() == (
        "`pipeline` is 3, and each of 4 students has 2 groups of images that its loss compares: "
        "give at most 2"
    )


def test_micro_batches_are_ranges_or_whole_groups() -> None:
    plain = BatchPlan(batch=10, micro_batch=4).micro_batches(FULL_BATCH, 10)
    assert list(plain) == [range(4), range(4, 8), range(8, 10)]
    grouped = BatchPlan(batch=12, group_size=4, micro_batch=9)
    first, second = grouped.micro_batches(FULL_BATCH, 12)
    groups = list(FULL_BATCH.groups(12, 4).values())
    assert list(first) == [*groups[0], *groups[1]]
    assert list(second) == groups[2]
