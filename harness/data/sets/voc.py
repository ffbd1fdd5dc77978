"""Pascal VOC with boxes: the user's copy, or the authors' archives through torchvision."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

from harness.data import DATASETS
from harness.data.boxes import COPY_AGAIN, BoxRow, box_row, boxed_files, check_split
from harness.data.cache import only_one, scratch
from harness.data.dataset import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    DataSet,
    Files,
    Labelling,
    Source,
    Splits,
)
from harness.data.fetch import with_torchvision
from harness.data.naming import is_file_name, shown
from harness.data.paths import cache_dir, is_folder, own_copy
from harness.data.telling import Telling
from harness.data.tree import Directory
from harness.errors import DataError, unknown

Part = tuple[str, str]  # year and list of images: 2012, train
CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
DEVKIT = "VOCdevkit"
EDGES = ("xmin", "ymin", "xmax", "ymax")


class VocDetection(DataSet):
    """Photographs of 20 classes of objects (Everingham et al. 2010), 2012's train and val.

    Objects that their authors call difficult are crowds here: nobody learns from them, and what is
    found there counts nowhere.
    """

    name = "voc-detection"
    title = "Pascal VOC 2012 with boxes, train and val"
    licence = "Flickr's terms of use"
    classes = 20
    channels = 3
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    train_images, val_images = 5_717, 5_823
    objects: ClassVar[tuple[int, int]] = (13_609, 13_841)  # that are not difficult
    size = None
    in_memory = False
    labelling: Labelling = "boxes"
    version = "voc2012-train-val"
    train_parts: ClassVar[Sequence[Part]] = (("2012", "train"),)
    val_parts: ClassVar[Sequence[Part]] = (("2012", "val"),)
    archive = 2_000_000_000  # bytes, about

    @property
    def next_step(self) -> str:  # type: ignore[override]
        """Where to put a copy."""
        years = " and ".join(f"VOC{year}/" for year in self._years)
        return (
            f"Put {years} of the authors' archives, or the folder {DEVKIT}/ around them, into "
            f"$HARNESS_DATA/voc; then `harness data verify {self.name}`."
        )

    @property
    def _years(self) -> list[str]:
        return sorted({year for year, _ in (*self.train_parts, *self.val_parts)})

    @property
    def origins(self) -> tuple[Source, ...]:
        """The user's copy, what was downloaded before, torchvision's download."""
        return (
            Source(
                label="$HARNESS_DATA/voc",
                read=lambda: self.read(self._own()),
                here=lambda: self._devkit(own_copy("voc")) is not None,
            ),
            Source(
                label=f"{self._kept} (downloaded)",
                read=lambda: self.read(self._kept),
                here=lambda: os.path.isdir(self._kept),
            ),
            Source(
                label="the authors' server, through torchvision",
                read=self._downloaded,
                size=self.archive,
            ),
        )

    @property
    def _kept(self) -> Path:
        return cache_dir() / self.version

    def _devkit(self, places: Sequence[Path]) -> Path | None:
        """The first folder that holds all years."""
        folders = [folder for place in places for folder in (place, place / DEVKIT)]
        whole = (f for f in folders if all(is_folder(f / f"VOC{year}") for year in self._years))
        return next(whole, None)

    def _own(self) -> Path:
        places = own_copy("voc")
        if not places:
            raise DataError("HARNESS_DATA is not set")
        devkit = self._devkit(places)
        if devkit is None:
            raise DataError(f"{' and '.join(map(shown, places))}: {self._lacking}")
        return devkit

    @property
    def _lacking(self) -> str:
        return f"no folder {' and '.join(f'VOC{year}' for year in self._years)}"

    def devkit(self, path: Path) -> Path:
        """The folder at or below `path` that holds all years; DataError where there is none."""
        found = self._devkit((path,))
        if found is None:
            raise DataError(f"{shown(path)}: {self._lacking}; {self.next_step}")
        return found

    def _downloaded(self) -> Splits:
        with only_one(self.version, Telling()):
            if not os.path.isdir(self._kept):
                with scratch(self.name) as folder:
                    for year, half in (*self.train_parts, *self.val_parts):
                        _download(folder, year, half)
                    os.replace(folder / DEVKIT, self._kept)
        return self.read(self._kept)

    def read(self, path: Path) -> Splits:
        """The copy at `path`, which holds the folders of the years; its lists and annotations are
        read, and counted.
        """
        devkit = self.devkit(path)
        halves = (self.train_parts, self.train_images), (self.val_parts, self.val_images)
        found = []
        for (parts, images), objects in zip(halves, self.objects, strict=True):
            files = self._half(devkit, parts)
            half = " and ".join(f"{year} {which}" for year, which in parts)
            check_split(
                files, where=devkit, half=half, images=images, objects=objects, crowds=False
            )
            found.append(files)
        return Splits(train=found[0], val=found[1])

    def _half(self, devkit: Path, parts: Sequence[Part]) -> Files:
        names, boxes = [], []
        for year, half in parts:
            folder = devkit / f"VOC{year}"
            for name in listed_images(folder / "ImageSets" / "Main" / f"{half}.txt"):
                names.append(f"VOC{year}/JPEGImages/{name}.jpg")
                boxes.append(read_annotation(folder / "Annotations" / f"{name}.xml"))
        return boxed_files(Directory(devkit), names, boxes)


class Voc0712Detection(VocDetection):
    """2007's and 2012's trainval to train on, 2007's test to judge: as most detectors are told."""

    name = "voc-0712-detection"
    title = "Pascal VOC 2007 and 2012 with boxes, trainval and 2007's test"
    train_images, val_images = 16_551, 4_952
    objects: ClassVar[tuple[int, int]] = (40_058, 12_032)
    version = "voc0712-trainval-test"
    train_parts: ClassVar[Sequence[Part]] = (("2007", "trainval"), ("2012", "trainval"))
    val_parts: ClassVar[Sequence[Part]] = (("2007", "test"),)
    archive = 2_900_000_000


def _download(folder: Path, year: str, half: str) -> None:
    from torchvision.datasets import VOCDetection

    if half != "test" and (folder / DEVKIT / f"VOC{year}").is_dir():
        return  # one archive holds all lists but 2007's test
    with_torchvision(lambda: VOCDetection(str(folder), year=year, image_set=half, download=True))
    for archive in folder.glob("*.tar"):
        archive.unlink()


def listed_images(path: Path) -> list[str]:
    """The names of a list of images, one a line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{shown(path)}: cannot be read ({error}); {COPY_AGAIN}") from error
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name:
            continue
        where = f"{shown(path)}:{number}"
        if not is_file_name(name) or " " in name:
            raise DataError(f"{where}: '{shown(name)[:40]}' is no name of an image; {COPY_AGAIN}")
        if name in found:
            raise DataError(
                f"{where}: {shown(name)} is listed in line {found[name]} too; {COPY_AGAIN}"
            )
        found[name] = number
    return list(found)


def read_annotation(path: Path) -> list[BoxRow]:
    """The objects of one image; DataError, with the place, where it is not as VOC's are.

    VOC counts pixels from 1, and the last one is part of the box.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read: {error.strerror}; {COPY_AGAIN}") from error
    except ElementTree.ParseError as error:
        line, column = error.position
        raise DataError(
            f"{shown(path)}:{line}:{column + 1}: no XML ({error.msg}); {COPY_AGAIN}"
        ) from error
    except (ValueError, LookupError) as error:  # of the encoding that it names
        raise DataError(f"{shown(path)}:1:1: no XML ({error}); {COPY_AGAIN}") from error
    rows = []
    for number, one in enumerate(root.findall("object"), 1):
        where = f"{shown(path)}: object {number}"
        name = (one.findtext("name") or "").strip()
        if name not in CLASSES:
            raise DataError(f"{where}: {unknown('class', name, list(CLASSES))}")
        left, top, right, bottom = (_number(one, f"bndbox/{edge}", where) for edge in EDGES)
        difficult = (one.findtext("difficult") or "0").strip() == "1"
        edges = (left - 1, top - 1, right, bottom)
        rows.append(box_row(CLASSES.index(name), edges, crowd=difficult, where=where))
    return rows


def _number(one: ElementTree.Element, path: str, where: str) -> float:
    text = one.findtext(path)
    try:
        return float(text or "")
    except ValueError:
        what = "is missing" if text is None else f"is '{shown(text)[:40]}', no number"
        raise DataError(f"{where}: {path} {what}; {COPY_AGAIN}") from None


DATASETS.register("voc-detection")(VocDetection())
DATASETS.register("voc-0712-detection")(Voc0712Detection())
