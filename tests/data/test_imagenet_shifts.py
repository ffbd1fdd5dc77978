"""ImageNet-A, -R, -Sketch and -V2: labels by the names of folders, counts, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.cli import main
from harness.data import DATASETS, open_dataset
from harness.data.config import DataConfig
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
    assert [label for label, count in enumerate(few.class_counts()) if count] == [1, 999]
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
        ({"n01440764": 2, "": 1}, "000.png: lies in no folder of a class"),
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


def test_classes_of_equal_size_are_counted_each(home: Path) -> None:
    """A moved image, or a class of which a synset and a label are folders, changes no sum."""
    even = ShiftedImageNet(
        "imagenet-v2", "even", images=4, present=2, folders="<label>/*", licence="none", each=2
    )
    write_images(home / "imagenet-v2", {"0": 1, "n01440764": 1, "1": 2})
    splits = even.load()
    assert isinstance(splits.val, Files)
    assert splits.val.labels.tolist() == [0, 0, 1, 1]
    (home / "imagenet-v2/1/000.png").rename(home / "imagenet-v2/0/001.png")
    with pytest.raises(DataError, match="found 3 images of class 0, expected 2 of every class"):
        even.load()


@pytest.mark.parametrize("folder", ["imagenetv2-top-images-format-val", "imagenetv2-threshold0.7"])
@pytest.mark.parametrize("linked", [False, True])
def test_the_other_second_test_sets_are_refused(home: Path, folder: str, linked: bool) -> None:
    """They have as many images of as many classes: only their folders tell them apart."""
    place = home if linked else home / "imagenet-v2"
    write_images(place / folder, {"0": 1, "1": 1})
    if linked:
        (home / "imagenet-v2").symlink_to(folder)
    dataset = DATASETS.get("imagenet-v2")
    with pytest.raises(DataError, match=f"holds '[^']*{folder}[^']*', which is another set"):
        dataset.read(home / "imagenet-v2")


def test_nobody_is_told_that_it_is_learned_from(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(DATASETS._items, "imagenet-r", known(3, 2))
    write_images(home / "imagenet-r", {"n01440764": 2, "n01443537": 1})
    assert main(["data", "verify", "imagenet-r"]) == 0
    assert (
        "imagenet-r (version imagenet-r): 3 images of 2 classes, 3 images read"
        in capsys.readouterr().out
    )
    assert main(["data", "list"]) == 0
    assert "  3 images that judge, 1,000 classes, any size" in capsys.readouterr().out
    assert main(["data", "list", "--json"]) == 0
    facts = {fact["name"]: fact for fact in json.loads(capsys.readouterr().out)}
    assert (facts["imagenet-r"]["train_images"], facts["imagenet-r"]["val_images"]) == (0, 3)


def test_a_pack_of_smaller_images_would_be_read_by_nobody(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(home / "imagenet-r", {"n01440764": 2, "n01443537": 1})
    assert main(["data", "pack", "imagenet-r", "--size", "8"]) == 1
    assert "judged by its images as they came" in capsys.readouterr().err
    with pytest.raises(DataError, match="as they came"):
        open_dataset(DataConfig(name="imagenet-r", packed=8))
