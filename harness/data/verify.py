"""Reads a copy of a data set again, past every cache, and says what it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.data.dataset import Arrays, DataSet, Split, Splits
from harness.errors import DataError

DECODED = 10_000  # images of a large set that are decoded unless all are asked for


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What was found; reaching this means that nothing was wrong."""

    name: str
    where: str
    version: str
    train_images: int
    val_images: int
    decoded: int  # images that were really decoded; all, for sets in memory


def verify(
    known: DataSet, *, path: Path | None, everything: bool, say: Callable[[str], None]
) -> Verified:
    """Check layout, counts and checksums of the copy at `path`, or of the first on this machine.

    Of images in files, evenly spread ones are decoded, or all with `everything`.
    Raises DataError for the first thing that is wrong.
    """
    where, version, splits = _read(known, path)
    say(f"{where}: layout and counts are right")
    decoded = sum(_decode(split, everything, say) for split in (splits.train, splits.val))
    return Verified(
        name=known.name,
        where=where,
        version=version,
        train_images=len(splits.train.labels),
        val_images=len(splits.val.labels),
        decoded=decoded,
    )


def _read(known: DataSet, path: Path | None) -> tuple[str, str, Splits]:
    if path is not None:
        splits = known.read(path)
        return str(path), known.version_at(path), splits
    for origin in known.origins:
        if origin.here is not None and origin.here():
            return origin.says, known.version, origin.read()
    if known.cache_file is not None and known.cache_file.is_file():
        return str(known.cache_file), known.version, known.load()
    raise DataError(known.missing() or f"data set {known.name} is not on this machine")


def _decode(split: Split, everything: bool, say: Callable[[str], None]) -> int:
    count = len(split.labels)
    if isinstance(split, Arrays):
        return count
    stride = 1 if everything else max(1, count // (DECODED // 2))
    chosen = range(0, count, stride)
    for done, index in enumerate(chosen, 1):
        split.image(index)
        if done % 2000 == 0:
            say(f"decoded {done:,} of {len(chosen):,}")
    return len(chosen)
