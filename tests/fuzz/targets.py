"""Sounds, masks and annotations, damaged: what is read beside images."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from harness.data.dataset import Files
from harness.data.masks import paired
from harness.data.sets.coco import CocoDetection
from harness.data.sets.esc50 import read_clips
from harness.data.sets.voc import listed_images, read_annotation
from harness.data.sound import decode
from harness.data.tree import Directory
from tests.fuzz.driver import Case
from tests.fuzz.mutate import damaged

OBJECT = (
    "<object><name>dog</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>"
    "<xmax>30.5</xmax><ymax>20</ymax></bndbox></object>"
)
LINES = ["filename,fold,target,category", "1-100-A-0.wav,1,0,dog", "2-101-B-7.wav,2,7,rain"]
COCO = {
    "categories": [{"id": number} for number in range(1, 81)],
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
    "annotations": [{"image_id": 1, "category_id": 3, "bbox": [0, 1.5, 9, 3], "iscrowd": 0}],
}
SOUNDS = (("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("FLAC", None), ("OGG", None))


class Coco(CocoDetection):
    """With two images a half."""

    train_images = val_images = 2
    objects = {"train": 1, "val": 1}  # noqa: RUF012 - a ClassVar there


def sounds() -> list[bytes]:
    """A whole one of each kind."""
    noise = np.random.default_rng(0).normal(0, 0.1, (900, 2))
    found = []
    for form, subtype in SOUNDS:
        stream = io.BytesIO()
        soundfile.write(stream, noise, 8000, format=form, subtype=subtype)
        found.append(stream.getvalue())
    return found


def masks() -> list[bytes]:
    """Likewise."""
    labels = np.arange(20 * 24, dtype=np.uint8).reshape(20, 24) % 5
    grey, found = Image.fromarray(labels), []
    for image in (grey, grey.convert("P"), grey.convert("1")):
        for form in ("PNG", "TIFF", "BMP", "GIF"):
            stream = io.BytesIO()
            image.save(stream, form)
            found.append(stream.getvalue())
    return found


def cases(draws: random.Random, folder: Path, count: int) -> Iterator[Case]:
    """Each kind in turn."""
    annotation = f"<annotation>{OBJECT * 2}</annotation>".encode()
    whole: dict[str, tuple[list[bytes], Callable[[Path], object]]] = {
        "sound": (sounds(), lambda path: decode(path.read_bytes(), rate=16_000, where="it")),
        "mask": (masks(), _mask),
        "annotation": ([annotation], read_annotation),
        "list": ([b"2007_000001\n2007_000002\n"], listed_images),
        "clips": (
            ["\n".join(LINES).encode()],
            lambda path: read_clips(path.read_bytes(), where=""),
        ),
        "coco": ([json.dumps(COCO).encode()], _coco),
    }
    for number in range(count):
        kind = list(whole)[number % len(whole)]
        contents, read = whole[kind]
        content = draws.choice(contents)
        path = folder / str(number) / "it"
        path.parent.mkdir()
        path.write_bytes(content if draws.random() < 0.1 else damaged(content, draws))
        yield kind, lambda path=path, read=read: read(path)  # type: ignore[misc]


def _mask(path: Path) -> object:
    split = paired(Directory(path.parent), [("it", "it")], channels=3, classes=5, offset=0)
    assert isinstance(split, Files)
    assert split.targets is not None
    return split.targets[0]


def _coco(path: Path) -> object:
    annotations = path.parent / "annotations"
    annotations.mkdir()
    for half in ("train", "val"):
        (annotations / f"instances_{half}2017.json").write_bytes(path.read_bytes())
    return Coco().read(path.parent)
