"""Whether weights go with the network and the data of their row: said before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.data import open_dataset
from harness.errors import HarnessError
from harness.models.available import class_counts
from harness.models.config import ModelConfig
from harness.paths import project_file
from harness.train.config import TrainConfig

_HUB_CLASSES = {"1": 1000, "12": 11821, "21": 21843, "22": 21841}
_DIMENSIONS = (
    *("width", "depth", "heads", "patch_size", "image_size", "prefix_tokens", "pooling"),
    *("registers", "mlp", "layer_scale"),
)
FINE_TUNE = (
    "fine-tune it on these data first, as a row of its own (`method: supervised`, `weights: {..., "
    'head: new}` for its student), and give `weights: {run: "#THAT-ROW"}` here: docs/models.md, '
    "A teacher for other classes"
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
    if weights.file is not None:
        yield from _of_file(key, model, config)
    if weights.hub is not None and key == "teacher":
        yield from _wrong_classes("hub", key, _hub_classes(weights.hub), config)
    if trained is not None:
        yield from _of_run(key, model, trained, config)


def _of_file(key: str, model: ModelConfig, config: TrainConfig) -> Iterator[tuple[str, str]]:
    path = project_file(str(model.weights.file))
    if not path.is_file():
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
        resized = name == "image_size" and model.weights.head == "new"
        if getattr(shape, name) != getattr(trained_shape, name) and not resized:
            there = f"{name} {getattr(trained_shape, name)}, here it is {getattr(shape, name)}"
            yield "run", f"that row trains a network of {there}: make them equal"
            return
    if key == "teacher" and trained.method.multicrop is not None:
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
