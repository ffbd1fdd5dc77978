"""What can be told of weights without loading them and without torch: whether they can be had here,
and how many classes their classifiers tell apart. Nothing of a file is imported or run.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness import variables
from harness.data import ready
from harness.data.config import DataConfig
from harness.errors import WeightsError
from harness.models.config import ModelConfig, Weights
from harness.models.files import open_archive, peek
from harness.paths import project_file
from harness.variables import user_path

_HUB_FILES = (
    *("model.safetensors", "pytorch_model.bin"),
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
)  # in timm's order


def missing_weights(weights: Weights) -> str | None:
    """What is missing and what to do about it; None when the weights are at hand, random, or
    trained by a dependency.
    """
    if weights.file is not None and not project_file(weights.file).is_file():
        return f"weights {weights.file}: there is no file {project_file(weights.file)}"
    if weights.hub is not None and hub_file(weights.hub) is None:
        return (
            f"weights {weights.hub}: fetch them where the model hub is reachable: "
            f"python -c \"import timm; timm.create_model('{weights.hub}', pretrained=True)\""
        )
    return None


def missing_inputs(data: DataConfig, models: Iterable[ModelConfig | None]) -> list[str]:
    """What a run over a data set lacks on this machine: the set, and weights of its networks."""
    missing = [ready(data), *(missing_weights(model.weights) for model in models if model)]
    return [what for what in missing if what is not None]


def hub_file(name: str) -> Path | None:
    """Where the hub's cache has the published weights `name`; None where it has not.

    That is the file that timm takes from there without asking the hub.
    """
    cache = hub_cache()
    if cache is None:
        return None
    repository, _, revision = name.removeprefix("hf-hub:").partition("@")
    owner = "" if name.startswith("hf-hub:") else "timm/"
    folder = cache / f"models--{owner}{repository}".replace("/", "--")
    try:
        commit = (folder / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        commit = revision  # which may be a commit
    files = (folder / "snapshots" / commit / file for file in _HUB_FILES) if commit else ()
    return next((file for file in files if file.is_file()), None)


def hub_names(config: Mapping[str, Any]) -> set[str]:
    """The published weights that a run's configuration names, which is as JSON gives it."""
    found, open_ = set(), [config]
    while open_:
        one = open_.pop()
        weights = one.get("weights")
        if isinstance(weights, Mapping) and weights.get("hub") is not None:
            found.add(str(weights["hub"]))
        open_ += [value for value in one.values() if isinstance(value, Mapping)]
    return found


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

    Raises WeightsError where the file is no file of weights, or is cut short.
    """
    counts: set[int] = set()
    kind = peek(path)
    try:
        content = _header(path) if kind == "safetensors" else _pickled(path)
    except WeightsError:
        raise
    except Exception as error:  # a parser on bytes that anybody may have written
        reason = str(error).split("\n")[0] or type(error).__name__
        what = "safetensors file" if kind == "safetensors" else "torch checkpoint"
        raise WeightsError(
            f"{path}: not a whole {what} ({reason}); fetch or train it again"
        ) from error
    _collect(content, counts, depth=6, seen=set())
    return counts


def _header(path: Path) -> Any:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(length, MOST_HEADER)))
    tensors = {name: about for name, about in header.items() if name != "__metadata__"}
    end = max((about["data_offsets"][1] for about in tensors.values()), default=0)
    if 8 + length + end > size:
        raise ValueError(f"it has {size:,} of {8 + length + end:,} bytes")
    return {name: tuple(about["shape"]) for name, about in tensors.items()}


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
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return {}  # torch's older form
        archive = open_archive(path, file, path.stat().st_size)
        member = next(one for one in archive.infolist() if one.filename.endswith("data.pkl"))
        if member.file_size > MOST_HEADER:
            return {}
        content = archive.read(member)
    _check_bounded(content)
    try:
        return _Unpickler(io.BytesIO(content)).load()
    except Exception:  # classes that the stubs do not stand for: loading says what they are
        return {}


def _check_bounded(content: bytes) -> None:
    """ValueError where a pickle is cut short, or a few bytes of it would take up any memory:
    Python's unpickler makes room for as many values as the highest index that it reads.
    """
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(content):
            raise ValueError("its pickle is damaged")


def _collect(content: Any, counts: set[int], *, depth: int, seen: set[int]) -> None:
    if not isinstance(content, Mapping) or depth == 0 or id(content) in seen:
        return
    seen.add(id(content))
    for name, value in content.items():
        named = isinstance(name, str) and f".{name}".endswith(tuple(f".{end}" for end in _HEADS))
        if named and isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], int):
            counts.add(value[0])
        _collect(value, counts, depth=depth - 1, seen=seen)
