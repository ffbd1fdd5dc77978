"""The pictures of where networks look, read from the run directories of the kind `attention`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.kinds.attention import PICTURES
from harness.report.model import AttentionMap
from harness.report.outcomes import Outcomes
from harness.spec.expand import Expansion
from harness.store import FileError
from harness.store.files import read_json


def attention_maps(expansion: Expansion, outcomes: Outcomes) -> tuple[AttentionMap, ...]:
    """Of every row with such a run, those of its first finished seed."""
    found: list[AttentionMap] = []
    for resolved in expansion.rows:
        identities = [identity for runs in resolved.runs.values() for identity in runs]
        done = outcomes.done(list(dict.fromkeys(identities)))
        files = [record.directory / PICTURES for record in done.values()]
        first = next((path for path in files if path.is_file()), None)
        if first is not None:
            found += _read(first, resolved.row.id)
    return tuple(found)


def _read(path: Path, row: str) -> list[AttentionMap]:
    """The pictures of a file; none where it is damaged or cannot be read."""
    try:
        return _maps(read_json(path), row)
    except (FileNotFoundError, FileError, ValueError, KeyError, TypeError, IndexError):
        return []


def _maps(content: Mapping[str, Any], row: str) -> list[AttentionMap]:
    return [
        AttentionMap(
            row=row,
            png=picture["png"],
            grid=(content["grid"][0], content["grid"][1]),
            heads=tuple(tuple(head) for head in picture["heads"]),
        )
        for picture in content["pictures"]
    ]
