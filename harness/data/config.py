"""Which images a run trains on and is judged by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from harness.bounds import Known, Share, at_least, check_bounds
from harness.data.dataset import DATASETS
from harness.errors import FieldError


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """A data set of the catalogue (`harness data list`) and what of it is used.

    `version` is completed when a spec is expanded: the catalogue's, or, for the user's own
    images, a fingerprint of the files. The path tells where a `folder` lies and is not identity.
    """

    name: Annotated[str, Known(look_up=DATASETS.get)]  # a name of `harness data list`
    version: str = ""
    # for `folder` only: a directory or a zip with train/CLASS/* and val/CLASS/*, relative to the
    # project or absolute
    path: str | None = None
    # fraction of every class that is trained on, the first by file order
    train_fraction: Share = 1.0
    # so many images of every class, the first by file order: AttMask's "20 %" of ImageNet is 260
    train_per_class: Annotated[int, at_least(1, "image")] | None = None
    # the shorter side, in pixels, that a pack has reduced larger images to (`harness data pack NAME
    # --size 256`); none: the images as they are
    packed: Annotated[int, at_least(1, "pixel")] | None = None
    # holdout: a tenth of the training set, kept out of training
    evaluate_on: Literal["val", "holdout"] = "val"
    # of a set in folds (`esc50`): the one that judges, from 1; none: seed 0 is judged by the first,
    # seed 1 by the second, and so on around
    fold: Annotated[int, at_least(1, most=1000)] | None = None

    NOT_IDENTITY: ClassVar[frozenset[str]] = frozenset({"path"})
    DISCRIMINATOR: ClassVar[frozenset[str]] = frozenset({"name"})
    ADDED_LATER: ClassVar[frozenset[str]] = frozenset({"train_per_class", "packed", "fold"})

    def components(self) -> tuple[type, ...]:
        """The code behind the name; see `harness.code`."""
        return (type(DATASETS.get(self.name)),)

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.train_per_class is not None and self.train_fraction < 1:
            raise FieldError("train_per_class", "give it or train_fraction, not both")
        if self.fold is not None:
            folds = DATASETS.get(self.name).folds
            if not folds:
                raise FieldError("fold", f"{self.name} has no folds: leave it out")
            if self.fold > folds:
                raise FieldError("fold", f"must be 1 to {folds}, got {self.fold}")

    def at_seed(self, seed: int) -> DataConfig:
        """With the fold that judges this seed, where the set has folds and none is given."""
        if self.fold is not None:
            return self
        folds = DATASETS.get(self.name).folds
        return replace(self, fold=seed % folds + 1) if folds else self

    def all_of_it(self) -> DataConfig:
        """The whole training set, however little of it was trained on: what evaluations look up."""
        return replace(self, train_fraction=1.0, train_per_class=None)
