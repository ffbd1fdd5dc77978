"""The catalogue: facts without torch, origins in order, and errors that say what to do."""

from __future__ import annotations

import gzip
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.data import DATASETS, ready
from harness.data.config import DataConfig
from harness.data.dataset import Files, Splits
from harness.data.fetch import debian_package, with_torchvision
from harness.data.pack import Pack
from harness.data.packing import pack_set
from harness.data.sets.cifar import Cifar10
from harness.data.sets.imagenet import ImageNet
from harness.data.sets.inaturalist import INaturalist
from harness.data.sets.mini_imagenet import (
    BASE,
    NOVEL,
    VALIDATION,
    BaseClasses,
    MiniImageNet,
    NovelClasses,
    ValidationClasses,
)
from harness.data.telling import Telling
from harness.errors import DataError
from tests.data.conftest import SmallFashion, arrays, small_files, write_images

IMAGES = "train-images-idx3-ubyte"


def test_facts_need_no_torch() -> None:
    code = (
        "import sys; from harness.data import DATASETS, train_images, ready\n"
        "from harness.data.config import DataConfig\n"
        "for name in set(DATASETS.names()) - {'folder'}:\n"
        "    train_images(DataConfig(name=name)); ready(DataConfig(name=name))\n"
        "assert not {'torch', 'torchvision', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_set_states_its_facts() -> None:
    assert DATASETS.names() == [
        "ade20k",
        "canvases",
        "canvases-masks",
        "cifar10",
        "cifar100",
        "coco-detection",
        "esc50",
        "fashion-mnist",
        "folder",
        "fsdd",
        "imagenet-1k",
        "imagenet-a",
        "imagenet-r",
        "imagenet-sketch",
        "imagenet-v2",
        "inaturalist-2018",
        "inaturalist-2019",
        "mini-imagenet",
        "mini-imagenet-base",
        "mini-imagenet-novel",
        "mini-imagenet-val",
        "voc-0712-detection",
        "voc-detection",
        "voc-masks",
    ]
    for name in DATASETS.names():
        known = DATASETS.get(name)
        assert known.name == name
        assert len(known.mean) == len(known.std) == known.channels
        assert known.licence
        assert known.origins
        assert known.version


class TestFashion:
    """The IDX reader and the order of origins."""

    def test_reads_gzip_and_plain_files(self, small: SmallFashion, home: Path) -> None:
        train, val = arrays(small.load())
        assert train.images.shape == (60, 1, 28, 28)
        assert train.images.tobytes() == small_files()[IMAGES][16:]
        assert val.labels.tolist() == [index % 10 for index in range(20)]
        for name, content in small_files().items():
            (home / "small-fashion" / f"{name}.gz").unlink()
            (home / name).write_bytes(content)  # directly in $HARNESS_DATA, unpacked
        small.cache_file.unlink()
        assert arrays(small.load())[0].images.tobytes() == train.images.tobytes()

    def test_is_opened_from_the_cache_the_next_time(self, small: SmallFashion, home: Path) -> None:
        before, _ = arrays(small.load())
        (home / "small-fashion" / f"{IMAGES}.gz").unlink()
        after, _ = arrays(small.load())
        assert after.images.tobytes() == before.images.tobytes()
        assert after.labels.tolist() == before.labels.tolist()

    @pytest.mark.parametrize("damage", ["cut", "changed"])
    def test_a_damaged_cache_is_made_again(self, small: SmallFashion, damage: str) -> None:
        before, _ = arrays(small.load())
        content = bytearray(small.cache_file.read_bytes())
        if damage == "changed":
            content[2000] ^= 1
        else:
            content = content[:5000]
        small.cache_file.write_bytes(content)
        assert arrays(small.load())[0].images.tobytes() == before.images.tobytes()
        assert len(small.cache_file.read_bytes()) > 5000

    @pytest.mark.parametrize(
        "change",
        [
            lambda found: found.pop("val_labels"),
            lambda found: found.update(train_labels=found["train_labels"][:-1]),
            lambda found: found.update(train_images=found["train_images"].astype(float)),
            lambda found: found.update(val_images=found["val_images"][:, 0]),
        ],
    )
    def test_a_cache_of_another_form_is_made_again(
        self, small: SmallFashion, change: Callable[[dict[str, NDArray[Any]]], object]
    ) -> None:
        before, _ = arrays(small.load())
        with np.load(small.cache_file) as kept:
            found = dict(kept)
        change(found)
        np.savez(small.cache_file, **found)
        assert arrays(small.load())[0].images.tobytes() == before.images.tobytes()
        np.save(small.cache_file.with_suffix(".npy"), before.images)  # an array, no archive
        small.cache_file.with_suffix(".npy").rename(small.cache_file)
        assert arrays(small.load())[0].images.tobytes() == before.images.tobytes()

    def test_works_without_a_writable_cache(
        self, small: SmallFashion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HARNESS_CACHE", "/proc/nothing")
        assert len(arrays(small.load())[0].labels) == 60

    def test_a_truncated_file(self, small: SmallFashion, home: Path) -> None:
        path = home / "small-fashion" / f"{IMAGES}.gz"
        path.write_bytes(path.read_bytes()[:1000])
        self._fails(small, rf"{path}: truncated or corrupt gzip file .* get it again")

    def test_another_content(self, small: SmallFashion, home: Path) -> None:
        content = bytearray(small_files()[IMAGES])
        content[-1] ^= 1
        path = home / "small-fashion" / f"{IMAGES}.gz"
        path.write_bytes(gzip.compress(bytes(content)))
        self._fails(small, rf"{path}: SHA-256 of its content is \w+..., expected \w+...;")

    def test_another_count(self, small: SmallFashion, home: Path) -> None:
        path = home / "small-fashion" / f"{IMAGES}.gz"
        path.write_bytes(gzip.compress(small_files()["t10k-images-idx3-ubyte"]))
        self._fails(small, r"holds 20 x 28 x 28 bytes, expected 60 x 28 x 28;")

    def test_bytes_missing_inside(self, small: SmallFashion, home: Path) -> None:
        path = home / "small-fashion" / f"{IMAGES}.gz"
        path.write_bytes(gzip.compress(small_files()[IMAGES][:-5]))
        self._fails(small, r"47051 bytes unpacked, expected 47056")

    def test_what_unpacks_to_more_is_not_unpacked(self, small: SmallFashion, home: Path) -> None:
        bomb = gzip.compress(small_files()[IMAGES] + bytes(100_000_000))
        (home / "small-fashion" / f"{IMAGES}.gz").write_bytes(bomb)
        tracemalloc.start()
        try:
            self._fails(small, "more bytes unpacked, expected 47056")
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()

    def test_no_idx_file(self, small: SmallFashion, home: Path) -> None:
        (home / "small-fashion" / f"{IMAGES}.gz").write_bytes(b"<html>not found</html>")
        self._fails(small, r"not an IDX file")

    def test_a_missing_file(self, small: SmallFashion, home: Path) -> None:
        (home / "small-fashion" / f"{IMAGES}.gz").unlink()
        self._fails(small, rf"{IMAGES}.gz: no such file")
        lack = ready(DataConfig(name="small-fashion"))
        assert lack is not None
        assert "small-fashion" in lack

    def test_is_ready_when_the_files_are_there(self, small: SmallFashion) -> None:
        assert ready(DataConfig(name="small-fashion")) is None

    def _fails(self, small: SmallFashion, what: str) -> None:
        """One error that names every origin tried, and the next step."""
        with pytest.raises(DataError, match=what) as error:
            small.load()
        text = str(error.value)
        assert "$HARNESS_DATA/fashion-mnist: " in text
        assert "/usr/share/datasets/fashion-mnist (Debian package dataset-fashion-mnist): " in text
        assert text.endswith("then `harness data verify fashion-mnist`.")


def test_a_failed_download_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    def download() -> None:
        print("Downloading")
        raise RuntimeError("Error downloading x:\nTried there, got:\n<urlopen error timed out>\n")

    with pytest.raises(DataError, match=r"^the download failed \(urlopen error timed out\)$"):
        with_torchvision(download)
    assert capfd.readouterr() == ("", "")


def test_a_machine_without_apt_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="this machine has no apt-get"):
        debian_package("dataset-fashion-mnist", tmp_path)


class SmallCifar(Cifar10):
    """CIFAR-10 with 4 + 2 images of 2 classes."""

    classes, train_images, val_images = 2, 4, 2


class TestCifar:
    """Original files or a folder of images."""

    def test_a_folder_of_images_is_another_version(self, home: Path) -> None:
        known = SmallCifar()
        original = known.version
        assert original == "c58f30108f71"
        assert known.missing() is not None
        counts = {"train/cat": 2, "train/dog": 2, "test/cat": 1, "test/dog": 1}
        write_images(home / "cifar10", counts, size=(32, 32))
        assert known.version.startswith("files-")
        assert known.missing() is None
        train, val = arrays(known.load())
        assert train.images.shape == (4, 3, 32, 32)
        assert val.labels.tolist() == [0, 1]
        assert known.cache_file.name == f"cifar10-{known.version}.npz"

    def test_images_that_change_while_they_are_read_are_not_kept(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counts = {"train/cat": 2, "train/dog": 2, "test/cat": 1, "test/dog": 1}
        write_images(home / "cifar10", counts, size=(32, 32))

        def read(self: SmallCifar, path: Path) -> Splits:
            Image.new("RGB", (32, 32)).save(path / "train/cat/000.png")
            return Cifar10.read(self, path)

        monkeypatch.setattr(SmallCifar, "read", read)
        with pytest.raises(DataError, match="cifar10: the images changed while they were read"):
            SmallCifar().load()
        assert arrays(SmallCifar().load())[0].images.min() == 0  # they are what they were now

    def test_images_of_another_size(self, home: Path) -> None:
        counts = {"train/cat": 2, "train/dog": 2, "test/cat": 1, "test/dog": 1}
        write_images(home / "cifar10", counts, size=(32, 31))
        with pytest.raises(DataError, match=r"000.png: 32 x 31 pixels, expected 32 x 32"):
            SmallCifar().load()

    def test_missing_images(self, home: Path) -> None:
        counts = {"train/cat": 2, "train/dog": 1, "test/cat": 1, "test/dog": 1}
        write_images(home / "cifar10", counts, size=(32, 32))
        with pytest.raises(DataError, match=r"found 3 training images, expected 4; .* train/dog"):
            SmallCifar().load()

    def test_no_pickle_is_read_that_is_not_the_authors(self, home: Path) -> None:
        """Each file's MD5 sum is looked at before any of them is opened."""
        folder = home / "cifar10" / "cifar-10-batches-py"
        folder.mkdir(parents=True)
        for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
            (folder / name).write_bytes(pickle.dumps(_Touch(home / "touched")))
        (folder / "batches.meta").write_bytes(pickle.dumps(_Touch(home / "touched")))
        with pytest.raises(DataError, match="or its MD5 sum is not that of the authors' file"):
            Cifar10().read(home / "cifar10")
        assert not (home / "touched").exists()

    def test_incomplete_original_files(self, home: Path) -> None:
        (home / "cifar10" / "cifar-10-batches-py").mkdir(parents=True)
        with pytest.raises(DataError, match=r"cifar-10-batches-py: incomplete or corrupt"):
            SmallCifar().read(home / "cifar10")


class _Touch:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.mkdir, (str(self.path),)  # type: ignore[return-value]


class SmallImageNet(ImageNet):
    """ImageNet-1k with 2 classes."""

    classes, train_images, val_images = 2, 5, 4


class TestImageNet:
    """Exact layout and counts of the user's copy."""

    RIGHT: ClassVar[dict[str, int]] = {"train/n01": 3, "train/n02": 2, "val/n01": 2, "val/n02": 2}

    def test_the_right_layout(self, home: Path) -> None:
        write_images(home / "imagenet-1k", self.RIGHT)
        known = SmallImageNet()
        assert known.missing() is None
        assert known.class_counts() == (3, 2)
        assert known.load().train.labels.tolist() == [0, 0, 0, 1, 1]

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            (
                {"train/n02": 1},
                "found 4 training images, expected 5; the smallest class is train/n02",
            ),
            ({"val/n02": 1}, "found 3 validation images, expected 4"),
            ({"val/n03": 2}, "train holds 2 classes and val 3; 1 are in one of them only: n03"),
            ({"train/n03": 1, "val/n03": 1}, "found 3 classes, expected 2"),
        ],
    )
    def test_wrong_counts(self, home: Path, change: dict[str, int], what: str) -> None:
        write_images(home / "imagenet-1k", {**self.RIGHT, **change})
        with pytest.raises(DataError, match=what) as error:
            SmallImageNet().load()
        assert str(home / "imagenet-1k") in str(error.value)

    def test_unsorted_validation_images(self, home: Path) -> None:
        write_images(home / "imagenet-1k", {"train/n01": 3, "train/n02": 2, "val": 4})
        with pytest.raises(DataError, match="sort the 4 validation images into one folder per"):
            SmallImageNet().load()

    def test_a_copy_cut_short_is_noticed_without_listing_images(self, home: Path) -> None:
        write_images(home / "imagenet-1k", {"train/n01": 3, "val/n01": 2, "val/n02": 2})
        lack = SmallImageNet().missing()
        assert lack is not None
        assert f"{home / 'imagenet-1k' / 'train'} holds 1 class folders, expected 2" in lack

    def test_without_a_copy(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for set_home, why in ((str(home), "do not exist"), ("", "HARNESS_DATA is not set")):
            monkeypatch.setenv("HARNESS_DATA", set_home)
            with pytest.raises(DataError, match=why):
                ImageNet().load()
            lack = ready(DataConfig(name="imagenet-1k"))
            assert lack is not None
            assert "Put your copy" in lack

    def test_the_real_numbers(self) -> None:
        known = ImageNet()
        assert (known.classes, known.train_images, known.val_images) == (1000, 1_281_167, 50_000)


THREE = ("n01532829", "n01855672", "n01930112")  # one of each part, in order of name


class SmallMini(MiniImageNet):
    """mini-ImageNet with 3 classes of 4 + 2."""

    synsets = THREE
    per_class, per_class_train = 6, 4


class SmallNovel(SmallMini):
    """The part of it with one class."""

    name = "mini-imagenet-novel"
    synsets = THREE[2:]


class TestMiniImageNet:
    """All classes, wherever the few-shot split has put them."""

    @pytest.mark.parametrize("parts", [("", "", ""), ("train/", "val/", "test/")])
    def test_each_class_is_split_by_name(self, home: Path, parts: tuple[str, ...]) -> None:
        folders = [f"{part}{synset}" for part, synset in zip(parts, THREE, strict=True)]
        write_images(home / "mini-imagenet", dict.fromkeys(folders, 6))
        splits = SmallMini().load()
        assert splits.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert splits.val.labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert _names(splits)[:4] == [f"{folders[0]}/00{n}.png" for n in range(4)]
        assert not set(_names(splits)) & {f"{folders[0]}/00{n}.png" for n in (4, 5)}

    def test_a_flat_folder_is_sorted_by_the_names_of_its_images(self, home: Path) -> None:
        write_images(home / "mini-imagenet", {"images": 18})
        for number, path in enumerate(sorted((home / "mini-imagenet/images").iterdir())):
            path.rename(path.with_name(f"{THREE[number % 3]}{number:08}.png"))
        splits = SmallMini().load()
        assert splits.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert _names(splits)[4:8] == [f"images/{THREE[1]}{n:08}.png" for n in (1, 4, 7, 10)]

    def test_a_part_has_its_classes_only(self, home: Path) -> None:
        write_images(home / "mini-imagenet", dict.fromkeys(THREE, 6))
        known = SmallNovel()
        assert known.missing() is None
        splits = known.load()
        assert (known.classes, known.train_images, known.val_images) == (1, 4, 2)
        assert _names(splits) == [f"{THREE[2]}/00{n}.png" for n in range(4)]
        assert "$HARNESS_DATA/mini-imagenet(.zip)" in known.next_step

    def test_another_packaging_is_another_version(self, home: Path) -> None:
        assert SmallMini().version == "100x600-first500"
        write_images(home / "mini-imagenet", dict.fromkeys(THREE, 6))
        write_images(home / "smaller", dict.fromkeys(THREE, 6), size=(8, 8))
        known = SmallMini()
        assert known.version.startswith("files-")
        assert known.version == SmallNovel().version != known.version_at(home / "smaller")

    def test_wrong_counts(self, home: Path) -> None:
        write_images(home / "mini-imagenet", {THREE[0]: 6, THREE[1]: 6})
        with pytest.raises(DataError, match="class n01930112 has 0 images, expected 6; the layout"):
            SmallMini().load()
        write_images(home / "mini-imagenet", {THREE[2]: 5})
        with pytest.raises(DataError, match="class n01930112 has 5 images, expected 6"):
            SmallMini().load()

    def test_classes_that_do_not_belong(self, home: Path) -> None:
        write_images(home / "mini-imagenet", dict.fromkeys([*THREE, "n01440764"], 6))
        with pytest.raises(DataError, match="n01440764 is no class of mini-ImageNet"):
            SmallMini().load()

    def test_the_real_numbers(self) -> None:
        known = MiniImageNet()
        assert (known.classes, known.train_images, known.val_images) == (100, 50_000, 10_000)
        parts = (BaseClasses(), ValidationClasses(), NovelClasses())
        assert [part.classes for part in parts] == [64, 16, 20]
        assert [part.train_images for part in parts] == [32_000, 8_000, 10_000]
        assert len({*BASE, *VALIDATION, *NOVEL}) == 100


class WholeOfThree(ImageNet):
    """ImageNet-1k with the three classes and one that mini-ImageNet has not."""

    classes, train_images, val_images = 4, 40, 4


class CutMini(SmallMini):
    """The lists' images come out of those."""

    whole = WholeOfThree()


class TestMiniImageNetByLists:
    """Nothing but the few-shot split's lists: the images are the user's ImageNet-1k's."""

    NUMBERS: ClassVar[tuple[int, ...]] = (9, 2, 3, 10, 1, 5)

    @pytest.fixture
    def lists(self, home: Path) -> Path:
        classes = (*THREE, "n01440764")
        write_images(home / "imagenet-1k", {f"train/{name}": 10 for name in classes})
        for name in classes:  # numbers with gaps, one and two digits long: 3, 4, ..., 12
            folder = home / "imagenet-1k/train" / name
            for number, path in enumerate(sorted(folder.iterdir()), 3):
                path.rename(path.with_name(f"{name}_{number}.JPEG"))
        write_images(home / "imagenet-1k", {f"val/{name}": 1 for name in classes})
        (home / "mini-imagenet").mkdir()
        for part, name in zip(("train", "val", "test"), THREE, strict=True):
            rows = [f"{name}{number:08}.jpg,{name}" for number in self.NUMBERS]
            text = "\n".join(["filename,label", *rows]) + "\n"
            (home / "mini-imagenet" / f"{part}.csv").write_text(text)
        return home / "mini-imagenet"

    def test_a_number_is_a_place_in_the_class_by_the_images_own_numbers(self, lists: Path) -> None:
        known = CutMini()
        assert known.missing() is None
        splits = known.load()
        first = [f"train/{THREE[0]}/{THREE[0]}_{number}.JPEG" for number in (3, 4, 5, 7)]
        assert _names(splits)[:4] == first
        assert isinstance(splits.val, Files)
        judged = [bytes(name).decode() for name in splits.val.names[:2]]
        assert judged == [f"train/{THREE[0]}/{THREE[0]}_{number}.JPEG" for number in (11, 12)]
        assert splits.val.labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert isinstance(splits.train, Files)
        assert splits.train.image(0).size == (20, 16)

    def test_the_same_images_come_out_of_a_pack(self, lists: Path) -> None:
        before, version = CutMini().load(), CutMini().version
        with pytest.raises(DataError, match="pack that one: `harness data pack imagenet-1k`"):
            pack_set(CutMini(), path=None, shorter_side=None, to=None, tell=Telling())
        for size in (None, 8):
            pack_set(CutMini.whole, path=None, shorter_side=size, to=None, tell=Telling())
            known = CutMini().packed_at(size)
            assert known.version == version + ("" if size is None else "-8px")
            assert known.missing() is None
            after = known.load()
            for old, new in ((before.train, after.train), (before.val, after.val)):
                assert isinstance(old, Files)
                assert isinstance(new, Files)
                assert isinstance(new.tree, Pack)
                assert new.tree.shorter_side == size
                assert new.names.tolist() == old.names.tolist()
                assert new.labels.tolist() == old.labels.tolist()

    def test_the_version_is_of_what_is_chosen(self, lists: Path) -> None:
        before = CutMini().version
        assert before.startswith("lists-")
        rows = (lists / "val.csv").read_text().splitlines()
        (lists / "val.csv").write_text("\n".join([rows[0], *reversed(rows[1:])]))
        assert CutMini().version == before
        (lists / "val.csv").write_text("\n".join(rows).replace("00000001", "00000004"))
        assert CutMini().version != before

    @pytest.mark.parametrize(
        ("old", "new", "what"),
        [
            ("00000001.jpg", "00000000.jpg", r"val.csv:6: .* is not a synset and a number from 1"),
            (",n01855672", ",n01532829", r"val.csv:2: .* is not a synset and a number"),
            (".jpg,n01855672", ".jpg", r"val.csv:2: 'n0185567200000009.jpg' is not a synset"),
            ("00000009", "00000011", r"n01855672: the lists want image 11 .* there are 10"),
            ("00000009", "00000002", "name an image of n01855672 twice"),
            ("n01855672", "n01440764", "n01440764 is no class of mini-ImageNet"),
            ("n0185567200000009.jpg,n01855672\n", "", "n01855672 has 5 images, expected 6"),
        ],
    )
    def test_lists_that_cannot_be_right(self, lists: Path, old: str, new: str, what: str) -> None:
        path = lists / "val.csv"
        path.write_text(path.read_text().replace(old, new))
        with pytest.raises(DataError, match=what):
            CutMini().load()

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: "\ufeff" + text,
            lambda text: text.replace("\n", "\r\n") + "\r\n",
            lambda text: text.replace("n01855672\n", '"n01855672"\n').replace(",n", " , n"),
            lambda text: text.replace("filename,label\n", ""),
            lambda text: "\ufeffFilename,Label\r\n" + text.replace("filename,label\n", ""),
        ],
    )
    def test_what_programs_for_tables_make_of_a_list(
        self, lists: Path, change: Callable[[str], str]
    ) -> None:
        before = CutMini().version
        text = change((lists / "val.csv").read_text())
        (lists / "val.csv").write_bytes(text.encode())
        assert CutMini().version == before

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            ("filename;label\nn0185567200000009.jpg;n01855672\n", "with a comma between them"),
            ("filename\nn0185567200000009.jpg\n", r"val.csv:2: .* then the synset"),
            ("\n\nn0185567200000009.jpg,x\n", r"val.csv:3: 'n0185567200000009.jpg,x' is not"),
            ("n01855672\u0660.jpg,n01855672", r"val.csv:1: "),
            ('"n0185567200000009.jpg,n01855672\n' + "x" * 200_000, r"val.csv: cannot be read \(f"),
        ],
    )
    def test_no_lists(self, lists: Path, content: str, what: str) -> None:
        (lists / "val.csv").write_text(content)
        with pytest.raises(DataError, match=what):
            CutMini().load()

    def test_a_list_that_is_no_file(self, lists: Path) -> None:
        (lists / "val.csv").unlink()
        os.mkfifo(lists / "val.csv")
        with pytest.raises(DataError, match=r"val.csv: cannot be read \(.*no regular file"):
            CutMini().load()
        (lists / "val.csv").unlink()
        (lists / "val.csv").write_text("filename,label\n", encoding="utf-16")
        with pytest.raises(DataError, match=r"val.csv: cannot be read \('utf-8' codec"):
            CutMini().load()

    def test_a_list_or_the_images_are_missing(self, lists: Path) -> None:
        (lists / "test.csv").unlink()
        with pytest.raises(DataError, match=r"test.csv: cannot be read .* all three in one folder"):
            CutMini().load()
        lists.parent.joinpath("imagenet-1k").rename(lists.parent / "elsewhere")
        lack = CutMini().missing()
        assert lack is not None
        assert "imagenet-1k" in lack

    def test_renamed_images_cannot_be_counted(self, lists: Path) -> None:
        path = lists.parent / f"imagenet-1k/train/{THREE[0]}/{THREE[0]}_3.JPEG"
        path.rename(path.with_name("a.JPEG"))
        with pytest.raises(DataError, match="the original names are needed"):
            CutMini().load()

    def test_images_beside_the_lists_come_first(self, lists: Path) -> None:
        write_images(lists, dict.fromkeys(THREE, 6))
        assert _names(CutMini().load())[0] == f"{THREE[0]}/000.png"


def _names(splits: Splits) -> list[str]:
    assert isinstance(splits.train, Files)
    return [bytes(name).decode() for name in splits.train.names]


def test_nothing_is_left_behind_by_a_failed_fetch(small: SmallFashion, home: Path) -> None:
    (home / "small-fashion" / f"{IMAGES}.gz").unlink()
    with pytest.raises(DataError):
        small.load()
    cache = Path(os.environ["HARNESS_CACHE"])
    assert [path.name for path in cache.iterdir()] == [".small-fashion.lock"]


class TestINaturalist:
    """Counts and layout of the user's copy."""

    @pytest.fixture
    def known(self) -> INaturalist:
        return INaturalist(2018, classes=2, train=6, val=4)

    def test_a_whole_copy_is_read(self, known: INaturalist, home: Path) -> None:
        write_images(home / "inaturalist-2018" / "train", {"0001": 4, "0002": 2})
        write_images(home / "inaturalist-2018" / "val", {"0001": 2, "0002": 2})
        assert known.missing() is None
        assert known.class_counts() == (4, 2)

    def test_one_that_is_not_whole_is_refused(self, known: INaturalist, home: Path) -> None:
        write_images(home / "inaturalist-2018" / "train", {"0001": 4, "0002": 1})
        write_images(home / "inaturalist-2018" / "val", {"0001": 2, "0002": 2})
        with pytest.raises(DataError, match="5"):
            known.own()

    def test_the_facts_are_the_competitions(self) -> None:
        for year, facts in ((2018, (8142, 437_513, 24_426)), (2019, (1010, 265_213, 3_030))):
            found = DATASETS.get(f"inaturalist-{year}")
            assert (found.classes, found.train_images, found.val_images) == facts
            assert "2 folders" in found.next_step or "0 folders" in found.next_step
