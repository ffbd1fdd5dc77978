"""The data and weights that configurations name, as they lie here: which version, and whether they
go with the network of their row. It is said before anything runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from harness.data import (
    check_classes,
    fingerprint,
    images_per_class,
    open_dataset,
    whole_batches,
)
from harness.data.config import DataConfig
from harness.data.subset import train_count
from harness.errors import HarnessError, Location, cause
from harness.methods.untrained import Pixels
from harness.models.available import class_counts
from harness.models.config import ModelConfig, Weights
from harness.models.families import family_of
from harness.paths import project_file, project_root
from harness.spec.build import Builder
from harness.spec.nodes import MapNode
from harness.train.config import TrainConfig

_HUB_CLASSES = {"1": 1000, "12": 11821, "21": 21843, "22": 21841}
_DIMENSIONS = (
    *("width", "depth", "heads", "patch_size", "image_size", "prefix_tokens", "pooling"),
    *("registers", "mlp", "layer_scale", "image_width", "stride"),
)
FINE_TUNE = (
    "fine-tune it on these data first, as a row of its own (`method: supervised`, `weights: {..., "
    'head: new}` for its student), and give `weights: {run: "#THAT-ROW"}` here: docs/models.md, '
    "A teacher for other classes"
)


class Materials:
    """Looks at each data set and file once, for all rows; the problems it meets go to `builder`."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._data: dict[DataConfig, DataConfig] = {}
        self._sums: dict[Path, str] = {}
        self._misfits: dict[tuple[object, ...], list[tuple[str, str]]] = {}

    def with_version(self, data: DataConfig, node: MapNode) -> DataConfig:
        """`data` with the version of the images that lie here; as it is where there are none."""
        if data not in self._data:
            before = len(self._builder.problems)
            complete = self._with_version(data, node)
            if len(self._builder.problems) > before:
                return data
            self._data[data] = complete
        return self._data[data]

    def _with_version(self, data: DataConfig, node: MapNode) -> DataConfig:
        try:
            version = fingerprint(data)
        except HarnessError as error:
            key = "name" if data.path is None else "path"
            self._builder.problem(node.find("data", key), f"{key}: {error}")
            return data
        if data.version not in ("", version):
            self._builder.problem(
                node.find("data", "version"),
                f"version: asks for '{data.version}', here it is '{version}'",
            )
        return replace(data, version=version)

    def with_checksum(self, weights: Weights, where: Location) -> Weights:
        """The weights of a file with its SHA-256; as they are where there is none."""
        assert weights.file is not None
        path = project_file(weights.file)
        if not path.is_file():
            is_there = "is no file: a folder or device" if path.exists() else "does not exist"
            relative = (
                f" ({weights.file} is relative to the project, {project_root()})"
                if not Path(weights.file).is_absolute()
                else ""
            )
            self._builder.problem(where, f"file: {path} {is_there}{relative}")
            return weights
        if weights.sha256 is not None:
            return weights
        if path not in self._sums:
            try:
                with path.open("rb") as file:
                    self._sums[path] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                self._builder.problem(where, f"file: {path} cannot be read: {cause(error)}")
                return weights
        return replace(weights, sha256=self._sums[path])

    def check(self, config: TrainConfig, trained: Mapping[str, TrainConfig], node: MapNode) -> None:
        """That networks fit their weights and data, and that the data make a batch; `trained` has
        the rows that networks, by their keys, take weights from.
        """
        if not config.data.version:
            return  # nothing is known of the data
        dataset = open_dataset(config.data)
        if dataset.judges_only:
            what = "is there to judge, not to learn from; a column asks for it: `from: "
            at = node.find("data", "name")
            self._builder.problem(at, f"name: {config.data.name} {what}{config.data.name}`")
            return
        for key, model in ({} if isinstance(config.method, Pixels) else config.networks()).items():
            if model.weights.random:
                continue
            asked = (key, model, trained.get(key), config.data)
            if asked not in self._misfits:
                self._misfits[asked] = list(misfits(key, model, trained.get(key), config))
            for name, what in self._misfits[asked]:
                self._builder.problem(node.find(key, "weights", name), f"{name}: {what}")
        if config.method.trains and config.method.uses_labels:
            try:
                check_classes(dataset)
            except HarnessError as error:
                key = "name" if config.data.path is None else "path"
                self._builder.problem(node.find("data", key), f"{key}: {error}")
        try:
            if (wrong := _too_many_per_class(config.data)) is not None:
                where = node.find("data", "train_per_class")
                self._builder.problem(where, f"train_per_class: {wrong}")
                return
            whole_batches(train_count(dataset, config.data), config.recipe.batch_size)
        except HarnessError as error:
            self._builder.problem(node.find("recipe", "batch_size"), f"batch_size: {error}")


def _too_many_per_class(data: DataConfig) -> str | None:
    if data.train_per_class is None or data.train_per_class <= (most := images_per_class(data)):
        return None
    return (
        f"must be at most {most:,}, the training images of the smallest class of {data.name}; got "
        f"{data.train_per_class:,}"
    )


def misfits(
    key: str, model: ModelConfig, trained: TrainConfig | None, config: TrainConfig
) -> Iterator[tuple[str, str]]:
    """What is wrong with the weights of the network `key` of `config`, as (KEY, WORDS): the key
    under `weights` and the message. `trained` is the row that a `run` stands for.
    """
    weights = model.weights
    if key == "teacher" and weights.head == "new":
        yield "head", f"a teacher with `head: new` says things at random: {FINE_TUNE}"
        return
    classifies = family_of(model.shape).labelling == "classes"
    if weights.file is not None and classifies:
        yield from _of_file(key, model, config)
    if weights.hub is not None and key == "teacher":
        yield from _wrong_classes("hub", key, _hub_classes(weights.hub), config)
    if trained is not None:
        yield from _of_run(key, model, trained, config)


def says_at_random(config: TrainConfig, trained: TrainConfig | None) -> str | None:
    """Why the student of a row that trains nothing has a classifier of random weights, though its
    others are not; `trained` is the row that a `run` stands for. None: it has its own.
    """
    weights = config.student.weights
    if config.method.trains or weights.random:
        return None
    if weights.head == "new":
        return "`head: new` is a classifier of random weights"
    if trained is not None and not trained.method.uses_labels:
        return "the row that its weights are of learns without labels: its classifier is random"
    classes = None if weights.hub is None else _hub_classes(weights.hub)
    if classes not in (None, open_dataset(config.data).classes):
        return f"the weights '{weights.hub}' tell {classes:,} other classes apart"
    return None


def _of_file(key: str, model: ModelConfig, config: TrainConfig) -> Iterator[tuple[str, str]]:
    path = project_file(str(model.weights.file))
    if model.weights.sha256 is None or not path.is_file():
        return  # said already
    try:
        counts = class_counts(path)
    except HarnessError as error:
        yield "file", str(error)
        return
    if model.weights.head == "own" and len(counts) == 1:
        yield from _wrong_classes("file", key, next(iter(counts)), config)


def _of_run(
    key: str, model: ModelConfig, trained: TrainConfig, config: TrainConfig
) -> Iterator[tuple[str, str]]:
    shape, trained_shape = model.shape, trained.student.shape
    for name in _DIMENSIONS:
        # positions are resized, detection tokens are new, and the mean of patches has a norm of its
        # own, as MAE's fine-tuning
        renewed = (
            name in ("image_size", "image_width")
            or (name == "prefix_tokens" and shape.detection_tokens > 0)
            or (name == "pooling" and shape.pooling == "avg")
        )
        same = getattr(shape, name) == getattr(trained_shape, name)
        if not same and not (renewed and model.weights.head == "new"):
            there = f"{name} {getattr(trained_shape, name)}, here it is {getattr(shape, name)}"
            yield "run", f"that row trains a network of {there}: make them equal"
            return
    if key == "teacher" and not trained.method.uses_labels:
        yield "run", f"that row trains without labels, so its classifier is random: {FINE_TUNE}"
    elif model.weights.head == "own" and trained.data.version:
        yield from _wrong_classes("run", key, open_dataset(trained.data).classes, config)


def _hub_classes(name: str) -> int | None:
    tags = re.findall(r"in(1|12|21|22)k(?![a-z0-9])", name.partition(".")[2])
    return _HUB_CLASSES[tags[-1]] if tags else None


def _wrong_classes(
    at: str, key: str, classes: int | None, config: TrainConfig
) -> Iterator[tuple[str, str]]:
    wanted = open_dataset(config.data).classes
    if classes is None or classes == wanted:
        return
    advice = FINE_TUNE if key == "teacher" else "`head: new` starts a new classifier"
    yield at, f"the weights tell {classes} classes apart, {config.data.name} has {wanted}: {advice}"
