"""ESC-50: environmental sounds in five folds, each of which can judge."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.data import DATASETS
from harness.data.content import OF_A_COPY, names_version
from harness.data.dataset import Arrays, Splits
from harness.data.filterbank import FilterBank
from harness.data.naming import shown
from harness.data.spectrograms import Spectrograms, sounds
from harness.data.tree import ImageTree
from harness.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from harness.data.config import DataConfig
    from harness.data.telling import Telling

TABLE: Final = "meta/esc50.csv"
COLUMNS: Final = ("filename", "fold", "target")
FOLDS, CLASSES, EACH = 5, 50, 8  # clips of a class in a fold
NAME: Final = re.compile(r"(\d)-\d+-[A-Z]-(\d{1,2})\.wav")  # FOLD-SOURCE-TAKE-TARGET
AUTHORS: Final = "authors"
"""The version before the authors' archive is here, and of it: they gave out one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """A line of the table."""

    name: str
    fold: int
    target: int


class Esc50(Spectrograms):
    """2,000 clips of five seconds, 50 classes, five folds of 400 clips (Piczak 2015).

    Four folds train, one judges: `data: {fold: ...}`. Features and their mean and spread are those
    of AST (arXiv 2104.01778, as released): 16 kHz, 128 mel bins, 512 windows.
    """

    name = "esc50"
    title = "ESC-50"
    licence = "CC BY-NC 3.0"
    classes = CLASSES
    train_images = (FOLDS - 1) * CLASSES * EACH
    val_images = CLASSES * EACH
    smallest_class = (FOLDS - 1) * EACH
    folds = FOLDS
    bank = FilterBank(rate=16_000, bins=128, frames=512)
    log_mean = -6.6268077
    log_spread = 2 * 5.358466
    clip_seconds = 5.0
    archive = "https://github.com/karolpiczak/ESC-50/archive/refs/heads/master.zip"
    archive_size = 645_000_000

    def __init__(self, fold: int = 1) -> None:
        self.fold = fold  # which judges

    def of(self, config: DataConfig) -> Esc50:
        """With the fold that judges."""
        self.packed_at(config.packed)  # there are none
        return type(self)(config.fold or 1)

    @property
    def version(self) -> str:
        """A fingerprint of the user's clips, whose checksums nobody published; and what is computed
        of them.
        """
        path = self.own()
        return f"{AUTHORS}-{self.settings}" if path is None else self.version_at(path)

    def version_at(self, path: Path) -> str:
        """Of the names and contents of the clips at `path`, and of their table."""
        tree = sounds(path)
        prefix, clips = clips_in(tree)
        names = [f"{prefix}{TABLE}", *(_place(prefix, clip) for clip in clips)]
        return f"{OF_A_COPY}{names_version(tree, names, prefix)[:12]}-{self.settings}"

    def missing(self) -> str | None:
        """Without a look at the user's own clips: their version takes a reading."""
        return None if self.own() is not None else super().missing()

    def load(self, tell: Telling | None = None) -> Splits:
        """Four folds, and the one that judges."""
        return refolded(super().load(tell), self.fold)

    def splits(self, tree: ImageTree) -> Splits:
        """As the table says; the first fold judges."""
        prefix, clips = clips_in(tree)
        halves = []
        for judges in (False, True):
            half = [clip for clip in clips if (clip.fold == 1) is judges]
            names = [_place(prefix, clip) for clip in half]
            halves.append(self.banks(tree, names, [clip.target for clip in half]))
        return Splits(train=halves[0], val=halves[1])


def refolded(splits: Splits, fold: int) -> Splits:
    """The same clips with another fold to judge; in `splits` the first one does, and folds are in
    order.
    """
    import numpy as np

    train, val = splits.train, splits.val
    assert isinstance(train, Arrays)
    assert isinstance(val, Arrays)
    if fold == 1:
        return splits
    each, first = len(val.labels), (fold - 2) * len(val.labels)
    judging = np.arange(first, first + each)
    rest = np.delete(np.arange(len(train.labels)), judging)
    return Splits(
        train=Arrays(
            images=np.concatenate([val.images, train.images[rest]]),
            labels=np.concatenate([val.labels, train.labels[rest]]),
        ),
        val=Arrays(images=train.images[judging], labels=train.labels[judging]),
    )


def clips_in(tree: ImageTree) -> tuple[str, Sequence[Clip]]:
    """The folders around the set ("" or "ESC-50-master/", say) and its clips, by fold and name;
    DataError unless the table and all of its clips are there.
    """
    others = tree.listing().others
    where = shown(tree.path)
    tables = [name for name in others if f"/{name}".endswith(f"/{TABLE}")]
    if len(tables) != 1:
        raise DataError(
            f"{where}: holds {'no' if not tables else len(tables)} {TABLE}; give the folder or zip "
            "that has meta/ and audio/ in it"
        )
    clips = read_clips(tree.read(tables[0]), where=tree.where(tables[0]))
    prefix = tables[0].removesuffix(TABLE)
    lacking = sorted({_place(prefix, clip) for clip in clips}.difference(others))
    if lacking:
        raise DataError(
            f"{where}: {len(lacking):,} of {len(clips):,} clips are missing, the first is "
            f"{shown(lacking[0])}; get the archive again"
        )
    return prefix, clips


def _place(prefix: str, clip: Clip) -> str:
    return f"{prefix}audio/{clip.name}"


def read_clips(content: bytes, *, where: str) -> Sequence[Clip]:
    """The lines of meta/esc50.csv, by fold and name; DataError, with line and column, where they
    are not those of ESC-50.
    """
    try:
        lines = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where}: not a table in CSV ({error}); get it again") from error
    head = lines[0] if lines else []
    lacking = [column for column in COLUMNS if column not in head]
    if lacking:
        raise DataError(
            f"{where}:1:1: no column {' and '.join(lacking)}; the first line names "
            f"{', '.join(COLUMNS)} and others, here it is '{','.join(head)[:80]}'"
        )
    clips: dict[str, Clip] = {}
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        clip = _clip(dict(zip(head, line, strict=False)), line, head, f"{where}:{number}")
        if clip.name in clips:
            raise DataError(f"{where}:{number}:1: {clip.name} is there twice; get it again")
        clips[clip.name] = clip
    each = Counter((clip.fold, clip.target) for clip in clips.values())
    for fold in range(1, FOLDS + 1):
        for target in range(CLASSES):
            if each[fold, target] != EACH:
                raise DataError(
                    f"{where}: class {target} has {each[fold, target]} clips in fold {fold}, "
                    f"expected {EACH}; get it again"
                )
    return sorted(clips.values(), key=lambda clip: (clip.fold, clip.name))


def _clip(found: dict[str, str], line: Sequence[str], head: Sequence[str], where: str) -> Clip:
    def wrong(column: str, what: str) -> DataError:
        before = line[: head.index(column)]
        return DataError(f"{where}:{1 + sum(len(one) + 1 for one in before)}: {what}")

    if len(line) != len(head):
        raise DataError(f"{where}:1: has {len(line)} fields, the first line {len(head)}")
    name, numbers = found["filename"], {}
    match = NAME.fullmatch(name)
    if match is None:
        what = "must be FOLD-SOURCE-TAKE-TARGET.wav, as 1-100032-A-0.wav"
        raise wrong("filename", f"filename {what}; got '{name[:60]}'")
    for column, most, least, said in (
        ("fold", FOLDS, 1, match[1]),
        ("target", CLASSES - 1, 0, match[2]),
    ):
        text = found[column]
        if not re.fullmatch("[0-9]{1,3}", text) or not least <= int(text) <= most:
            raise wrong(column, f"{column} must be {least} to {most}, got '{text[:20]}'")
        if int(text) != int(said):
            raise wrong(column, f"{column} is {text}, the name of the clip says {said}")
        numbers[column] = int(text)
    return Clip(name=name, fold=numbers["fold"], target=numbers["target"])


DATASETS.register("esc50")(Esc50())
