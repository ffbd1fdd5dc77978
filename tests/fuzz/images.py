"""Image files of every format that is read, and small zips of them, damaged."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from harness.data.layout import read_layout
from harness.data.tree import open_tree
from tests.fuzz.driver import Case
from tests.fuzz.mutate import damaged

ZIPS = 10  # one case in so many
KINDS = (
    *(("png", mode, {}) for mode in ("RGB", "L", "P", "RGBA", "1", "I;16")),
    *(("jpg", mode, {}) for mode in ("RGB", "L", "CMYK")),
    ("jpg", "RGB", {"progressive": True}),
    ("webp", "RGB", {}),
    ("webp", "RGBA", {"lossless": True}),
    *(("bmp", mode, {}) for mode in ("RGB", "L", "P", "1")),
    *(("tif", "RGB", {"compression": how}) for how in ("raw", "tiff_lzw", "tiff_deflate", "jpeg")),
    ("tif", "F", {}),
    ("gif", "P", {}),
    ("gif", "P", {"frames": 3}),
    ("ppm", "RGB", {}),
    ("pgm", "L", {}),
)
FORMATS = {"jpg": "JPEG", "tif": "TIFF", "pgm": "PPM"}


def pictures() -> list[tuple[str, bytes]]:
    """(suffix, content) of a whole image of each kind."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    found = []
    for suffix, mode, options in KINDS:
        image = Image.fromarray(pixels)
        deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        image = deep if mode == "I;16" else image.convert(mode)
        more: dict[str, object] = dict(options)
        if "frames" in more:
            more = {"save_all": True, "append_images": [image.rotate(90)] * more.pop("frames")}  # type: ignore[operator]
        stream = io.BytesIO()
        image.save(stream, FORMATS.get(suffix, suffix.upper()), **more)
        found.append((suffix, stream.getvalue()))
    return found


def cases(draws: random.Random, folder: Path, count: int) -> Iterator[Case]:
    """Nine in ten single files, now and then under another's suffix, and one in ten a zip."""
    whole = pictures()
    for number in range(count):
        suffix, content = draws.choice(whole)
        if number % ZIPS == ZIPS - 1:
            path = folder / f"{number}.zip"
            path.write_bytes(_zip(whole, draws))
            yield f"zip {number}", lambda path=path: _look(path)  # type: ignore[misc]
            continue
        named = draws.choice(whole)[0] if draws.random() < 0.1 else suffix
        root = folder / str(number)
        root.mkdir()
        (root / f"image.{named}").write_bytes(damaged(content, draws))
        name, channels = f"image.{named}", draws.choice((1, 3))
        yield (
            f"{suffix} as .{named}, {channels} channels",
            lambda root=root, name=name, channels=channels: (  # type: ignore[misc]
                open_tree(root).image(name, channels=channels).getpixel((0, 0))
            ),
        )


def _zip(whole: list[tuple[str, bytes]], draws: random.Random) -> bytes:
    """Two classes for training and judging, and damage somewhere in the archive."""
    stream = io.BytesIO()
    how = draws.choice(
        (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    with zipfile.ZipFile(stream, "w", how) as archive:
        for part in ("train", "val"):
            for name in ("cat", "dog"):
                suffix, content = draws.choice(whole)
                archive.writestr(f"{part}/{name}/a.{suffix}", content)
    content = stream.getvalue()
    directory = content.rfind(b"PK\x05\x06") - 240
    if draws.random() < 0.5:  # among the entries at its end, which tell where all else lies
        return content[:directory] + damaged(content[directory:], draws)
    return damaged(content, draws)


def _look(path: Path) -> None:
    tree = open_tree(path)
    layout = read_layout(tree, val="wanted")
    for name in (name for group in (*layout.train, *layout.val) for name in group):
        tree.stamp(name)
        tree.image(name, channels=3)
