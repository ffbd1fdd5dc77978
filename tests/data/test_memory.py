"""Memory of batches: what a loader process writes there is not copied on its way to the run."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.data import memory


class Written(Dataset[tuple[Tensor, bool]]):
    """Pictures in what `empty` and `stack` make, and whether they stay there when handed over."""

    def __getitems__(self, keys: list[int]) -> tuple[Tensor, bool]:
        key = keys[0]
        pictures = torch.arange(12, dtype=torch.uint8).view(3, 4) + key
        made = (
            memory.stack([pictures, pictures])
            if key
            else memory.empty((2, 3, 4), torch.uint8).copy_(pictures)
        )
        before = made.data_ptr()
        return made, made.is_shared() and memory.handed_over(made).data_ptr() == before

    def __len__(self) -> int:
        return 2


def as_it_is(batch: tuple[Tensor, bool]) -> tuple[Tensor, bool]:
    return batch


def test_a_loader_process_writes_where_the_run_sees_it() -> None:
    loader = DataLoader(Written(), num_workers=1, collate_fn=as_it_is)
    for key, (found, stayed) in enumerate(loader):
        assert torch.equal(found, (torch.arange(12) + key).view(3, 4).expand(2, 3, 4))
        assert stayed


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (1, 1, 1, 1), (16, 3, 224, 224)])
def test_elsewhere_it_is_memory_like_any_other(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    made = memory.empty(shape, dtype)
    assert made.shape == shape
    assert made.dtype == dtype
    assert made.is_contiguous()
    assert not made.is_shared()
    assert torch.equal(made.fill_(7), torch.full(shape, 7, dtype=dtype))
