"""FSDD, the free spoken digit dataset: small, real, freely licensed."""

from __future__ import annotations

from typing import Final

from harness.data import DATASETS
from harness.data.content import names_version
from harness.data.dataset import Splits
from harness.data.filterbank import FilterBank
from harness.data.naming import shown
from harness.data.spectrograms import Spectrograms
from harness.data.tree import ImageTree
from harness.errors import DataError

DIGITS: Final = range(10)
SPEAKERS: Final = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TAKES: Final = range(50)
JUDGING: Final = 5  # takes, the first: "officially", its README says
FOLDER: Final = "recordings/"


class Fsdd(Spectrograms):
    """2,700 + 300 recordings of spoken digits by six speakers, 8 kHz (Jakobovski and others).

    Its own split: takes 0 to 4 of every speaker and digit judge. The first 0.7 s of a clip are
    seen: most are shorter.
    """

    name = "fsdd"
    title = "Free Spoken Digit Dataset"
    licence = "CC BY-SA 4.0"
    classes = len(DIGITS)
    train_images = 2700
    val_images = 300
    smallest_class = 270
    bank = FilterBank(rate=8000, bins=64, frames=70)
    # of the training clips, padding and all, as AST's are; the spread is twice their deviation
    log_mean = -3.953308
    log_spread = 2 * 4.439554
    archive = (
        "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/heads/master.zip"
    )
    archive_size = 16_500_000
    # of the names and contents of all recordings: see `names_version`
    content = "a2e8a660492f28d9eed6270b290d26cbc5c81d6077ce87d3c0ad5adf4d4ee696"

    @property
    def version(self) -> str:
        """From the checksum of the recordings, and what is computed of them."""
        return f"{self.content[:12]}-{self.settings}"

    def splits(self, tree: ImageTree) -> Splits:
        """By the names of the recordings, DIGIT_SPEAKER_TAKE.wav."""
        others = tree.listing().others
        first = next((name for name in others if name.endswith(_name(0, SPEAKERS[0], 0))), None)
        where = shown(tree.path)
        if first is None:
            raise DataError(
                f"{where}: holds no {FOLDER}{_name(0, SPEAKERS[0], 0)}; give the folder or zip "
                f"that has {FOLDER} in it"
            )
        prefix = first.removesuffix(_name(0, SPEAKERS[0], 0))
        every = [(digit, who, take) for digit in DIGITS for who in SPEAKERS for take in TAKES]
        names = {one: prefix + _name(*one) for one in every}
        lacking = sorted(set(names.values()).difference(others))
        if lacking:
            raise DataError(
                f"{where}: {len(lacking):,} of {len(every):,} recordings are missing, the first is "
                f"{shown(lacking[0])}; get the archive again"
            )
        found = names_version(tree, sorted(names.values()), prefix)
        if found != self.content:
            raise DataError(
                f"{where}: SHA-256 of the recordings is {found[:16]}..., expected "
                f"{self.content[:16]}...: they were changed or converted; get the archive again"
            )
        train = [one for one in every if one[2] >= JUDGING]
        val = [one for one in every if one[2] < JUDGING]
        return Splits(
            train=self.banks(tree, [names[one] for one in train], [one[0] for one in train]),
            val=self.banks(tree, [names[one] for one in val], [one[0] for one in val]),
        )


def _name(digit: int, speaker: str, take: int) -> str:
    return f"{digit}_{speaker}_{take}.wav"


DATASETS.register("fsdd")(Fsdd())
