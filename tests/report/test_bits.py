"""Bits as a report reads them are those that a run wrote, or what is wrong is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from harness.errors import HarnessError
from harness.evaluate.right import IMAGES, RIGHT, read_right, write_right
from harness.report import bits
from harness.report.bits import read_bits


def packed(path: Path) -> dict[str, tuple[bytes, int]]:
    """What `read_right` reads, eight a byte."""
    return {name: (np.packbits(one).tobytes(), len(one)) for name, one in read_right(path).items()}


@given(right=st.lists(st.booleans(), min_size=1, max_size=40), metrics=st.integers(1, 3))
def test_bits_are_those_of_the_run(
    right: list[bool], metrics: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("bits") / RIGHT
    write_right(path, {f"val/top{k}": np.roll(right, k) for k in range(metrics)})
    assert read_bits(path) == packed(path)


def test_a_file_of_a_run_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_right(tmp_path / RIGHT, {"b": np.arange(19) % 3 == 0, "a": np.arange(19) % 2 == 0})
    expected = packed(tmp_path / RIGHT)
    monkeypatch.delattr(bits, "read_right")
    assert read_bits(tmp_path / RIGHT) == expected


def test_a_file_in_another_form_is_read_too(tmp_path: Path) -> None:
    """With bits behind the last image, a number written otherwise, and another order."""
    path = tmp_path / RIGHT
    tensors = {name: np.array([255, 255], np.uint8) for name in ("a", "b")}
    for count in ("9", "0016"):
        save_file(tensors, path, metadata={IMAGES: count})
        assert read_bits(path) == packed(path)
    assert read_bits(path)["a"] == (b"\xff\xff", 16)
    save_file(tensors, path, metadata={IMAGES: "9"})
    assert read_bits(path)["a"] == (b"\xff\x80", 9)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"images":"19"', b'"images":"1x"'),
        (b'"images":"19"', b'"images":"27"'),
        (b'"images":"19"', b'"imagos":"19"'),
        (b"[0,3]", b"[0,4]"),
        (b'"U8"', b'"I8"'),
        (b"{", b"["),
    ],
)
def test_damage_is_told_as_ever(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / RIGHT
    write_right(path, {"val/top1": np.arange(19) % 3 == 0})
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    for read in (read_right, read_bits):
        with pytest.raises(HarnessError, match="damaged"):
            read(path)
    for part in (content[:-1], content + b"x", content[:5], b"", b"\xff" * 30):
        path.write_bytes(part)
        with pytest.raises(HarnessError, match="damaged"):
            read_bits(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_bits(path)
