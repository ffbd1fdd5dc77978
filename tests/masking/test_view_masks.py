"""Masks of views: how many patches, which, in which views; against plain loops and closed forms."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.batch_slice import BatchSlice
from harness.errors import FieldError
from harness.masking.views import MASK_SAMPLERS, MaskInput, MaskSampler, PatchMask
from harness.masking.views.attmask import AttMaskHigh, AttMaskHint, AttMaskLow
from harness.masking.views.block import BlockWise
from harness.masking.views.random import RandomMask
from harness.masking.views.stratified import StratifiedBlocks


def sight(
    views: int = 40,
    side: int = 14,
    seed: int = 0,
    shared: tuple[float, float] = (0.5, 0.25),
    attention: Tensor | None = None,
) -> MaskInput:
    return MaskInput(
        views=views,
        rows=side,
        columns=side,
        attention=attention,
        step_draws=shared,
        generator=torch.Generator().manual_seed(seed),
        device=torch.device("cpu"),
    )


def distinct(views: int, patches: int, seed: int = 0) -> Tensor:
    """Attention without ties."""
    draws = torch.Generator().manual_seed(seed)
    order = torch.rand(views, patches, generator=draws).argsort(dim=1)
    return (order + 1) / (patches * (patches + 1) / 2)


def sets(hidden: PatchMask) -> list[set[int]]:
    """The hidden patches of each view, from `at` and `counts` as they are documented."""
    found, start = [], 0
    for view, count in enumerate(hidden.counts.tolist()):
        part = hidden.indices[start : start + count].tolist()
        assert all(at // hidden.patches == view for at in part)
        found.append({at % hidden.patches for at in part})
        assert len(found[-1]) == count, "a patch stands there twice"
        start += count
    assert start == len(hidden.indices)
    return found


def all_masks() -> list[MaskSampler]:
    return [MASK_SAMPLERS.get(name)() for name in MASK_SAMPLERS.names()]


def test_there_are_the_masks_of_the_papers() -> None:
    names = ["attmask-high", "attmask-hint", "attmask-low", "block-wise", "random"]
    names.append("stratified-blocks")
    assert MASK_SAMPLERS.names() == names


@pytest.mark.parametrize("mask", all_masks(), ids=MASK_SAMPLERS.names())
@settings(max_examples=25)
@given(side=st.integers(2, 9), views=st.integers(1, 9), seed=st.integers(0, 10**6), data=st.data())
def test_every_mask_stays_within_the_ratio_and_repeats_itself(
    mask: MaskSampler, side: int, views: int, seed: int, data: Any
) -> None:
    shared = (data.draw(st.floats(0, 0.999)), data.draw(st.floats(0, 0.999)))
    asked: dict[str, Any] = {"views": views, "side": side, "seed": seed, "shared": shared}
    asked["attention"] = distinct(views, side * side, seed)
    hidden = mask.sample(sight(**asked))
    found = sets(hidden)
    assert max(map(len, found)) <= 0.5 * side * side
    flags = hidden.flags()
    assert [set(row.nonzero()[:, 0].tolist()) for row in flags] == found
    again = mask.sample(sight(**asked))
    assert torch.equal(again.indices, hidden.indices)
    assert torch.equal(again.counts, hidden.counts)


def test_high_and_low_hide_the_ends_of_the_ranking() -> None:
    attention = distinct(40, 196)
    count = int(196 * 0.3)  # the middle of 10 to 50 %
    high = sets(AttMaskHigh().sample(sight(attention=attention)))
    low = sets(AttMaskLow().sample(sight(attention=attention)))
    for view in range(40):
        ranking = sorted(range(196), key=lambda at: -float(attention[view, at]))
        assert high[view] in (set(), set(ranking[:count]))
        assert low[view] in (set(), set(ranking[-count:]))
    assert 8 < sum(map(bool, high)) < 32  # a half, chosen view by view
    assert list(map(bool, high)) == list(map(bool, low))  # the same views for the same draws


@pytest.mark.parametrize("second", [0.0, 0.25, 0.999])
def test_hint_shows_some_of_the_top_tenth_again_without_compensation(second: float) -> None:
    attention = distinct(60, 196)
    view = sight(views=60, attention=attention, shared=(0.5, second))
    found = sets(AttMaskHint(probability=1.0).sample(view))
    shown = int(0.1 * (0.1 + 0.4 * second) * 196)
    ever: set[int] = set()
    for at, hidden in enumerate(found):
        ranking = sorted(range(196), key=lambda patch: -float(attention[at, patch]))
        missing = set(ranking[:58]) - hidden
        assert hidden <= set(ranking[:58])
        assert missing <= set(ranking[:19])
        assert len(missing) == shown
        ever |= {ranking.index(patch) for patch in missing}
    assert len(ever) > shown  # drawn view by view


def test_hint_of_nothing_is_high() -> None:
    attention = distinct(20, 49)
    view: dict[str, Any] = {"views": 20, "side": 7, "attention": attention}
    hint = AttMaskHint(ratio=(0.1, 0.1)).sample(sight(**view))  # 0.1 * 0.1 * 49 < 1
    assert sets(hint) == sets(AttMaskHigh(ratio=(0.1, 0.1)).sample(sight(**view)))


def test_attention_masks_share_a_ratio_and_others_draw_theirs() -> None:
    attention = distinct(200, 196)
    together = AttMaskHigh(probability=1.0).sample(sight(200, attention=attention)).counts
    assert set(together.tolist()) == {58}
    one = RandomMask(probability=1.0, ratio_per="batch").sample(sight(200)).counts
    assert set(one.tolist()) == {58}
    apart = RandomMask(probability=1.0).sample(sight(2000)).counts.double()
    assert (apart.min(), apart.max()) == (19, 97)
    assert float(apart.mean()) == pytest.approx(0.3 * 196 - 0.5, abs=1.5)  # rounded down
    half = (RandomMask().sample(sight(2000)).counts > 0).double().mean()
    assert float(half) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("ratio", "patches"), [(0.3, 58), (0.75, 147), (0.1, 19), (0.5, 98)])
def test_a_fixed_ratio_is_rounded_down(ratio: float, patches: int) -> None:
    mask = RandomMask(ratio=(ratio, ratio), probability=1.0)
    assert set(mask.sample(sight()).counts.tolist()) == {patches}


def test_random_patches_are_all_as_likely() -> None:
    mask = RandomMask(ratio=(0.5, 0.5), probability=1.0)
    share = mask.sample(sight(4000, side=4)).flags().double().mean(dim=0)
    assert share.sub(0.5).abs().max() < 4 * math.sqrt(0.25 / 4000)


def test_blocks_fill_the_ratio_nearly_and_never_more() -> None:
    """iBOT's released code, run 400 times at 30 % of 196: 48 to 58 patches, 57.2 on average."""
    mask = BlockWise(ratio=(0.3, 0.3), probability=1.0)
    counts = mask.sample(sight(400)).counts.double()
    assert counts.max() == 58
    assert counts.min() >= 45
    assert float(counts.mean()) == pytest.approx(57.2, abs=0.4)


def test_blocks_are_blocks() -> None:
    """Hidden patches have far more hidden neighbours than random ones of the same number."""

    def neighbours(mask: MaskSampler) -> float:
        flags = mask.sample(sight(200)).flags().view(200, 14, 14).double()
        pairs = (flags[:, 1:] * flags[:, :-1]).sum() + (flags[:, :, 1:] * flags[:, :, :-1]).sum()
        return float(pairs / flags.sum())

    block = neighbours(BlockWise(ratio=(0.3, 0.3), probability=1.0))
    scattered = neighbours(RandomMask(ratio=(0.3, 0.3), probability=1.0))
    assert scattered == pytest.approx(2 * 0.3 * 13 / 14, abs=0.1)
    assert block > 2 * scattered


@pytest.mark.parametrize("target", [9.0, 20.0, 58.8])
def test_one_view_of_blocks_equals_a_plain_loop_over_the_same_draws(target: float) -> None:
    """With one view every round's draws are known, so a loop over patches can follow them."""
    mask = BlockWise(ratio=(target / 196, target / 196), probability=1.0)
    for seed in range(20):
        draws = torch.Generator().manual_seed(seed)
        torch.rand(2, 1, generator=draws, dtype=torch.float64)  # the ratio's and the choice's
        hidden: set[tuple[int, int]] = set()
        while len(hidden) < target:
            block = _first_block(draws, hidden, target - len(hidden))
            if not block:
                break
            hidden |= block
        expected = {row * 14 + column for row, column in hidden}
        assert sets(mask.sample(sight(1, seed=seed))) == [expected]


def _first_block(
    draws: torch.Generator, hidden: set[tuple[int, int]], left: float
) -> set[tuple[int, int]]:
    numbers = torch.rand(4, 10, 1, generator=draws, dtype=torch.float64)[:, :, 0]
    for u in numbers.T.tolist():
        area = 16 + (left - 16) * u[0]
        aspect = math.exp(math.log(0.3) + (math.log(1 / 0.3) - math.log(0.3)) * (1 - u[1]))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height >= 14 or width >= 14:
            continue
        top, start = int(u[2] * (14 - height + 1)), int(u[3] * (14 - width + 1))
        block = {(top + r, start + c) for r in range(height) for c in range(width)}
        if 0 < len(block - hidden) <= left:
            return block
    return set()


def test_weights_are_a_mean_over_views_of_means_over_patches() -> None:
    hidden = PatchMask(indices=torch.tensor([1, 3, 9]), counts=torch.tensor([2, 0, 1]), patches=4)
    torch.testing.assert_close(hidden.weights(), torch.tensor([1 / 6, 1 / 6, 1 / 3]))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"ratio": (0.5, 0.1)}, "ratio"),
        ({"ratio": (0.1, 1.0)}, "ratio"),
        ({"ratio": (-0.1, 0.5)}, "ratio"),
        ({"probability": 1.5}, "probability"),
    ],
)
def test_impossible_shares_are_refused(options: dict[str, Any], field: str) -> None:
    for name in MASK_SAMPLERS.names():
        cls: Any = MASK_SAMPLERS.get(name)
        with pytest.raises(FieldError) as raised:
            cls(**options)
        assert raised.value.field == field


def test_impossible_hints_and_blocks_are_refused() -> None:
    with pytest.raises(FieldError, match="from 0 to 1"):
        AttMaskHint(show=2.0)
    with pytest.raises(FieldError, match="at most 1"):
        BlockWise(aspect=3.0)


@pytest.mark.parametrize("views", [2, 3, 7, 40])
@pytest.mark.parametrize("probability", [0.5, 0.3, 1.0, 0.0])
def test_stratified_blocks_are_in_exactly_so_many_views(views: int, probability: float) -> None:
    mask = StratifiedBlocks(probability=probability, ratio=(0.2, 0.5))
    counts = mask.sample(sight(views=views)).counts
    assert int((counts > 0).sum()) == math.floor(probability * views + 1e-9)


def test_every_slice_of_the_ratios_is_drawn_from_once() -> None:
    """Of 40 views of 196 patches 20 are masked: the i-th smallest target is the floor of a ratio
    from the i-th of 20 slices, each 2 % of the patches wide.
    """
    for seed in range(20):
        targets = StratifiedBlocks().targets(sight(seed=seed))
        drawn = sorted(count for count in targets.tolist() if count)
        assert len(drawn) == 20
        for at, count in enumerate(drawn):
            assert math.floor((0.1 + 0.02 * at) * 196) <= count <= (0.12 + 0.02 * at) * 196
    where = [StratifiedBlocks().targets(sight(seed=seed)) > 0 for seed in range(200)]
    share = torch.stack(where).double().mean(dim=0)
    assert float((share - 0.5).abs().max()) < 0.15  # four deviations of 200 fair coins


def test_stratified_blocks_reach_their_targets_from_below() -> None:
    found = StratifiedBlocks().sample(sight()).counts
    targets = StratifiedBlocks().targets(sight())
    assert bool((found <= targets).all())
    assert float((targets - found).double().mean()) < 2  # blocks of 4 patches fill small gaps


def test_the_smallest_block_is_an_option() -> None:
    """Where it is all of the target, every view has one block of so many patches, or rounded."""
    mask = StratifiedBlocks(probability=1.0, ratio=(0.25, 0.25), smallest_block=49, aspect=1.0)
    flags = mask.sample(sight(views=30)).flags().view(30, 14, 14)
    for view in flags:
        assert int(view.any(dim=0).sum()) == int(view.any(dim=1).sum()) == 7
    with pytest.raises(FieldError, match="must be at least 1 patch"):
        StratifiedBlocks(smallest_block=0)


def test_parts_of_a_batch_get_the_stratified_masks_of_the_whole() -> None:
    whole = StratifiedBlocks().sample(sight(views=24)).flags()
    for chosen in ([0, 1, 2, 9, 10, 11], [3, 4, 5, 6, 7, 8]):
        part = replace(sight(views=12), batch_slice=BatchSlice(tuple(chosen), 12))
        rows = [*chosen, *(12 + at for at in chosen)]
        assert torch.equal(StratifiedBlocks().sample(part).flags(), whole[rows])
