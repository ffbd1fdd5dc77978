"""What a folder of images is to whoever reads it, whether a directory, a zip or a pack."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.data.naming import Listing, shown
from harness.data.picture import MOST_BYTES, Damaged, UnsupportedPicture, decode
from harness.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

TOO_LARGE: Final = f"larger than {MOST_BYTES // 2**20} MiB, the most that an image may have"


class ImageTree(ABC):
    """The image files below one root, by their path relative to it, with `/` between the parts."""

    kind = "an image"  # what its files are taken for, in messages

    shorter_side: int | None = None
    """Pixels that the shorter sides of larger images were reduced to; None: images as they came."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def listing(self) -> Listing:
        """All images, and what else is there; DataError if they cannot all be listed."""

    def names(self) -> list[str]:
        """All images, sorted."""
        return list(self.listing().images)

    @abstractmethod
    def stamp(self, name: str) -> tuple[int, ...]:
        """Numbers that change when the content of one image may have; DataError if it is gone."""

    def hashes(self) -> Mapping[str, bytes] | None:
        """The SHA-256 of each image as it came, where that is known without reading; else None."""
        return None

    @abstractmethod
    def head(self, name: str, length: int) -> bytes:
        """The first bytes of any file; DataError if it cannot be read."""

    def read(self, name: str) -> bytes:
        """The content of one image; DataError if it cannot be read or is too large."""
        content = self.head(name, MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise self.refused(name, TOO_LARGE)
        return content

    def image(self, name: str, *, channels: int) -> Image:
        """One decoded image, RGB or grey; DataError if it is missing, truncated or no image."""
        return self.decoded(name, self.read(name), channels=channels)

    def decoded(self, name: str, content: bytes, *, channels: int) -> Image:
        """As `image`, where the content of the file was read already."""
        try:
            return decode(content, channels=channels)
        except Damaged as error:
            raise self.unreadable(name, error) from error
        except UnsupportedPicture as error:
            raise self.refused(name, error) from error

    def where(self, name: str) -> str:
        """A file's place, for messages."""
        return shown(self.path / name)

    def refused(self, name: str, why: object) -> DataError:
        """The error for a file that cannot be used as it is."""
        return DataError(f"{self.where(name)}: {why}")

    def unreadable(self, name: str, why: object) -> DataError:
        """The error for a file that is damaged or no image."""
        return DataError(f"{self.where(name)}: cannot be read as {self.kind} ({why}); get it again")


class OneFile(ImageTree):
    """Images in one file, which is open while they are read. A copy for another process opens it
    anew.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._open: Any = None  # what the kind of file has to say, once it is open
        self._opening = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_open": None}
        del state["_opening"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._opening = threading.Lock()
