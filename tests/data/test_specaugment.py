"""SpecAugment's masks by their distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.data.filterbank import PADDING
from harness.data.specaugment import masked_spans


def masks(count: int, *, frequency: int, time: int, positions: list[int] | None = None) -> Tensor:
    """(count, bins, windows): where a spectrogram of 20 x 30 was masked."""
    rows = list(range(count)) if positions is None else positions
    values = torch.ones(len(rows), 1, 20, 30)
    draws = torch.Generator().manual_seed(0)
    found = masked_spans(
        values, frequency=frequency, time=time, count=count, positions=rows, draws=draws
    )
    assert set(found.unique().tolist()) <= {PADDING, 1.0}
    assert (values == 1).all()
    return found[:, 0] == PADDING


def test_lengths_are_uniform_and_begin_anywhere() -> None:
    count = 20_000
    hidden = masks(count, frequency=6, time=0)
    assert (hidden.all(dim=2) == hidden.any(dim=2)).all()  # whole bins
    bins = hidden[:, :, 0]
    lengths = bins.sum(dim=1)
    share = torch.bincount(lengths, minlength=7) / count
    torch.testing.assert_close(share[:6], torch.full((6,), 1 / 6), atol=0.012, rtol=0)
    assert share[6] == 0  # never as many as it says
    # floor(v (20 - 6u)) for lengths of floor(6u): simulated on a fine grid
    u = (torch.arange(2000) + 0.5) / 2000
    first = torch.floor(u[None, :] * (20 - 6 * u[:, None]))
    ends = first + torch.floor(6 * u)[:, None]
    expected = torch.stack([((first <= at) & (at < ends)).float().mean() for at in range(20)])
    torch.testing.assert_close(bins.float().mean(dim=0), expected, atol=0.012, rtol=0)
    starts = bins.float().argmax(dim=1)[lengths > 0]
    spans = [
        bins[i, starts_i : starts_i + n].all()
        for i, (starts_i, n) in zip(
            torch.nonzero(lengths > 0)[:500, 0].tolist(),
            zip(starts[:500].tolist(), lengths[lengths > 0][:500].tolist(), strict=True),
            strict=True,
        )
    ]
    assert all(spans)  # in one piece


def test_both_masks_are_independent_and_over_their_own_axis() -> None:
    both = masks(4000, frequency=6, time=12)
    bins, windows = both.all(dim=2).sum(dim=1), both.all(dim=1).sum(dim=1)
    assert bins.max() == 5
    assert windows.max() == 11
    assert abs(float(bins.float().mean()) - 2.5) < 0.1
    assert abs(float(windows.float().mean()) - 5.5) < 0.2
    joined = torch.stack([bins.float(), windows.float()])
    assert abs(float(torch.corrcoef(joined)[0, 1])) < 0.06


def test_nothing_is_masked_where_nothing_is_asked_for() -> None:
    assert not masks(50, frequency=0, time=0).any()


def test_a_part_of_a_batch_has_the_draws_of_the_whole() -> None:
    whole = masks(8, frequency=6, time=12)
    assert torch.equal(masks(8, frequency=6, time=12, positions=[5, 2]), whole[[5, 2]])
