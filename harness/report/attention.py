"""The pictures of where networks look, read from the run directories of the kind `attention`."""

from __future__ import annotations

import base64
import json
import math
from io import BytesIO
from pathlib import Path

from PIL import Image

from harness.report.model import AttentionMap
from harness.report.outcomes import Outcomes
from harness.spec.expand import Expansion
from harness.tasks.attention import PICTURES


def attention_maps(
    expansion: Expansion, outcomes: Outcomes
) -> tuple[tuple[AttentionMap, ...], tuple[str, ...]]:
    """Of every row with such a run, those of its first finished seed that can be read; and one line
    for each file that cannot.
    """
    found: list[AttentionMap] = []
    unreadable: list[str] = []
    for resolved in expansion.rows:
        identities = [identity for runs in resolved.runs.values() for identity in runs]
        done = outcomes.done(list(dict.fromkeys(identities)))
        for record in done.values():
            path = record.directory / PICTURES
            if not path.is_file():
                continue
            try:
                found += _read(path, resolved.row.id)
                break
            except OSError as error:
                unreadable.append(f"{path} cannot be read: {error.strerror or error}")
            except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
                unreadable.append(f"{path}: damaged ({type(error).__name__}: {error})")
    return tuple(found), tuple(unreadable)


def _read(path: Path, row: str) -> list[AttentionMap]:
    content = json.loads(path.read_bytes().decode())
    rows, columns = (int(size) for size in content["grid"])
    maps = [
        AttentionMap(
            row=row,
            png=picture["png"],
            grid=(rows, columns),
            heads=tuple(tuple(map(float, head)) for head in picture["heads"]),
        )
        for picture in content["pictures"]
    ]
    for found in maps:
        Image.open(BytesIO(base64.b64decode(found.png)), formats=["PNG"]).verify()
        if not found.heads or any(len(head) != rows * columns for head in found.heads):
            raise ValueError("its heads have not one weight for every patch")
        if not all(math.isfinite(weight) for head in found.heads for weight in head):
            raise ValueError("its weights are no finite numbers")
    return maps
