"""What `harness check` tells of a file of weights without loading it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from harness.errors import FieldError, WeightsError
from harness.models.available import class_counts, hub_file, missing_weights
from harness.models.config import Weights
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


COMMIT = "0123456789" * 4


@pytest.mark.parametrize(
    ("name", "folder", "ref"),
    [
        ("deit_tiny_patch16_224.fb_in1k", "models--timm--deit_tiny_patch16_224.fb_in1k", "main"),
        ("hf-hub:me/own.net", "models--me--own.net", "main"),
        ("hf-hub:me/own.net@v1", "models--me--own.net", "v1"),
        (f"hf-hub:me/own.net@{COMMIT}", "models--me--own.net", None),
    ],
)
def test_published_weights_are_here_once_their_file_is(
    name: str, folder: str, ref: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    weights = Weights(hub=name)
    snapshot = tmp_path / folder / "snapshots" / COMMIT
    (tmp_path / folder / "refs").mkdir(parents=True)
    if ref is not None:
        (tmp_path / folder / "refs" / ref).write_text(COMMIT)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert name in str(missing_weights(weights))
    (snapshot / "pytorch_model.bin").touch()
    assert missing_weights(weights) is None
    assert hub_file(name) == snapshot / "pytorch_model.bin"
    snapshot.rename(snapshot.with_name("another"))
    assert missing_weights(weights) is not None


@pytest.mark.parametrize("name", ["local-dir:/a/b", "me/own", "deit_tiny_patch16_224", "hf-hub:x"])
def test_what_names_no_checkpoint_of_the_hub_is_refused(name: str) -> None:
    with pytest.raises(FieldError, match=r"names no checkpoint .* hf-hub:ORG/NAME; .*file: \.\.\."):
        Weights(hub=name)
