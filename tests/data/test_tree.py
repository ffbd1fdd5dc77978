"""Image folders and zips of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.data import dataset, fingerprint, ready, train_images
from harness.data.config import DataConfig
from harness.data.dataset import Files
from harness.data.tree import Zip, open_tree
from harness.errors import DataError
from tests.data.conftest import write_images


def config(path: Path) -> DataConfig:
    return DataConfig(name="folder", path=str(path))


@pytest.mark.parametrize("prefix", ["", "pets/"])
def test_a_zip_is_read_in_place_as_the_directory_is(
    folder: Path, zipped: Callable[..., Path], prefix: str
) -> None:
    packed = zipped(folder, prefix)
    before = sorted(packed.parent.rglob("*"))
    assert fingerprint(config(packed)) == fingerprint(config(folder))
    assert train_images(config(packed)) == 24
    sides = [dataset(config(path)).load().train for path in (folder, packed)]
    for index in (0, 13, 23):
        images = []
        for split in sides:
            assert isinstance(split, Files)
            images.append(np.asarray(split.image(index)))
        assert np.array_equal(*images)
    assert sorted(packed.parent.rglob("*")) == before  # nothing is unpacked


def test_facts_of_a_folder_are_counted(folder: Path) -> None:
    known = dataset(config(folder))
    assert (known.classes, known.train_images, known.val_images) == (2, 24, 6)
    assert known.class_counts() == (12, 12)
    assert ready(config(folder)) is None
    splits = known.load()
    assert splits.train.labels.tolist() == [0] * 12 + [1] * 12
    assert splits.val.labels.tolist() == [0] * 3 + [1] * 3


def test_the_fingerprint_changes_with_names_and_sizes(folder: Path) -> None:
    found = {open_tree(folder).fingerprint()}
    image = folder / "train/cat/000.png"
    image.write_bytes(image.read_bytes() + b"\0")
    found.add(open_tree(folder).fingerprint())
    image.rename(folder / "train/cat/zzz.png")
    found.add(open_tree(folder).fingerprint())
    (folder / "train/cat/zzz.png").unlink()
    found.add(open_tree(folder).fingerprint())
    assert len(found) == 4
    (folder / "train/cat/.DS_Store").touch()
    (folder / "train/notes.txt").touch()
    assert open_tree(folder).fingerprint() in found


def test_a_zip_can_travel_to_a_worker(folder: Path, zipped: Callable[..., Path]) -> None:
    tree = Zip(zipped(folder))
    name = tree.names()[0]
    content = tree.read(name)
    assert pickle.loads(pickle.dumps(tree)).read(name) == content


def test_grey_images_are_read_as_colour_and_the_reverse(folder: Path) -> None:
    tree = open_tree(folder)
    name = tree.names()[0]
    assert tree.image(name, channels=3).mode == "RGB"
    assert tree.image(name, channels=1).mode == "L"


@pytest.mark.parametrize(
    ("counts", "what"),
    [
        ({"a": 2, "b": 2}, r"no images in train/<class>/; .* found no folders of images"),
        ({"training/a": 2}, r"no images in train/<class>/; .* found training"),
        ({"train/a": 2}, r"no images in val/<class>/ or test/<class>/; add them, or use"),
        ({"train/a": 2, "train/b": 2, "val/a": 1}, r"train holds 2 classes and val 1; .* only: b"),
    ],
)
def test_another_layout_is_an_error(tmp_path: Path, counts: dict[str, int], what: str) -> None:
    write_images(tmp_path / "set", counts)
    with pytest.raises(DataError, match=what) as error:
        dataset(config(tmp_path / "set")).load()
    assert str(tmp_path / "set") in str(error.value)


def test_a_set_without_validation_images_can_be_held_out(tmp_path: Path) -> None:
    write_images(tmp_path / "set", {"train/a": 10, "train/b": 20})
    data = DataConfig(name="folder", path=str(tmp_path / "set"), evaluate_on="holdout")
    assert train_images(data) == 27


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    missing = config(tmp_path / "nowhere")
    lack = ready(missing)
    assert lack is not None
    assert "data set folder is not on this machine" in lack
    with pytest.raises(DataError, match="nowhere: no such directory or zip"):
        fingerprint(missing)


def test_a_folder_needs_a_path() -> None:
    lack = ready(DataConfig(name="folder"))
    assert lack is not None
    assert "data.path is missing" in lack


def test_a_truncated_zip(folder: Path, zipped: Callable[..., Path]) -> None:
    packed = zipped(folder)
    packed.write_bytes(packed.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"truncated or not a zip .*; get it again"):
        dataset(config(packed)).load()


def test_a_damaged_image_inside_a_zip(folder: Path, zipped: Callable[..., Path]) -> None:
    packed = zipped(folder)
    content = bytearray(packed.read_bytes())
    at = content.index(b"train/cat/000.png") + 200  # in the first image's data
    content[at : at + 50] = bytes(50)
    packed.write_bytes(content)
    split = dataset(config(packed)).load().train
    assert isinstance(split, Files)
    with pytest.raises(DataError, match=r"train/cat/000.png: cannot be read as an image"):
        split.image(0)
