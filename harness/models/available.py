"""What can be told of weights without loading them and without torch: whether they can be had here,
and how many classes their classifiers tell apart. Nothing of a file is imported or run.
"""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness import variables
from harness.data import ready
from harness.data.config import DataConfig
from harness.models.config import ModelConfig, Weights
from harness.models.files import peek
from harness.paths import project_file
from harness.variables import user_path


def missing_weights(weights: Weights) -> str | None:
    """What is missing and what to do about it; None when the weights are at hand, random, or
    trained by a dependency.
    """
    if weights.file is not None and not project_file(weights.file).is_file():
        return f"weights {weights.file}: there is no file {project_file(weights.file)}"
    if weights.hub is not None and not _cached(weights.hub):
        return (
            f"weights {weights.hub}: fetch them where the model hub is reachable: "
            f"python -c \"import timm; timm.create_model('{weights.hub}', pretrained=True)\""
        )
    return None


def missing_inputs(data: DataConfig, models: Iterable[ModelConfig | None]) -> list[str]:
    """What a run over a data set lacks on this machine: the set, and weights of its networks."""
    missing = [ready(data), *(missing_weights(model.weights) for model in models if model)]
    return [what for what in missing if what is not None]


def _cached(name: str) -> bool:
    hub = hub_cache()
    return hub is not None and (hub / f"models--timm--{name}" / "snapshots").is_dir()


def hub_cache() -> Path | None:
    """Where the model hub's client keeps what it fetched; None without a home directory."""
    folder = os.environ.get("HF_HUB_CACHE")
    if folder:
        return user_path(folder, "$HF_HUB_CACHE")
    home = os.environ.get("HF_HOME")
    if home:
        return user_path(home, "$HF_HOME") / "hub"
    home_folder = variables.home()
    return None if home_folder is None else home_folder / ".cache" / "huggingface" / "hub"


MOST_HEADER = 100_000_000  # bytes
_HEADS = ("head.weight", "head.fc.weight")


def class_counts(path: Path) -> set[int]:
    """How many classes the classifiers in a file tell apart; empty where it has none, or it cannot
    be told without reading the file whole.

    Raises WeightsError where the file is no file of weights.
    """
    counts: set[int] = set()
    kind = peek(path)
    try:
        content = _header(path) if kind == "safetensors" else _pickled(path)
        _collect(content, counts, depth=6, seen=set())
    except Exception:  # damaged further on: it is said, with what is wrong, when it is loaded
        return set()
    return counts


def _header(path: Path) -> Any:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(length, MOST_HEADER)))
    return {name: tuple(about.get("shape", ())) for name, about in header.items()}


class _Stub:
    """Stands for whatever a pickle names."""

    def __init__(self, *given: object, **options: object) -> None:
        """Takes anything."""

    def __call__(self, *given: object, **options: object) -> _Stub:
        return self

    def __setstate__(self, state: object) -> None:
        """Takes anything."""


def _tensor(storage: object, offset: object, size: object, *more: object) -> object:
    """`torch._utils._rebuild_tensor_v2`: the size."""
    return size


def _parameter(data: object, *more: object) -> object:
    """`torch._utils._rebuild_parameter`: its tensor."""
    return data


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Nothing is ever imported."""
        stand_ins = {
            "_rebuild_tensor_v2": _tensor,
            "_rebuild_parameter": _parameter,
            "OrderedDict": OrderedDict,
        }
        return stand_ins.get(name, _Stub)

    def persistent_load(self, key: object) -> None:
        """No numbers are read."""


def _pickled(path: Path) -> Any:
    if not zipfile.is_zipfile(path):
        return {}  # torch's older form
    with zipfile.ZipFile(path) as archive:
        member = next(one for one in archive.infolist() if one.filename.endswith("data.pkl"))
        if member.file_size > MOST_HEADER or member.compress_type != zipfile.ZIP_STORED:
            return {}
        with archive.open(member) as file:
            return _Unpickler(file).load()


def _collect(content: Any, counts: set[int], *, depth: int, seen: set[int]) -> None:
    if not isinstance(content, Mapping) or depth == 0 or id(content) in seen:
        return
    seen.add(id(content))
    for name, value in content.items():
        named = isinstance(name, str) and f".{name}".endswith(tuple(f".{end}" for end in _HEADS))
        if named and isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], int):
            counts.add(value[0])
        _collect(value, counts, depth=depth - 1, seen=seen)
