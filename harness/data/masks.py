"""Masks in files beside their images: which belongs to which, and the class of every pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.data.dataset import Files
from harness.data.naming import from_bytes, shown, to_bytes
from harness.data.picture import Damaged, UnsupportedPicture, decode_mask
from harness.data.targets import UNKNOWN
from harness.data.tree import ImageTree
from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskFiles:
    """The masks of a split, decoded when they are wanted. `offset` is the label of the first class
    in the files: where it is 1, pixels of label 0 have no class.
    """

    tree: ImageTree
    names: NDArray[np.bytes_]  # (N,), relative to the tree, UTF-8
    classes: int
    offset: int = 0

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """(H, W): classes from 0, and `UNKNOWN`; DataError names a file that is none."""
        import numpy as np

        name = from_bytes(bytes(self.names[index]))
        try:
            labels = decode_mask(self.tree.read(name))
        except Damaged as error:
            raise self.tree.unreadable(name, error) from error
        except UnsupportedPicture as error:
            raise self.tree.refused(name, error) from error
        last = self.classes - 1 + self.offset
        wrong = (labels > last) & (labels != UNKNOWN)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            zero = ", and 0" if self.offset else ""
            raise self.tree.refused(
                name,
                f"the pixel at {column}, {row} has the label {labels[row, column]}: classes are "
                f"{self.offset} to {last}{zero} or {UNKNOWN} where nobody knows it; get the "
                "mask again, or name the data set that it is of",
            )
        if self.offset == 0:
            return labels
        # 0 becomes the byte below it, which is 255
        return np.where(labels == UNKNOWN, labels, labels - np.uint8(self.offset))


def paired(
    tree: ImageTree, names: Sequence[tuple[str, str]], *, channels: int, classes: int, offset: int
) -> Files:
    """A split of (image, mask), by their names in the tree."""
    import numpy as np

    images, masks = (
        np.array([to_bytes(pair[side]) for pair in names], dtype=np.bytes_) for side in (0, 1)
    )
    targets = MaskFiles(tree=tree, names=masks, classes=classes, offset=offset)
    labels = np.zeros(len(names), np.int64)
    return Files(tree=tree, names=images, labels=labels, channels=channels, targets=targets)


def in_two_folders(
    tree: ImageTree, names: Sequence[str], folders: tuple[str, str]
) -> list[tuple[str, str]]:
    """Images of the first folder with the mask of the same name in the second, in order; DataError
    where one of the two is missing.
    """
    images, masks = (_by_stem(tree, names, folder) for folder in folders)
    if not images:
        raise DataError(f"{shown(tree.path / folders[0])}: there is no image")
    for one, other, what in ((images, folders[1], masks), (masks, folders[0], images)):
        missing = sorted(one.keys() - what.keys())
        if missing:
            more = f", nor have {len(missing) - 1} others theirs" if len(missing) > 1 else ""
            kind = "mask" if other == folders[1] else "image"
            raise DataError(
                f"{tree.where(one[missing[0]])}: has no {kind} of its name in "
                f"{shown(other)}{more}; get the set again"
            )
    return [(images[stem], masks[stem]) for stem in sorted(images)]


def _by_stem(tree: ImageTree, names: Sequence[str], folder: str) -> Mapping[str, str]:
    """Names in a folder, by themselves without folder and ending; DataError where two differ in
    their endings alone.
    """
    start, found = f"{folder}/", dict[str, str]()
    for name in names:
        if not name.startswith(start):
            continue
        stem = name[len(start) :].rpartition(".")[0]
        if stem in found:
            other = shown(found[stem].rpartition("/")[2])
            raise DataError(f"{tree.where(name)}: {other} beside it has the same name; remove one")
        found[stem] = name
    return found
