"""ImageNet-A, -R, -Sketch and -V2: labels by the names of folders, counts, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.data import DATASETS
from harness.data.dataset import Files
from harness.data.sets.imagenet_shifts import ShiftedImageNet, synsets
from harness.data.verify import verify
from harness.errors import DataError
from tests.data.conftest import write_images


def known(images: int, present: int) -> ShiftedImageNet:
    return ShiftedImageNet(
        "imagenet-r", "few", images=images, present=present, folders="<synset>/*", licence="none"
    )


def test_a_synset_counts_as_in_imagenet(home: Path, zipped: Callable[..., Path]) -> None:
    assert synsets()[:2] == ("n01440764", "n01443537")  # tench, goldfish: labels 0 and 1
    assert synsets()[999] == "n15075141"  # toilet tissue
    write_images(home / "imagenet-r", {"n15075141": 1, "n01443537": 2})
    (home / "imagenet-r" / "README.txt").write_text("of the archive")
    few = known(3, 2)
    assert few.missing() is None
    for splits in (few.load(), few.read(zipped(home / "imagenet-r", "imagenet-r/"))):
        assert splits.train is splits.val, "nobody trains on it"
        assert isinstance(splits.val, Files)
        assert splits.val.labels.tolist() == [1, 1, 999]
        assert splits.val.image(2).size == (20, 16)
    assert few.present() == (1, 999)
    assert sum(few.class_counts()) == 3
    assert len(few.class_counts()) == few.classes == 1000


def test_numbers_are_labels_and_not_texts(home: Path) -> None:
    """Sorted as texts, `10` would be before `2`."""
    write_images(home / "imagenet-r" / "matched", {"0": 1, "2": 1, "10": 1, "999": 1})
    splits = known(4, 4).load()
    assert isinstance(splits.val, Files)
    assert splits.val.labels.tolist() == [0, 2, 10, 999]
    assert [splits.val.path(place).split("/")[-2] for place in range(4)] == ["0", "2", "10", "999"]


@pytest.mark.parametrize(
    ("folders", "what"),
    [
        ({"n01440764": 3}, "found 1 classes, expected 2"),
        ({"n01440764": 2, "n01443537": 2}, "found 4 images, expected 3"),
        ({"n01440764": 2, "tench": 1}, "folder 'tench' is no class of ImageNet-1k"),
        ({"0": 2, "1000": 1}, "folder '1000' is no class of ImageNet-1k"),
    ],
)
def test_another_copy_is_refused(home: Path, folders: dict[str, int], what: str) -> None:
    write_images(home / "imagenet-r", folders)
    with pytest.raises(DataError, match=what):
        known(3, 2).load()


def test_an_image_is_verified_once(home: Path) -> None:
    write_images(home / "imagenet-r", {"n01440764": 2, "n01443537": 1})
    found = verify(known(3, 2), path=None, everything=True, say=lambda line: None)
    assert (found.decoded, found.val_images, found.remarks) == (3, 3, ())


def test_the_facts_are_the_papers() -> None:
    found = {
        name: (dataset.val_images, dataset.classes)
        for name in DATASETS.names()
        if isinstance(dataset := DATASETS.get(name), ShiftedImageNet)
    }
    assert found == {
        "imagenet-a": (7_500, 1000),
        "imagenet-r": (30_000, 1000),
        "imagenet-sketch": (50_889, 1000),
        "imagenet-v2": (10_000, 1000),
    }
    assert np.unique(list(found)).size == 4
