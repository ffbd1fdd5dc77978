"""Top-k choice against sorting, for any scores."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.masking.keep import kept_counts, top_k


@given(
    hnp.arrays(
        "float64",
        st.tuples(st.integers(1, 5), st.integers(1, 30)),
        elements=st.floats(-1e6, 1e6),
        unique=True,
    ),
    st.data(),
)
def test_top_k_keeps_the_highest_in_raster_order(scores: object, data: st.DataObject) -> None:
    tensor = torch.as_tensor(scores)
    keep = data.draw(st.integers(1, tensor.shape[1]))
    kept = top_k(tensor, keep)
    for row, indices in zip(tensor.tolist(), kept.tolist(), strict=True):
        assert indices == sorted(sorted(range(len(row)), key=lambda i: -row[i])[:keep])


def test_counts_per_position() -> None:
    kept = torch.tensor([[0, 2], [2, 3], [1, 2]])
    assert kept_counts(kept, 5).tolist() == [1, 1, 3, 1, 0]
