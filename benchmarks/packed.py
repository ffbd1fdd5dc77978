"""Images out of a folder, a pack of it, and a pack of smaller ones: CPU time an image.

    python benchmarks/packed.py [--images 400] [--turns 5] [--csv FILE]

JPEGs of 500 x 375 px (generated textures), about the size of ImageNet's, go through the DeiT
recipe, through DINO's multi-crop and through evaluation, in one process of one thread. The three
take turns, so that a drifting machine slows all alike. The pack of the files as they are must give
the same batches; it spares the system's work of opening files, and the listing of the folder. The
pack with shorter sides of 256 px has other pixels, and is decoded faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from input_pipeline import CROPS, DEIT
from options import show_turns, spread
from PIL import Image

from harness.data import open_dataset
from harness.data.config import DataConfig
from harness.data.module import DataModule, open_data
from harness.data.packing import write_pack
from harness.data.telling import Telling
from harness.data.tree import open_tree
from harness.train.config import Augment

SIZE = (500, 375)
SIDE = 256
RECIPES = {"DeiT": DEIT, "multi-crop": Augment(), "evaluation": Augment()}


def photographs(root: Path, images: int) -> None:
    """JPEGs about as detailed as photographs, in two classes."""
    draws = np.random.default_rng(0)
    shares = {4: 0.35, 8: 0.25, 16: 0.15, 32: 0.12, 64: 0.08, 256: 0.05}
    for half, count in (("train", images), ("val", images)):
        for number in range(count):
            mixed = np.zeros((*SIZE[::-1], 3))
            for side, share in shares.items():
                noise = Image.fromarray(draws.integers(0, 256, (side, side, 3), dtype=np.uint8))
                mixed += share * np.asarray(noise.resize(SIZE, Image.Resampling.BICUBIC))
            mixed = 128 + 2 * (mixed - mixed.mean())
            folder = root / half / f"class{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
            image.save(folder / f"{number:05}.jpg", quality=90)


def batches(recipe: str, data: DataConfig, batch: int) -> Iterator[Any]:
    """Without end."""
    module = _module(RECIPES[recipe], data, batch)
    if recipe == "DeiT":
        yield from module.train()
    if recipe == "multi-crop":
        yield from module.train_crops(CROPS)
    while True:
        yield from module.val(batch)


def _module(augment: Augment, data: DataConfig, batch: int) -> DataModule:
    return open_data(
        data,
        augment,
        image_size=224,
        batch_size=batch,
        eval_crop=0.875,
        seed=0,
        device=torch.device("cpu"),
        workers=0,
    )


def measure(sides: dict[str, DataConfig], arguments: argparse.Namespace) -> pd.DataFrame:
    """A line for each recipe and side: min, median and max, and the median ratio of the turns."""
    batch, lines = arguments.batch, []
    for recipe in RECIPES:
        running = {name: batches(recipe, data, batch) for name, data in sides.items()}
        first = {name: next(side) for name, side in running.items()}
        assert _equal(first["folder"], first["pack"]), "a pack gives other batches than its folder"
        found: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(arguments.turns):
            for name, side in running.items():
                begin = time.process_time()
                for _ in range(arguments.batches):
                    next(side)
                taken = time.process_time() - begin
                found[name].append(1000 * taken / (arguments.batches * batch))
        lines += _lines(recipe, found, sides)
    opened: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(arguments.turns):
        for name, data in sides.items():
            begin = time.process_time()
            open_dataset(data).load(Telling(StringIO()))
            opened[name].append(1000 * (time.process_time() - begin))
    lines += _lines(f"opening {2 * arguments.images} images", opened, sides)
    return pd.DataFrame(lines)


def _lines(
    what: str, found: dict[str, list[float]], sides: dict[str, DataConfig]
) -> list[dict[str, str]]:
    lines = []
    for name in sides:
        faster = [a / b for a, b in zip(found["folder"], found[name], strict=True)]
        lines.append(
            {
                "recipe": what,
                "from": name,
                "CPU ms": spread(found[name]),
                "times as fast": f"{statistics.median(faster):.2f}",
            }
        )
    return lines


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return all(map(_equal, one, other))


def main() -> None:
    """Print the table; keep it as CSV where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=2, help="of a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()):
        os.environ["HARNESS_CACHE"] = f"{folder}/cache"
        root = Path(folder) / "photographs"
        photographs(root, arguments.images)
        sides = {"folder": DataConfig(name="folder", path=str(root))}
        for name, side in (("pack", None), (f"pack, {SIDE} px", SIDE)):
            path = Path(folder) / f"{name}.pack"
            write_pack(open_tree(root), path, shorter_side=side, channels=3, tell=Telling())
            sides[name] = DataConfig(name="folder", path=str(path), packed=side)
        found = measure(sides, arguments)
    show_turns(found, arguments.turns, arguments.csv)


if __name__ == "__main__":
    main()
