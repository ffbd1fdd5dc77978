"""Masks in files: which belongs to which image, what their labels mean, and what is wrong with bad
ones.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.data import DATASETS, open_dataset
from harness.data.config import DataConfig
from harness.data.dataset import Files, Splits
from harness.data.masks import MaskFiles
from harness.data.packing import pack_set
from harness.data.picture import UnsupportedPicture, decode_mask
from harness.data.sets.ade20k import Ade20k
from harness.data.sets.voc_masks import VocMasks
from harness.data.targets import check_fit
from harness.data.telling import Telling
from harness.data.verify import verify
from harness.errors import DataError

LABELS = np.array([[0, 1, 2], [150, 255, 7]], np.uint8)


class Scenes(Ade20k):
    """ADE20k with few images."""

    name = "scenes"
    train_images, val_images = 3, 2


def save(path: Path, pixels: NDArray[np.uint8], mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if mode == "P":
        image = Image.frombytes("P", image.size, pixels.tobytes())
        image.putpalette([value for index in range(256) for value in (index, 0, 255 - index)])
    image.save(path)


def scenes(root: Path, top: str = "") -> Path:
    """3 + 2 photographs of 3 x 2 pixels, with palettes in their masks."""
    for folder, count in (("training", 3), ("validation", 2)):
        for number in range(count):
            colour = np.full((2, 3, 3), 40 * number, np.uint8)
            save(root / top / "images" / folder / f"scene_{number}.png", colour)
            name = root / top / "annotations" / folder / f"scene_{number}.png"
            save(name, np.roll(LABELS, number), "P")
    return root


def masks_of(split: object) -> MaskFiles:
    assert isinstance(split, Files)
    assert isinstance(split.targets, MaskFiles)
    return split.targets


@pytest.mark.parametrize("top", ["", "ADEChallengeData2016"])
def test_masks_are_read_as_numbers_of_classes(tmp_path: Path, top: str) -> None:
    splits = Scenes().read(scenes(tmp_path / "scenes", top))
    assert (len(splits.train.labels), len(splits.val.labels)) == (3, 2)
    expected = np.array([[255, 0, 1], [149, 255, 6]], np.uint8)  # 0 is no class, the first is 1
    for number in range(3):
        assert masks_of(splits.train)[number].tolist() == np.roll(expected, number).tolist()
        assert isinstance(splits.train, Files)
        assert np.asarray(splits.train.image(number))[0, 0].tolist() == [40 * number] * 3


def test_a_zip_is_as_its_folder(tmp_path: Path) -> None:
    folder = scenes(tmp_path / "scenes", "ADEChallengeData2016")
    with zipfile.ZipFile(tmp_path / "scenes.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))
    splits = Scenes().read(tmp_path / "scenes.zip")
    assert masks_of(splits.val)[1].tolist() == masks_of(Scenes().read(folder).val)[1].tolist()


def test_a_pack_holds_images_with_their_masks_as_they_came(tmp_path: Path) -> None:
    """A mask that is made smaller, and a JPEG, has other labels."""
    root, to = scenes(tmp_path / "scenes"), tmp_path / "scenes.pack"
    with pytest.raises(DataError, match=r"scenes: `packed` is .* and this one has masks; leave"):
        pack_set(Scenes(), path=root, shorter_side=1, to=to, tell=Telling())
    with pytest.raises(DataError, match="and this one has masks"):
        open_dataset(DataConfig(name="ade20k", packed=256))
    assert not to.exists()
    made = pack_set(Scenes(), path=root, shorter_side=None, to=to, tell=Telling())
    assert made.images == 10  # masks are images too
    for half in ("train", "val"):
        packed, plain = (getattr(Scenes().read(path), half) for path in (to, root))
        for at in range(len(plain.labels)):
            assert np.array_equal(packed.image(at), plain.image(at))
            assert np.array_equal(packed.targets[at], plain.targets[at])


def test_sets_with_annotations_of_their_own_have_no_packs(tmp_path: Path) -> None:
    for name in ("voc-detection", "voc-masks", "coco-detection"):
        with pytest.raises(DataError, match=f"{name} cannot be packed: a pack holds images alone"):
            pack_set(DATASETS.get(name), path=tmp_path, shorter_side=None, to=None, tell=Telling())


def damaged(change: Callable[[Path], None], root: Path) -> Splits:
    change(scenes(root))
    return Scenes().read(root)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("annotations/validation/scene_1.png", r"images/validation/scene_1\.png: has no mask"),
        ("images/validation/scene_0.png", r"annotations/validation/scene_0\.png: has no image"),
    ],
)
def test_half_of_a_pair_is_told(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        damaged(lambda root: (root / name).unlink(), tmp_path / "scenes")


def test_two_images_of_one_name_are_told(tmp_path: Path) -> None:
    def copy(root: Path) -> None:
        name = root / "images" / "training" / "scene_1.png"
        name.with_suffix(".bmp").write_bytes(name.read_bytes())

    with pytest.raises(DataError, match=r"scene_1\.png: scene_1\.bmp beside it has the same name"):
        damaged(copy, tmp_path / "scenes")


def test_other_numbers_of_images_are_told(tmp_path: Path) -> None:
    def remove(root: Path) -> None:
        for folder in ("images", "annotations"):
            (root / folder / "training" / "scene_0.png").unlink()

    with pytest.raises(DataError, match=r"images/training: holds 2 images, expected 3"):
        damaged(remove, tmp_path / "scenes")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"images/training: there is no image"):
        Scenes().read(tmp_path / "empty")


def wrong(tmp_path: Path, write: Callable[[Path], None]) -> DataError:
    """What is said of the mask that `write` puts in the place of a good one."""
    root = scenes(tmp_path / "scenes")
    write(root / "annotations" / "training" / "scene_0.png")
    with pytest.raises(DataError, match=r"scene_0\.png") as told:
        masks_of(Scenes().read(root).train)[0]
    assert "\n" not in str(told.value)
    return told.value


def test_a_label_outside_the_classes_is_told_with_its_place(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[1, 2] = 151
    error = wrong(tmp_path, lambda path: save(path, labels))
    assert "the pixel at 2, 1 has the label 151: classes are 1 to 150, and 0 or 255" in str(error)


def test_masks_that_do_not_hold_labels_are_told(tmp_path: Path) -> None:
    colours = np.zeros((2, 3, 3), np.uint8)
    assert "one byte a pixel" in str(wrong(tmp_path / "a", lambda path: save(path, colours)))
    jpeg = io.BytesIO()
    Image.fromarray(LABELS).save(jpeg, format="JPEG")
    error = wrong(tmp_path / "b", lambda path: path.write_bytes(jpeg.getvalue()))
    assert "does not keep every label" in str(error)
    error = wrong(tmp_path / "c", lambda path: path.write_bytes(path.read_bytes()[:60]))
    assert "cannot be read as an image" in str(error)
    assert "the file is empty" in str(wrong(tmp_path / "d", lambda path: path.write_bytes(b"")))


def test_a_mask_of_another_size_is_told(tmp_path: Path) -> None:
    split = Scenes().read(scenes(tmp_path / "scenes")).train
    assert isinstance(split, Files)
    image = split.image(0)
    check_fit(split, 0, image, masks_of(split)[0], classes=150)
    with pytest.raises(
        DataError, match=r"scene_0\.png: the image has 3 x 2 pixels and its mask 2 x 3"
    ):
        check_fit(split, 0, image, masks_of(split)[0].T, classes=150)


class FewVoc(VocMasks):
    """VOC with few images."""

    train_images, val_images = 2, 1


def voc(root: Path) -> Path:
    """2 + 1 photographs as VOC's archive lays them out, with one that has no mask."""
    year = root / "VOCdevkit" / "VOC2012"
    lists = {"train": ("2007_01", "2007_02"), "val": ("2007_03",)}
    for half, names in lists.items():
        path = year / "ImageSets" / "Segmentation" / f"{half}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names))
    for number in range(1, 5):
        save(year / "JPEGImages" / f"2007_0{number}.jpg", np.zeros((2, 3, 3), np.uint8))
        if number < 4:
            labels = np.array([[0, 20, 255], [number, 0, 0]], np.uint8)
            save(year / "SegmentationClass" / f"2007_0{number}.png", labels, "P")
    return root


def test_voc_is_read_by_its_lists_with_its_own_labels(tmp_path: Path) -> None:
    splits = FewVoc().read(voc(tmp_path))
    assert masks_of(splits.train)[1].tolist() == [[0, 20, 255], [2, 0, 0]]
    assert masks_of(splits.val)[0].tolist() == [[0, 20, 255], [3, 0, 0]]
    assert isinstance(splits.val, Files)
    assert splits.val.image(0).size == (3, 2)


def test_what_voc_lacks_is_told(tmp_path: Path) -> None:
    year = voc(tmp_path) / "VOCdevkit" / "VOC2012"
    (year / "SegmentationClass" / "2007_02.png").unlink()
    with pytest.raises(DataError, match=r"2007_02\.png: is missing, and train\.txt lists 2007_02"):
        FewVoc().read(tmp_path)
    (year / "ImageSets" / "Segmentation" / "train.txt").write_text("2007_01\n")
    with pytest.raises(DataError, match=r"train\.txt: lists 1 images, expected 2"):
        FewVoc().read(tmp_path)
    with pytest.raises(DataError, match="no folder VOC2012"):
        FewVoc().read(tmp_path / "elsewhere")


def test_a_label_beyond_vocs_is_told(tmp_path: Path) -> None:
    year = voc(tmp_path) / "VOCdevkit" / "VOC2012"
    save(year / "SegmentationClass" / "2007_01.png", np.full((2, 3), 21, np.uint8))
    with pytest.raises(DataError, match=r"at 0, 0 has the label 21: classes are 0 to 20 or 255"):
        masks_of(FewVoc().read(tmp_path).train)[0]


def png_of(labels: NDArray[np.uint8], bits: int) -> bytes:
    """A grey PNG of so many bits a pixel, written by hand: Pillow writes 8."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    height, width = labels.shape
    rows = [
        b"\0" + int("".join(f"{v:0{bits}b}" for v in row), 2).to_bytes(width * bits // 8, "big")
        for row in labels.tolist()
    ]
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"".join(rows))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def white_is_zero(labels: NDArray[np.uint8]) -> bytes:
    """A TIFF that says so (tag 262)."""
    stream = io.BytesIO()
    Image.fromarray(labels).save(stream, "TIFF")
    content = bytearray(stream.getvalue())
    first = int.from_bytes(content[4:8], "little")
    for at in range(first + 2, first + 2 + 12 * content[first], 12):
        if int.from_bytes(content[at : at + 2], "little") == 262:
            content[at + 8 : at + 10] = b"\0\0"
    return bytes(content)


FEW = np.arange(4 * 8, dtype=np.uint8).reshape(4, 8) % 4


@pytest.mark.parametrize(
    "content",
    [
        png_of(FEW, 2),
        png_of(FEW, 4),
        b"P5 8 4 3\n" + FEW.tobytes(),
        b"P2 8 4 15\n" + " ".join(map(str, FEW.flatten())).encode(),
        white_is_zero(FEW),
    ],
    ids=["2 bits", "4 bits", "anymap", "anymap as text", "white is 0"],
)
def test_masks_whose_labels_pillow_would_change_are_refused(content: bytes) -> None:
    """It stretches them to 0 to 255, or turns them around: other classes, without a word."""
    with pytest.raises(UnsupportedPicture, match="so labels would change; save it as PNG, 8 bits"):
        decode_mask(content)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "GIF", "PPM"])
def test_masks_of_bytes_are_read_in_every_format(form: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(FEW).save(stream, form)
    assert decode_mask(stream.getvalue()).tolist() == FEW.tolist()
    assert decode_mask(png_of(FEW, 8)).tolist() == FEW.tolist()
    assert decode_mask(b"P2 8 4 255 " + " ".join(map(str, FEW.flatten())).encode())[0, 3] == 3


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (np.full((2, 3), 5, np.uint8), "its mask has the class 5, and they count from 0 to 4"),
        (
            np.array([[5, 0, 0, 1, 1, 0], [-1, 0, 0, 0, 0, 0]], np.float32),
            "one of its boxes has the class 5, and they count from 0 to 4",
        ),
    ],
)
def test_classes_that_the_set_does_not_have_are_told(
    tmp_path: Path, target: NDArray[np.uint8], words: str
) -> None:
    """A box of the class behind the last would teach that there is nothing."""
    split = Scenes().read(scenes(tmp_path / "scenes")).train
    with pytest.raises(DataError, match=rf"scene_0\.png: {words}; get the set again"):
        check_fit(split, 0, split.image(0), target, classes=5)  # type: ignore[union-attr]
    check_fit(split, 0, split.image(0), target, classes=6)  # type: ignore[union-attr]


def test_verify_tells_of_masks_that_know_nothing(tmp_path: Path) -> None:
    root = scenes(tmp_path / "scenes")
    for name in ("training/scene_1.png", "validation/scene_0.png"):
        save(root / "annotations" / name, np.zeros((2, 3), np.uint8))
    found = verify(Scenes(), path=root, everything=True, say=print)
    (line,) = found.remarks
    assert line.startswith("2 images with a mask that knows no pixel: nothing is learned there: ")
    assert line.endswith("images/training/scene_1.png, ...")
