"""From JPEG files to batches: against torchvision v2's multi-crop and timm's DeiT recipe.

    python benchmarks/input_pipeline.py [--images 2000] [--turns 5] [--workers CORES] [--csv FILE]

The same JPEGs of 256 x 256 px (generated textures) on both sides, which take turns, so that a
drifting machine slows both alike. Two measures: CPU milliseconds an image in one process of one
thread, and images a second with a loader process a core. DINO's multi-crop has 2 crops of 224 px
and 8 of 96 px; v2's own GaussianBlur (23 x 23 and 9 x 9) and Pillow's filter, which DINO's code
uses and which is faster, are both measured. The DeiT recipe is RandAugment m9, erasing, mixup,
cutmix and 3 repeats; timm's side is its transform, samplers, collation and prefetcher, without
Posterize at 0 bits, which newer Pillows refuse.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from options import show_turns, spread
from PIL import Image, ImageFilter
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from harness.data.config import DataConfig
from harness.data.dataset import IMAGENET_MEAN, IMAGENET_STD
from harness.data.module import open_data
from harness.data.multicrop import MultiCrop, crop_specs
from harness.data.transforms import _posterize
from harness.train.config import Augment

SPEC = "rand-m9-mstd0.5-inc1"
DEIT = Augment(
    rand_augment=SPEC, erasing=0.25, mixup=0.8, cutmix=1.0, label_smoothing=0.1, repeats=3
)
CROPS = MultiCrop()
Side = Callable[[int], Iterable[Any]]  # loader processes -> batches
PAIRS = (
    ("multi-crop", "multi-crop, v2, its blur"),
    ("multi-crop", "multi-crop, v2, Pillow's blur"),
    ("DeiT", "DeiT, timm"),
)


def textures(root: Path, images: int) -> None:
    """JPEGs of 256 px, about as detailed as photographs, in two classes."""
    draws = np.random.default_rng(0)
    shares = {4: 0.35, 8: 0.25, 16: 0.15, 32: 0.12, 64: 0.08, 256: 0.05}
    for half, count in (("train", images), ("val", 2)):
        for number in range(count):
            mixed = np.zeros((256, 256, 3))
            for side, share in shares.items():
                noise = Image.fromarray(draws.integers(0, 256, (side, side, 3), dtype=np.uint8))
                mixed += share * np.asarray(noise.resize((256, 256), Image.Resampling.BICUBIC))
            mixed = 128 + 2 * (mixed - mixed.mean())
            folder = root / half / f"class{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
            image.save(folder / f"{number:05}.jpg", quality=90)


class PillowBlur(torch.nn.Module):
    """As in DINO's code."""

    def forward(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(*CROPS.blur_sigma)))


class V2MultiCrop:
    """DINO's multi-crop of torchvision v2's parts."""

    def __init__(self, pillow: bool) -> None:
        jitter = v2.ColorJitter(CROPS.brightness, CROPS.contrast, CROPS.saturation, CROPS.hue)
        self.transforms = [
            v2.Compose(
                [
                    v2.RandomResizedCrop(
                        spec.size, spec.scale, CROPS.ratio, v2.InterpolationMode.BICUBIC
                    ),
                    v2.RandomHorizontalFlip(CROPS.flip),
                    v2.RandomApply([jitter], CROPS.jitter),
                    v2.RandomGrayscale(CROPS.grey),
                    v2.RandomApply(
                        [
                            PillowBlur()
                            if pillow
                            else v2.GaussianBlur(23 if spec.size > 96 else 9, CROPS.blur_sigma)
                        ],
                        spec.blur,
                    ),
                    v2.RandomSolarize(128, spec.solarize),
                    v2.ToImage(),
                    v2.ToDtype(torch.float32, scale=True),
                    v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
                ]
            )
            for spec in crop_specs(CROPS, 224)
        ]

    def __call__(self, image: Image.Image) -> list[torch.Tensor]:
        return [transform(image) for transform in self.transforms]


def sides(root: Path, batch: int) -> dict[str, Side]:
    """What is timed, by name."""

    def module(augment: Augment, workers: int) -> Any:
        return open_data(
            DataConfig(name="folder", path=str(root)),
            augment,
            image_size=224,
            batch_size=batch,
            eval_crop=0.875,
            seed=0,
            device=torch.device("cpu"),
            workers=workers,
        )

    def with_v2(pillow: bool) -> Side:
        dataset = ImageFolder(str(root / "train"), V2MultiCrop(pillow))
        return lambda workers: _endless(
            DataLoader(dataset, batch, shuffle=True, drop_last=True, num_workers=workers)
        )

    return {
        "multi-crop": lambda workers: module(Augment(), workers).train_crops(CROPS),
        "multi-crop, v2, its blur": with_v2(False),
        "multi-crop, v2, Pillow's blur": with_v2(True),
        "DeiT": lambda workers: module(DEIT, workers).train(),
        "DeiT, timm": lambda workers: _endless(_timm(root, batch, workers)),
    }


def _timm(root: Path, batch: int, workers: int) -> Any:
    from timm.data import auto_augment
    from timm.data.distributed_sampler import RepeatAugSampler
    from timm.data.loader import PrefetchLoader
    from timm.data.mixup import FastCollateMixup
    from timm.data.transforms_factory import create_transform

    transform = create_transform(
        224, is_training=True, auto_augment=SPEC, interpolation="bicubic", use_prefetcher=True
    )
    for operation in transform.transforms[2].ops:
        if operation.aug_fn is auto_augment.posterize:
            operation.aug_fn = _posterize
    dataset = ImageFolder(str(root / "train"), transform)
    collate = FastCollateMixup(  # type: ignore[no-untyped-call]
        mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=2
    )
    loader = DataLoader(
        dataset,
        batch,
        sampler=RepeatAugSampler(  # type: ignore[no-untyped-call]
            dataset, num_replicas=1, rank=0, num_repeats=3
        ),
        collate_fn=collate,
        drop_last=True,
        num_workers=workers,
    )
    return PrefetchLoader(
        loader,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        device=torch.device("cpu"),
        re_prob=0.25,
        re_mode="pixel",
    )


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def measure(root: Path, arguments: argparse.Namespace) -> pd.DataFrame:
    """A line a pair and measure: min, median and max of both, and the median ratio of the turns."""
    batch, known = arguments.batch, sides(root, arguments.batch)
    cpu: dict[str, list[float]] = {name: [] for name in known}
    wall: dict[str, list[float]] = {name: [] for name in known}
    alone = {name: iter(side(0)) for name, side in known.items()}
    for batches in alone.values():
        next(batches)
    for _ in range(arguments.turns):
        for name, batches in alone.items():
            begin = time.process_time()
            for _ in range(arguments.batches):
                next(batches)
            taken = time.process_time() - begin
            cpu[name].append(1000 * taken / (arguments.batches * batch))
        for name, side in known.items() if arguments.workers else ():
            wall[name].append(_images_a_second(side, arguments))
    lines = []
    for ours, theirs in PAIRS:
        for what, found in (("CPU ms an image", cpu), ("images a second", wall)):
            if not found[ours]:
                continue
            pairs = zip(found[ours], found[theirs], strict=True)
            faster = [b / a if found is cpu else a / b for a, b in pairs]
            lines.append(
                {
                    "against": theirs,
                    "measure": what,
                    "ours": spread(found[ours]),
                    "theirs": spread(found[theirs]),
                    "times as fast": spread(faster),
                }
            )
    return pd.DataFrame(lines)


def _images_a_second(side: Side, arguments: argparse.Namespace) -> float:
    """Once the processes run and the queue, which they fill first, is emptied."""
    batches = iter(side(arguments.workers))
    for _ in islice(batches, 2 * arguments.workers):
        pass
    count: int = max(arguments.batches, 8 * arguments.workers)
    begin = time.perf_counter()
    for _ in islice(batches, count):
        pass
    taken = time.perf_counter() - begin
    del batches
    images: int = count * arguments.batch
    return images / taken


def main() -> None:
    """Print the table; keep it as CSV where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=4, help="of a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="0: no such measure")
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    if arguments.images < arguments.batch:
        parser.error(f"--images {arguments.images}: at least a batch, {arguments.batch}")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HARNESS_CACHE"] = f"{folder}/cache"
        root = Path(folder) / "textures"
        textures(root, arguments.images)
        found = measure(root, arguments)
    show_turns(found, arguments.turns, arguments.csv)


if __name__ == "__main__":
    main()
