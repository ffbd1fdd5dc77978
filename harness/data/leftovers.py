"""What lies in a folder of images and is no part of the set: silence about it would mislead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from harness.data.layout import group_by_class
from harness.data.naming import SPLITS, Listing, shown
from harness.data.picture import looks_like_image
from harness.data.tree import ImageTree
from harness.text import count

_LOOKED_INTO = 1000  # files that are not named as images
_HEAD = 16


def left_out(tree: ImageTree, *, structured: bool = True) -> list[str]:
    """A line for each kind of thing that was left out, with its number and an example.

    `structured`: the images belong into train/<class>/ and val/<class>/.
    """
    listing = tree.listing()
    found = list(_unnamed(tree, listing.others))
    if structured:
        found += _outside(listing)
        groups = group_by_class(listing.images, prefix=listing.prefix)
        order = textual_order(sorted(groups.get("train", ())))
        found += [] if order is None else [order]
    if listing.empty:
        what = count(len(listing.empty), "folder holds", "folders hold")
        found.append(f"{what} no image and {_is(listing.empty)} no class: {_some(listing.empty)}")
    return found


def textual_order(classes: Sequence[str]) -> str | None:
    """How classes that are named by numbers count, where it is not in the order of the numbers."""
    if not all(name.isascii() and name.isdigit() for name in classes):
        return None
    if list(classes) == sorted(classes, key=int):
        return None
    return (
        f"classes count in order of their names as texts ({', '.join(classes[:4])}, ...): "
        "a classifier trained elsewhere may count numbered classes in another order"
    )


def _unnamed(tree: ImageTree, others: Sequence[str]) -> Iterator[str]:
    """Files without an image's suffix; told apart are those that are images all the same."""
    looked = list(islice(others, _LOOKED_INTO))
    pictures = [name for name in looked if looks_like_image(tree.head(name, _HEAD))]
    if pictures:
        what = count(len(pictures), "image has", "images have")
        yield f"{what} no suffix of images and {_is(pictures)} left out: {_some(pictures)}"
    rest = [name for name in others if name not in set(pictures)]
    if rest:
        what = count(len(rest), "file")
        yield f"{what} not named as {_an_image(rest)} {_is(rest)} left out: {_some(rest)}"


def _outside(listing: Listing) -> Iterator[str]:
    """Images that lie in no folder of a class, or in a split that is not used."""
    groups = group_by_class(listing.images, prefix=listing.prefix)
    inside = {
        name for split in SPLITS for names in groups.get(split, {}).values() for name in names
    }
    stray = [name for name in listing.images if name not in inside]
    if stray:
        what = count(len(stray), "image lies", "images lie")
        yield f"{what} in no folder of a class and {_is(stray)} left out: {_some(stray)}"
    if groups.get("val") and groups.get("test"):
        test = [name for names in groups["test"].values() for name in names]
        yield f"{count(len(test), 'image')} in test/ {_is(test)} left out: val/ judges"
    if "train" in groups and not groups.keys() & {"val", "test"}:
        yield "no images judge, there is no val/ or test/: use `evaluate_on: holdout`"


def _some(names: Sequence[str]) -> str:
    return ", ".join([*map(shown, names[:3]), *(["..."] if len(names) > 3 else [])])


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _an_image(names: Sequence[str]) -> str:
    return "an image" if len(names) == 1 else "images"
