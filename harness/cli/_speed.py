"""How fast a training that is being computed goes, from its newest line of losses."""

from __future__ import annotations

import json
from pathlib import Path

from harness.store.record import METRICS

TAIL = 65536
"""Bytes that are looked at: a line of losses is short, one of an evaluation too."""


def newest_speed(directory: Path) -> dict[str, float]:
    """What the newest line that has a `speed` says; empty where there is none."""
    try:
        with (directory / METRICS).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL))
            tail = file.read()
    except OSError:
        return {}
    for line in reversed(tail.split(b"\n")):
        if b'"speed"' not in line:
            continue
        try:
            found = json.loads(line)["speed"]
            return {name: float(value) for name, value in found.items()}
        except (ValueError, TypeError, KeyError, AttributeError):  # cut off: an older one serves
            continue
    return {}


def in_words(speed: dict[str, float]) -> list[str]:
    """As parts of a line for people."""
    parts = []
    if "images_per_second" in speed:
        parts.append(f"{speed['images_per_second']:,.0f} images/s")
    if "data_wait" in speed:
        parts.append(f"{speed['data_wait']:.0%} of the time waiting for data")
    if "mfu" in speed:
        parts.append(f"MFU {speed['mfu']:.0%}")
    if "memory_bytes" in speed:
        parts.append(f"{speed['memory_bytes'] / 2**30:.1f} GiB at the peak")
    return parts
