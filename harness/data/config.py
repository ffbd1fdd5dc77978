"""Which images a run trains on and is judged by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from harness.errors import FieldError


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """A data set of the catalogue (`harness data list`) and what of it is used.

    `version` is completed when a spec is expanded: the catalogue's, or, for the user's own
    images, a fingerprint of the files. The path tells where a `folder` lies and is not identity.
    """

    name: str
    version: str = ""
    # for `folder` only: a directory or a zip with train/<class>/* and val/<class>/*
    path: str | None = None
    train_fraction: float = 1.0  # share of every class, the first by file order
    # holdout: a tenth of the training set, kept out of training
    evaluate_on: Literal["val", "holdout"] = "val"

    NOT_IDENTITY: ClassVar[frozenset[str]] = frozenset({"path"})
    CHOICE: ClassVar[frozenset[str]] = frozenset({"name"})

    def __post_init__(self) -> None:
        if not 0 < self.train_fraction <= 1:
            raise FieldError(
                "train_fraction", f"must be above 0 and at most 1, got {self.train_fraction}"
            )

    def all_of_it(self) -> DataConfig:
        """The whole training set, however little of it was trained on: what evaluations look up."""
        return replace(self, train_fraction=1.0)
