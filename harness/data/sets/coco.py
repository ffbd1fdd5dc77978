"""COCO 2017 with boxes, from the user's own copy."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.data import DATASETS
from harness.data.boxes import COPY_AGAIN, BoxRow, box_row, boxed_files, check_split
from harness.data.dataset import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    DataSet,
    Files,
    Labelling,
    Source,
    Splits,
)
from harness.data.naming import is_file_name, shown
from harness.data.paths import is_file, own_copy
from harness.data.tree import Directory
from harness.errors import DataError


class CocoDetection(DataSet):
    """118,287 + 5,000 photographs with 80 classes of objects (arXiv 1405.0312).

    Classes count from 0 in the order of COCO's own numbers, which have gaps.
    """

    name = "coco-detection"
    title = "COCO 2017 with boxes"
    licence = "Flickr's terms of use; annotations CC BY 4.0"
    classes = 80
    channels = 3
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    train_images, val_images = 118_287, 5_000
    objects: ClassVar[Mapping[str, int]] = {"train": 860_001, "val": 36_781}  # crowds counted
    size = None
    in_memory = False
    labelling: Labelling = "boxes"
    version = "coco2017"
    next_step = (
        "Put train2017/, val2017/ and annotations/ (with instances_train2017.json and "
        "instances_val2017.json) into $HARNESS_DATA/coco; "
        "then `harness data verify coco-detection`."
    )

    @property
    def origins(self) -> tuple[Source, ...]:
        """The user's copy."""
        return (
            Source(
                label="$HARNESS_DATA/coco",
                read=lambda: self.read(self._own()),
                here=lambda: any(is_file(_annotations(place, "val")) for place in self._places()),
            ),
        )

    def _places(self) -> Sequence[Path]:
        return own_copy("coco")

    def _own(self) -> Path:
        places = self._places()
        if not places:
            raise DataError("HARNESS_DATA is not set")
        whole = [place for place in places if is_file(_annotations(place, "val"))]
        return (*whole, places[0])[0]

    def read(self, path: Path) -> Splits:
        """The copy at `path`; its annotations are read, and counted."""
        halves = {"train": self.train_images, "val": self.val_images}
        found = {half: self._half(path, half, images) for half, images in halves.items()}
        return Splits(train=found["train"], val=found["val"])

    def _half(self, path: Path, half: str, images: int) -> Files:
        source = _annotations(path, half)
        content = _read(source)
        labels = _labels(content, source, self.classes)
        names: dict[int, str] = {}
        for at, one in enumerate(_entries(content, "images", source)):
            where = f"{shown(source)}: images[{at}]"
            name = _field(one, "file_name", str, where)
            if not is_file_name(name):
                raise DataError(f"{where}: `file_name` is no name of a file; {COPY_AGAIN}")
            names[_field(one, "id", int, where)] = name
        if len(set(names.values())) < len(names):
            twice = Counter(names.values()).most_common(1)[0][0]
            raise DataError(f"{shown(source)}: {shown(twice)} is several images; {COPY_AGAIN}")
        boxes: dict[int, list[BoxRow]] = {number: [] for number in names}
        for at, one in enumerate(_entries(content, "annotations", source)):
            where = f"{shown(source)}: annotations[{at}]"
            image = _field(one, "image_id", int, where)
            if image not in boxes:
                raise DataError(f"{where}: there is no image {image}; {COPY_AGAIN}")
            boxes[image].append(_row(one, labels, where))
        files = boxed_files(
            Directory(path),
            [f"{half}2017/{names[number]}" for number in sorted(names)],
            [boxes[number] for number in sorted(names)],
        )
        objects = self.objects[half]
        check_split(files, where=source, half=half, images=images, objects=objects, crowds=True)
        return files


def _annotations(path: Path, half: str) -> Path:
    return path / "annotations" / f"instances_{half}2017.json"


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read: {error.strerror}; {COPY_AGAIN}") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{shown(path)}:{error.lineno}:{error.colno}: no JSON ({error.msg}); {COPY_AGAIN}"
        ) from error
    except (ValueError, RecursionError) as error:  # bytes, or a number of thousands of digits
        raise DataError(f"{shown(path)}: no JSON ({error}); {COPY_AGAIN}") from error


def _entries(content: Any, key: str, path: Path) -> Sequence[Any]:
    entries = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(entries, list):
        raise DataError(f"{shown(path)}: has no list `{key}`; {COPY_AGAIN}")
    return entries


def _field(one: Any, key: str, kind: type, where: str) -> Any:
    value = one.get(key) if isinstance(one, Mapping) else None
    if not isinstance(value, kind):
        raise DataError(f"{where}: has no `{key}`; {COPY_AGAIN}")
    return value


def _labels(content: Any, path: Path, classes: int) -> dict[int, int]:
    numbers = sorted(
        _field(one, "id", int, f"{shown(path)}: categories[{at}]")
        for at, one in enumerate(_entries(content, "categories", path))
    )
    if len(set(numbers)) != classes:
        raise DataError(
            f"{shown(path)}: holds {len(set(numbers))} categories, expected {classes}; {COPY_AGAIN}"
        )
    return {number: label for label, number in enumerate(numbers)}


def _row(one: Any, labels: Mapping[int, int], where: str) -> BoxRow:
    category = _field(one, "category_id", int, where)
    if category not in labels:
        raise DataError(f"{where}: there is no category {category}; {COPY_AGAIN}")
    box = _field(one, "bbox", list, where)
    if len(box) != 4 or not all(isinstance(number, int | float) for number in box):
        raise DataError(f"{where}: `bbox` is not four numbers; {COPY_AGAIN}")
    try:
        left, top, wide, tall = map(float, box)
    except OverflowError:  # a whole number, which may have any length
        raise DataError(f"{where}: `bbox` is beyond all pictures; {COPY_AGAIN}") from None
    crowd = one.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise DataError(f"{where}: `iscrowd` must be 0 or 1, got {ascii(crowd)[:40]}; {COPY_AGAIN}")
    edges = (left, top, left + wide, top + tall)
    return box_row(labels[category], edges, crowd=bool(crowd), where=where)


DATASETS.register("coco-detection")(CocoDetection())
