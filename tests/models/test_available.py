"""What `harness check` tells of a file of weights without loading it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from harness.errors import WeightsError
from harness.models.available import class_counts
from tests.models.test_weight_files import STATE, saved, zipped


def test_the_classes_of_every_classifier(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"model": STATE, "ema": {"head.weight": torch.zeros(7, 16)}}, path)
    assert class_counts(path) == {7, 10}
    save_file(STATE, path)
    assert class_counts(path) == {10}
    before = torch.serialization.get_crc32_options()
    try:
        torch.serialization.set_crc32_options(False)
        path.write_bytes(saved(STATE))
    finally:
        torch.serialization.set_crc32_options(before)
    assert class_counts(path) == {10}


PLAIN = pickle.dumps({}, protocol=2)
DAMAGED = {
    "an index of 2**24, for which room is made": b"\x80\x02}r\x00\x00\x00\x01.",
    "a text longer than the file": b"\x80\x02X\xff\xff\xff\x7fab.",
    "bytes longer than the file": b"\x80\x05\x96\x00\x00\x00\x80\x00\x00\x00\x00ab.",
    "no end": PLAIN[:-1],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_pickle_is_told_and_takes_no_room(name: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(zipped("w/data.pkl", DAMAGED[name]))
    with pytest.raises(WeightsError, match="not a whole torch checkpoint"):
        class_counts(path)
    path.write_bytes(zipped("w/data.pkl", PLAIN))
    assert class_counts(path) == set()


@pytest.mark.parametrize("content", [saved(STATE), save(STATE)])
def test_a_file_cut_short_is_told_before_anything_runs(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content[:-100])
    with pytest.raises(WeightsError, match=r"not a whole (torch checkpoint|safetensors file)"):
        class_counts(path)


def test_what_is_zipped_and_no_checkpoint_is_named_as_when_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(zipped("net/code/__torch__.py", b"x"))
    with pytest.raises(WeightsError, match="a TorchScript program"):
        class_counts(path)
