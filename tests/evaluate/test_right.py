"""The bits of right and wrong: whose they are, how they are kept, and that old results live on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.evaluate.classification import accuracy
from harness.evaluate.right import RIGHT, read_right, write_right
from harness.methods.supervised import Supervised
from harness.store import DONE, RunWriter, claim, damage, read_record
from harness.train.loop import train
from tests.launch.counting import CountingRun
from tests.launch.processes import run_of, store_in
from tests.train.test_loop import Context, config


@given(bits=st.lists(st.booleans(), min_size=1, max_size=40))
def test_bits_come_back_as_they_were(
    bits: list[bool], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("bits") / RIGHT
    write_right(path, {"val/top1": bits, "val/teacher_top1": [not bit for bit in bits]})
    found = read_right(path)
    assert found["val/top1"].tolist() == bits
    assert found["val/teacher_top1"].tolist() == [not bit for bit in bits]


def test_ten_thousand_images_take_a_kilobyte_and_a_quarter(tmp_path: Path) -> None:
    write_right(tmp_path / RIGHT, {"val/top1": np.arange(10_000) % 3 == 0})
    assert 1250 < (tmp_path / RIGHT).stat().st_size < 1250 + 200


def test_a_training_keeps_which_images_it_got_right(tmp_path: Path) -> None:
    context = Context(tmp_path)
    result = train(config(Supervised(), epochs=0.5), context)
    right = read_right(tmp_path / RIGHT)["val/top1"]
    assert len(right) == 10_000
    assert 100 * right.mean() == pytest.approx(result["val/top1"], abs=1e-9)


def test_an_image_is_right_where_the_largest_logit_is_its_label() -> None:
    images, labels = torch.arange(7.0).view(7, 1), torch.tensor([0, 1, 0, 1, 1, 1, 0])
    batches = [(images[:4], labels[:4]), (images[4:], labels[4:])]
    # an even number votes for 0, an odd one for 1
    scores = accuracy(lambda x: torch.cat([1 - x % 2, x % 2], dim=1), batches)
    assert scores.right.tolist() == [1, 1, 1, 1, 0, 1, 1]
    assert scores.metrics["top1"] == pytest.approx(100 * 6 / 7)


def test_damaged_bits_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / RIGHT
    with pytest.raises(FileNotFoundError):
        read_right(path)
    path.write_bytes(b"no safetensors")
    with pytest.raises(HarnessError, match="damaged"):
        read_right(path)


def test_a_result_without_bits_is_whole_and_one_that_lost_them_is_not(tmp_path: Path) -> None:
    for name, bits in (("old", False), ("new", True)):
        directory = store_in(tmp_path / name).create(run_of(CountingRun(steps=3, seed=7)))
        lease = claim(directory)
        assert lease is not None
        writer = RunWriter(lease)
        writer.save_artifact("model.safetensors", lambda path: path.write_bytes(b"weights"))
        if bits:
            writer.save_artifact(RIGHT, lambda path: write_right(path, {"val/top1": [True] * 9}))
        writer.finish({"count/value": 5.0}, device="cpu")
        lease.release(DONE)
        record = read_record(directory)
        assert record is not None
        assert damage(record, thorough=True) is None
        (directory / RIGHT).unlink(missing_ok=True)
        assert damage(record, thorough=True) == (f"{RIGHT} is missing" if bits else None)
