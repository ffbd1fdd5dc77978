"""Pascal VOC and COCO in their own layouts, and what is said of damaged ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import VOCDetection

from harness.data import DATASETS
from harness.data.dataset import Files, Splits
from harness.data.sets.coco import CocoDetection
from harness.data.sets.voc import CLASSES, VocDetection
from harness.data.verify import verify
from harness.errors import DataError
from harness.train.config import Augment
from tests.data.conftest import opened

OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)
ANNOTATIONS = {
    "a": [("dog", 0, 1, 1, 20, 10), ("person", 1, 5, 5, 40, 30)],
    "b": [("tvmonitor", 0, 3, 4, 12, 30)],
    "c": [("dog", 0, 1, 1, 40, 30)],
}


class SmallVoc(VocDetection):
    """Two images to train on, one to judge."""

    name = "small-voc"
    train_images, val_images = 2, 1
    objects: ClassVar[tuple[int, int]] = (2, 1)


class SmallCoco(CocoDetection):
    """Likewise."""

    name = "small-coco"
    classes = 2
    train_images, val_images = 2, 1
    objects: ClassVar[Mapping[str, int]] = {"train": 3, "val": 1}


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def voc(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder VOC2012 in $HARNESS_DATA/voc/VOCdevkit."""
    folder = home / "voc" / "VOCdevkit" / "VOC2012"
    for part in ("Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for name, objects in ANNOTATIONS.items():
        picture(folder / "JPEGImages" / f"{name}.jpg")
        text = "".join(OBJECT.format(*one) for one in objects)
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")
    (folder / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
    (folder / "ImageSets" / "Main" / "val.txt").write_text("c\n")
    DATASETS.names()
    monkeypatch.setitem(DATASETS._items, "small-voc", SmallVoc())
    return folder


def coco_content(names: list[str], boxes: list[tuple[int, int, list[float], int]]) -> Any:
    return {
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}],
        "images": [{"id": 10 + at, "file_name": name} for at, name in enumerate(names)],
        "annotations": [
            {"image_id": image, "category_id": label, "bbox": box, "iscrowd": crowd}
            for image, label, box, crowd in boxes
        ],
    }


@pytest.fixture
def coco(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder $HARNESS_DATA/coco."""
    folder = home / "coco"
    for name in ("train2017/a.jpg", "train2017/b.jpg", "val2017/c.jpg"):
        picture(folder / name)
    (folder / "annotations").mkdir()
    train = coco_content(
        ["b.jpg", "a.jpg"],
        [(10, 90, [1, 2, 10, 20.5], 0), (10, 3, [0, 0, 40, 30], 1), (10, 3, [5, 5, 5, 5], 0)],
    )
    val = coco_content(["c.jpg"], [(10, 3, [0, 0, 4, 4], 0)])
    for half, content in (("train", train), ("val", val)):
        write_coco(folder, half, content)
    monkeypatch.setitem(DATASETS._items, "small-coco", SmallCoco())
    return folder


def write_coco(folder: Path, half: str, content: Any) -> None:
    (folder / "annotations" / f"instances_{half}2017.json").write_text(json.dumps(content))


def files(splits: Splits) -> tuple[Files, Files]:
    assert isinstance(splits.train, Files)
    assert isinstance(splits.val, Files)
    return splits.train, splits.val


def test_voc_is_read_as_torchvision_reads_it(voc: Path) -> None:
    dataset = SmallVoc()
    assert dataset.missing() is None
    halves = files(dataset.load())
    for half, name in zip(halves, ("train", "val"), strict=True):
        theirs = VOCDetection(str(voc.parents[1]), year="2012", image_set=name)
        assert len(theirs) == len(half.labels)
        for index, (image, about) in enumerate(theirs):
            assert np.array_equal(np.asarray(half.image(index)), np.asarray(image))
            assert half.targets is not None
            expected = [
                [
                    CLASSES.index(one["name"]),
                    int(one["bndbox"]["xmin"]) - 1,
                    int(one["bndbox"]["ymin"]) - 1,
                    int(one["bndbox"]["xmax"]),
                    int(one["bndbox"]["ymax"]),
                    int(one["difficult"]),
                ]
                for one in about["annotation"]["object"]
            ]
            assert half.targets[index].tolist() == expected


def test_voc_makes_batches(voc: Path) -> None:
    module = opened(Augment(crop="none", flip=0), "small-voc", size=80, batch=2)
    images, boxes = next(module.val(4))
    assert images.shape == (1, 3, 80, 80)  # 40 x 30 pixels, twice as large, grey below
    assert images[:, :, 60:].abs().max() < 0.02
    assert boxes.tolist() == [[[CLASSES.index("dog"), 0.5, 0.375, 1.0, 0.75, 0.0]]]


def test_coco_counts_classes_in_the_order_of_its_numbers(coco: Path) -> None:
    train, val = files(SmallCoco().load())
    assert [train.path(index).rpartition("/")[2] for index in range(2)] == ["b.jpg", "a.jpg"]
    assert train.targets is not None
    assert val.targets is not None
    assert train.targets[0].tolist() == [
        [1, 1, 2, 11, 22.5, 0],
        [0, 0, 0, 40, 30, 1],
        [0, 5, 5, 10, 10, 0],
    ]
    assert train.targets[1].shape == (0, 6)
    assert val.targets[0].tolist() == [[0, 0, 0, 4, 4, 0]]


def in_xml(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "Annotations" / "a.xml"
        path.write_text(path.read_text().replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (in_xml("</object>", ""), r"a\.xml:1:\d+: no XML \(mismatched tag"),
        (in_xml(">dog<", ">dgo<"), "a.xml: object 1: .*'dgo'.*dog"),
        (in_xml("<xmin>1<", "<xmin>one<"), "object 1: bndbox/xmin is 'one', no number"),
        (
            in_xml("<annotation>", '<?xml version="1.0" encoding="gbk"?><annotation>'),
            "no XML .*multi-b",
        ),
        (
            in_xml("<annotation>", '<?xml version="1.0" encoding="x"?><annotation>'),
            "no XML .*unknown",
        ),
        (in_xml("<xmax>20<", "<xmax>1e300<"), "are 0, 0, 1e.300, 10, which is no box"),
        (in_xml("<xmin>1<", "<xmin>nan<"), "object 1: left, top, right and bottom are nan, 0, 20"),
        (in_xml("<ymin>1</ymin>", ""), "object 1: bndbox/ymin is missing"),
        (in_xml("<xmax>20<", "<xmax>-3<"), "object 1: left, top.* 0, 0, -3, 10, which is no box"),
        (in_xml("<difficult>0", "<difficult>1"), "2012 train holds 2 images with 1 object, expec"),
        (lambda f: (f / "Annotations" / "b.xml").unlink(), "b.xml: cannot be read: No such file"),
        (lambda f: (f / "ImageSets/Main/val.txt").unlink(), "val.txt: cannot be read"),
        (
            lambda f: (f / "ImageSets/Main/val.txt").write_text("c 1\n"),
            r"val.txt:1: 'c 1' is no na",
        ),
        (
            lambda f: (f / "ImageSets/Main/val.txt").write_text("\nc\0\n"),
            r"val.txt:2: 'c.x00' is no name of an image",
        ),
        (
            lambda f: (f / "ImageSets/Main/val.txt").write_text("..\n"),
            r"val.txt:1: '..' is no name of an image",
        ),
        (
            lambda f: (f / "ImageSets/Main/train.txt").write_text("a\n\nb\na\n"),
            "train.txt:4: a is listed in line 1 too",
        ),
        (
            lambda f: (f / "ImageSets/Main/train.txt").write_text("a\n"),
            "train holds 1 image with 1",
        ),
    ],
)
def test_damaged_voc_is_named(voc: Path, change: Callable[[Path], None], words: str) -> None:
    change(voc)
    with pytest.raises(DataError, match=words):
        SmallVoc().read(voc.parent)


def test_without_a_copy_the_next_step_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    with pytest.raises(DataError) as raised:
        SmallVoc().load()
    assert "no folder VOC2012" in str(raised.value)
    assert "HARNESS_OFFLINE forbids downloads\nPut VOC2012/ of the" in str(raised.value)
    assert "Put train2017/" in (DATASETS.get("coco-detection").missing() or "")


def in_coco(part: str, **values: Any) -> Callable[[Any], None]:
    return lambda content: content[part][0].update(values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (in_coco("annotations", image_id=77), r"annotations\[0\]: there is no image 77"),
        (in_coco("annotations", category_id=5), r"annotations\[0\]: there is no category 5"),
        (in_coco("annotations", bbox=[1, 2, 3]), r"annotations\[0\]: `bbox` is not four numbers"),
        (in_coco("annotations", bbox=[1, 2, -3, 4]), "1, 2, -2, 6, which is no box"),
        (in_coco("images", file_name=None), r"images\[0\]: has no `file_name`"),
        (
            in_coco("annotations", bbox=[10**400, 0, 1, 1]),
            r"annotations\[0\]: `bbox` is beyond all",
        ),
        (in_coco("annotations", bbox=[0, 0, 1e300, 1]), r"annotations\[0\].*which is no box"),
        (
            in_coco("annotations", iscrowd="0"),
            r"annotations\[0\]: `iscrowd` must be 0 or 1, got '0'",
        ),
        (in_coco("images", file_name="a\0.jpg"), r"images\[0\]: `file_name` is no name of a file"),
        (in_coco("images", file_name="a\ud800.jpg"), r"images\[0\]: `file_name` is no name"),
        (in_coco("images", file_name="../val2017/c.jpg"), r"images\[0\]: `file_name` is no name"),
        (in_coco("images", file_name="a.jpg"), r"train2017.json: a.jpg is several images"),
        (lambda content: content.pop("images"), "has no list `images`"),
        (lambda content: content["categories"].pop(), "holds 1 categories, expected 2"),
        (lambda content: content["annotations"].pop(), "train holds 2 images with 2 objects, exp"),
    ],
)
def test_damaged_coco_is_named(coco: Path, change: Callable[[Any], None], words: str) -> None:
    path = coco / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    change(content)
    write_coco(coco, "train", content)
    with pytest.raises(DataError, match=words):
        SmallCoco().read(coco)


def test_a_number_of_thousands_of_digits_is_told(coco: Path) -> None:
    path = coco / "annotations" / "instances_train2017.json"
    path.write_text('{"images": [' + "1" * 5000 + "]}")
    with pytest.raises(DataError, match=r"instances_train2017.json: no JSON \(Exceeds the limit"):
        SmallCoco().read(coco)


def test_a_list_with_a_mark_of_its_coding_is_read(voc: Path) -> None:
    (voc / "ImageSets/Main/val.txt").write_text("\ufeffc\r\n", encoding="utf-8")
    assert len(SmallVoc().read(voc.parent).val.labels) == 1


def test_json_that_is_none_is_named_with_its_place(coco: Path) -> None:
    path = coco / "annotations" / "instances_train2017.json"
    path.write_text('{"images":\n [,]}')
    with pytest.raises(DataError, match=r"instances_train2017.json:2:3: no JSON"):
        SmallCoco().read(coco)


def test_boxes_beyond_their_image_are_an_error(voc: Path) -> None:
    Image.new("RGB", (20, 15)).save(voc / "JPEGImages" / "c.jpg")  # made smaller by somebody
    module = opened(Augment(crop="none", flip=0), "small-voc", size=32, batch=2, crop=1.0)
    with pytest.raises(DataError, match=r"c.jpg: its boxes reach from 0, 0 to 40, 30, the image"):
        next(module.val(4))


def test_verify_notices_boxes_beyond_their_image(voc: Path) -> None:
    assert verify(SmallVoc(), path=None, everything=True, say=print).decoded == 3
    Image.new("RGB", (20, 15)).save(voc / "JPEGImages" / "c.jpg")
    with pytest.raises(DataError, match=r"c.jpg: its boxes reach from 0, 0 to 40, 30, the image"):
        verify(SmallVoc(), path=None, everything=True, say=print)
