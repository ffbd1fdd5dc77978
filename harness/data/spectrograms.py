"""Data sets of sounds: each clip is one picture of log energies, mel bins by windows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.data.cache import scratch
from harness.data.dataset import Arrays, DataSet, Source, Splits, cache_path, own_source
from harness.data.fetch import download
from harness.data.filterbank import PADDING, FilterBank
from harness.data.paths import is_there, own_copy
from harness.data.sound import decode
from harness.data.tree import ImageTree, open_tree
from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCALE: Final = 255
"""Mean and spread of a data set are in units of this, as those of pixels."""


class Spectrograms(DataSet):
    """Clips in files, `bank` of each; read once, then kept in the cache as numbers of 32 bits."""

    channels = 1
    in_memory = True
    spectrograms = True
    background = int(PADDING)
    bank: FilterBank
    log_mean: float  # of the filter banks' values
    log_spread: float  # what they are divided by, less `log_mean`
    clip_seconds: float | None = None  # of every clip; none: they differ
    archive: str  # the authors', a zip
    archive_size: int  # bytes, about

    @property
    def mean(self) -> tuple[float, ...]:  # type: ignore[override]
        """See `SCALE`."""
        return (self.log_mean / SCALE,)

    @property
    def std(self) -> tuple[float, ...]:  # type: ignore[override]
        """See `SCALE`."""
        return (self.log_spread / SCALE,)

    @property
    def size(self) -> int:  # type: ignore[override]
        """Mel bins, from the lowest."""
        return self.bank.bins

    @property
    def width(self) -> int:  # type: ignore[override]
        """Windows."""
        return self.bank.frames

    @property
    def cache_file(self) -> Path:
        """One file of all filter banks."""
        return cache_path(self.name, self.version)

    @property
    def next_step(self) -> str:  # type: ignore[override]
        """Where to put a copy."""
        return (
            f"Get {self.archive} and put it at $HARNESS_DATA/{self.name}.zip, or what is in it at "
            f"$HARNESS_DATA/{self.name}; then `harness data verify {self.name}`."
        )

    @property
    def origins(self) -> tuple[Source, ...]:
        """The user's copy, the authors' archive."""
        own = own_source(f"$HARNESS_DATA/{self.name}(.zip)", self.own, self.read)
        size = self.archive_size
        return (own, Source(label="the authors' archive", read=self._from_archive, size=size))

    def own(self) -> Path | None:
        """The user's copy, where there is one."""
        places = [
            place
            for path in own_copy(self.name)[:1]
            for place in (path, path.with_name(f"{path.name}.zip"))
        ]
        return next((place for place in places if is_there(place)), None)

    def read(self, path: Path) -> Splits:
        """The copy at `path`, its content checked."""
        return self.splits(sounds(path))

    @abstractmethod
    def splits(self, tree: ImageTree) -> Splits:
        """The filter banks of all clips in `tree`; DataError unless it holds the set."""

    def banks(self, tree: ImageTree, names: Sequence[str], labels: Sequence[int]) -> Arrays:
        """The filter banks of the clips `names`."""
        import numpy as np

        images: NDArray[np.float32] = np.empty(
            (len(names), 1, self.bank.bins, self.bank.frames), np.float32
        )
        for index, name in enumerate(names):
            where = tree.where(name)
            samples = decode(tree.read(name), rate=self.bank.rate, where=where)
            self._check_length(len(samples) / self.bank.rate, where)
            images[index, 0] = self.bank(samples, where=where)
        return Arrays(images=images, labels=np.asarray(labels, np.int64))

    def _check_length(self, seconds: float, where: str) -> None:
        wanted = self.clip_seconds
        if wanted is not None and abs(seconds - wanted) > 0.01:
            what = f"{seconds:.2f} s long, every clip of {self.title} has {wanted:g} s"
            raise DataError(f"{where}: {what}; get it again")

    @property
    def settings(self) -> str:
        """Of the filter banks, for versions: other settings are other pictures."""
        return f"{self.bank.rate}hz-{self.bank.bins}x{self.bank.frames}"

    def _from_archive(self) -> Splits:
        with scratch(self.name) as folder:
            download(self.archive, folder)
            return self.read(folder / self.archive.rpartition("/")[2])


def sounds(path: Path) -> ImageTree:
    """The files at `path`, a directory or a zip."""
    tree = open_tree(path)
    tree.kind = "sound"
    return tree
