"""What tests of evaluations share: coloured pictures on disk, and runs of a small table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from harness.spec.expand import Run, expand
from harness.spec.load import load_table
from tests.conftest import TINY_VIT, Experiments

COLOURS = ((200, 60, 60), (60, 160, 60), (150, 110, 90))
TRAIN, VAL, SIDE = 25, 6, 28


def write_pictures(root: Path) -> Path:
    """Three classes of noisy colours that overlap: 25 + 6 pictures each, of 28 x 28 pixels."""
    draws = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", VAL)):
        for label, colour in enumerate(COLOURS):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                tint = np.asarray(colour) + draws.normal(0, 45, 3)
                pixels = tint + draws.normal(0, 25, (SIDE, SIDE, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
                    folder / f"{number:02}.png"
                )
    return root


def runs_of(experiments: Experiments, columns: str, rows: str, data: str) -> list[Run]:
    """The runs of a table with these columns and rows, two seeds."""
    experiments.table(
        "judged/tiny",
        f"""
        paper: {{title: A table}}
        columns:
          {columns}
        base:
          recipe: light
          data: {data}
          student: {{{TINY_VIT}}}
          method: supervised
        rows:
          {rows}
        profiles:
          fashion-mnist: {{description: small, seeds: [0, 1]}}
        """,
    )
    return list(expand(load_table("judged/tiny"), "fashion-mnist").runs)
