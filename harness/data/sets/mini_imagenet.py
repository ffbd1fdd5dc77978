"""mini-ImageNet, from the user's own copy: 100 classes, or the parts of the few-shot split."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Self

from harness.data import DATASETS
from harness.data.content import files_version
from harness.data.layout import Layout
from harness.data.naming import hidden, shown
from harness.data.pack import suffix
from harness.data.packs import how_to_pack
from harness.data.paths import cannot_read, is_folder
from harness.data.sets.imagenet import ImageNet, OwnImages
from harness.data.tree import ImageTree, open_regular
from harness.errors import DataError


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


# the classes of arXiv 1606.04080 and their split, as Ravi and Larochelle (ICLR 2017) published it
BASE = _listed("""
n01532829 n01558993 n01704323 n01749939 n01770081 n01843383 n01910747 n02074367 n02089867
n02091831 n02101006 n02105505 n02108089 n02108551 n02108915 n02111277 n02113712 n02120079
n02165456 n02457408 n02606052 n02687172 n02747177 n02795169 n02823428 n02966193 n03017168
n03047690 n03062245 n03207743 n03220513 n03337140 n03347037 n03400231 n03476684 n03527444
n03676483 n03838899 n03854065 n03888605 n03908618 n03924679 n03998194 n04067472 n04243546
n04251144 n04258138 n04275548 n04296562 n04389033 n04435653 n04443257 n04509417 n04515003
n04596742 n04604644 n04612504 n06794110 n07584110 n07697537 n07747607 n09246464 n13054560
n13133613
""")
VALIDATION = _listed("""
n01855672 n02091244 n02114548 n02138441 n02174001 n02950826 n02971356 n02981792 n03075370
n03417042 n03535780 n03584254 n03770439 n03773504 n03980874 n09256479
""")
NOVEL = _listed("""
n01930112 n01981276 n02099601 n02110063 n02110341 n02116738 n02129165 n02219486 n02443484
n02871525 n03127925 n03146219 n03272010 n03544143 n03775546 n04146614 n04149813 n04418357
n04522168 n07613480
""")
SYNSET = 9  # letters of a synset's name


class MiniImageNet(OwnImages):
    """100 classes of 600 photographs (arXiv 1606.04080), used for classification.

    Of every class the first 500 images by name are trained on and the last 100 judge. The classes
    of the few-shot split (64/16/20) are sets of their own, split in the same way: learn from one
    and judge on the others.
    """

    name = "mini-imagenet"
    structured = False
    per_class = 600
    per_class_train = 500
    everything: Set[str] = frozenset([*BASE, *VALIDATION, *NOVEL])
    synsets: Sequence[str] = (*BASE, *VALIDATION, *NOVEL)
    layout_says = (
        "600 images of each class, in folders named for synsets (directly, or below train/, val/ "
        "and test/), or all in one folder with names that begin with their synset; or nothing but "
        "the few-shot split's lists train.csv, val.csv and test.csv, which cut the images out of "
        "your copy of imagenet-1k"
    )
    whole: OwnImages = ImageNet()  # what lists are cut out of

    @property
    def title(self) -> str:  # type: ignore[override]
        """With the number of its classes."""
        return f"mini-ImageNet, {self.classes} classes, 500/100 images each"

    @property
    def classes(self) -> int:  # type: ignore[override]
        """Those of this part."""
        return len(self.synsets)

    @property
    def train_images(self) -> int:  # type: ignore[override]
        """The first images of each class."""
        return self.classes * self.per_class_train

    @property
    def val_images(self) -> int:  # type: ignore[override]
        """The rest of each class."""
        return self.classes * (self.per_class - self.per_class_train)

    @property
    def version(self) -> str:
        """A fingerprint of the copy: packagings differ in image size (84 pixels, or the original)
        and in names, and so in which images are the first.
        """
        path = self._copy()
        if path is not None:
            return self.version_at(path)
        if self.packed is not None:
            return f"{self.packed_at(None).version}{suffix(self.packed)}"
        return "100x600-first500"

    def version_at(self, path: Path) -> str:
        """A fingerprint of the names and contents of the images at `path`, or of lists there."""
        if lists_alone(path):
            return f"lists-{lists_version(read_lists(path))}-{self.whole.version}"
        return files_version(path)

    @property
    def pack_name(self) -> str:
        """That of the copy; DataError where there are lists alone."""
        lists = self._lists()
        if lists is not None:
            raise DataError(
                f"{shown(lists)}: cuts the images out of imagenet-1k; pack that one: "
                f"{how_to_pack('imagenet-1k', self.packed)}"
            )
        return self.copy_name

    def packed_at(self, shorter_side: int | None) -> Self:
        """Also of what lists cut it out of."""
        other = super().packed_at(shorter_side)
        if other is not self:
            other.whole = self.whole.packed_at(shorter_side)
        return other

    def _lists(self) -> Path | None:
        """The folder with lists alone, where that is the copy."""
        copy = self.packed_at(None)._copy()
        return copy if copy is not None and lists_alone(copy) else None

    def _path(self) -> Path | None:
        """With lists alone these, whatever ImageNet-1k is read from."""
        return self._lists() or super()._path()

    def _kept(self) -> Path | None:
        """Nothing with lists alone."""
        return None if self._lists() is not None else super()._kept()

    def missing(self) -> str | None:
        """With lists alone, also what of ImageNet-1k is missing."""
        return super().missing() if self._lists() is None else self.whole.missing()

    @property
    def copy_name(self) -> str:
        """All parts lie in one copy."""
        return MiniImageNet.name

    def layout(self, path: Path) -> Layout:
        """The classes of this part, which must be complete; those of the others may be there."""
        if lists_alone(path):
            tree, classes = self._cut(path)
        else:
            tree = self.tree(path)
            classes = _by_synset(tree.names())
        strange = sorted(classes.keys() - self.everything)
        if strange:
            raise DataError(
                f"{shown(path)}: {shown(strange[0])} is no class of mini-ImageNet "
                f"({len(strange)} such names); the layout is {self.layout_says}"
            )
        for synset in self.synsets:
            number = len(classes.get(synset, ()))
            if number != self.per_class:
                raise DataError(
                    f"{shown(path)}: class {synset} has {number} images, "
                    f"expected {self.per_class}; the layout is {self.layout_says}"
                )
        names = tuple(sorted(self.synsets))
        cut = self.per_class_train
        return Layout(
            tree=tree,
            classes=names,
            train=tuple(tuple(classes[name][:cut]) for name in names),
            val=tuple(tuple(classes[name][cut:]) for name in names),
        )

    def _cut(self, path: Path) -> tuple[ImageTree, dict[str, Sequence[str]]]:
        """The images that the lists at `path` choose of ImageNet-1k's training set, by synset."""
        whole = self.whole.own()
        images = dict(zip(whole.classes, whole.train, strict=True))
        return whole.tree, {
            synset: chosen(
                images.get(synset, ()), numbers, where=f"{whole.tree.path}/train/{synset}"
            )
            for synset, numbers in read_lists(path).items()
        }


class BaseClasses(MiniImageNet):
    """The 64 classes that few-shot learners train on."""

    name = "mini-imagenet-base"
    synsets = BASE


class ValidationClasses(MiniImageNet):
    """The 16 classes that few-shot learners choose their settings by."""

    name = "mini-imagenet-val"
    synsets = VALIDATION


class NovelClasses(MiniImageNet):
    """The 20 classes that few-shot learners are judged by."""

    name = "mini-imagenet-novel"
    synsets = NOVEL


def _by_synset(names: Iterable[str]) -> dict[str, Sequence[str]]:
    """Images by the synset that their folder is named for, or else their own name; in order."""
    classes: dict[str, list[str]] = {}
    for name in names:
        *folders, file_name = name.split("/")
        folder = folders[-1] if folders else ""
        flat = not _is_synset(folder) and _is_synset(file_name[:SYNSET])
        classes.setdefault(file_name[:SYNSET] if flat else folder, []).append(name)
    return {synset: sorted(images) for synset, images in classes.items()}


def _is_synset(name: str) -> bool:
    return len(name) == SYNSET and name[0] == "n" and name[1:].isdigit()


LISTS = ("train.csv", "val.csv", "test.csv")
NAME = re.compile(r"(n[0-9]{8})([0-9]{8})\.\w+")
MOST_BYTES = 64 * 2**20  # of one list; the few-shot split's have 1 MB


def lists_alone(folder: Path) -> bool:
    """Whether `folder` holds the three lists and nothing else: images of its own come first."""
    if not is_folder(folder):
        return False
    try:
        names = {entry.name for entry in folder.iterdir() if not hidden(entry.name)}
    except OSError as error:
        raise cannot_read(folder, error) from error
    return "train.csv" in names and all(name.endswith(".csv") for name in names)


def read_lists(folder: Path) -> dict[str, list[int]]:
    """The numbers of the listed images by synset, in order of the lists' names.

    The lists of the few-shot split (Ravi and Larochelle, ICLR 2017) have two columns, filename and
    label. A name, n0153282900000005.jpg, is a synset and a number: the place, from 1, among the
    training images of that class in order of their own numbers, as the public scripts that cut the
    set read it. Raises DataError with file and line.
    """
    found: dict[str, list[int]] = {}
    for path in (folder / name for name in LISTS):
        for line, row in _rows(path):
            match = NAME.fullmatch(row[0]) if len(row) == 2 else None
            if match is None or match[1] != row[1] or int(match[2]) < 1:
                raise DataError(
                    f"{shown(path)}:{line}: '{shown(','.join(row))[:80]}' is not a synset and a "
                    "number from 1, then the synset, with a comma between them: "
                    "`n0153282900000005.jpg,n01532829`; get the lists of the few-shot split again"
                )
            found.setdefault(match[1], []).append(int(match[2]))
    for synset, numbers in found.items():
        if len(set(numbers)) < len(numbers):
            raise DataError(f"{folder}: the lists name an image of {synset} twice; get them again")
    return {synset: sorted(numbers) for synset, numbers in found.items()}


def lists_version(lists: Mapping[str, Sequence[int]]) -> str:
    """Of what the lists choose, whatever their lines' order."""
    digest = hashlib.sha256()
    for synset in sorted(lists):
        digest.update(f"{synset}\0{','.join(map(str, lists[synset]))}\n".encode())
    return digest.hexdigest()[:12]


def chosen(names: Sequence[str], numbers: Sequence[int], *, where: str) -> tuple[str, ...]:
    """The images at the places `numbers`, from 1, of `names` in order of the numbers they end with.

    `where` says whose images they are, for the DataError where there are too few.
    """
    ordered = sorted(names, key=_own_number)
    if numbers and numbers[-1] > len(ordered):
        raise DataError(
            f"{where}: the lists want image {numbers[-1]} of the class, there are {len(ordered)}; "
            "the copy of ImageNet-1k is not complete, or the lists are of another set"
        )
    return tuple(ordered[number - 1] for number in numbers)


def _own_number(name: str) -> int:
    """7 of `train/n01532829/n01532829_7.JPEG`."""
    match = re.search(r"_(\d+)\.\w+$", name)
    if match is None:
        raise DataError(
            f"{shown(name)}: an image of ImageNet-1k is called <synset>_<number>.JPEG; the "
            "lists count images by that number, so the original names are needed"
        )
    return int(match[1])


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows and their lines, without empty ones and the heading; with what programs for tables
    make of them: a byte order mark, quotes, ends of lines, spaces.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise OSError(f"larger than {MOST_BYTES // 2**20} MiB")
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{shown(path)}: cannot be read ({error}); the lists are {', '.join(LISTS)} of the "
            "few-shot split, all three in one folder"
        ) from error
    rows = [(line, row) for line, row in rows if any(row)]
    return rows[1:] if rows and rows[0][1][0].lower() == "filename" else rows


DATASETS.register("mini-imagenet")(MiniImageNet())
DATASETS.register("mini-imagenet-base")(BaseClasses())
DATASETS.register("mini-imagenet-val")(ValidationClasses())
DATASETS.register("mini-imagenet-novel")(NovelClasses())
