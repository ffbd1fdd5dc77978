"""From the layers of a row to its complete configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.data import fingerprint, steps_per_epoch
from harness.data.config import DataConfig
from harness.errors import Diagnostic, HarnessError, Location
from harness.models.config import ModelConfig, Weights
from harness.paths import project_file, project_root
from harness.spec.build import Builder
from harness.spec.fitting import misfits
from harness.spec.merge import merge_all
from harness.spec.nodes import MapNode
from harness.spec.table import Row
from harness.train.config import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """What came of a row: its configuration, or the problems with it."""

    config: TrainConfig | None
    problems: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependency:
    """The run that a reference `table#row` stands for."""

    identity: str = ""
    config: TrainConfig | None = None  # what it trains, where that is known
    problems: tuple[Diagnostic, ...] = ()  # with its row
    wrong: str | None = None  # with the reference itself


Follow = Callable[[str], Dependency]
"""Finds the run of a reference `table#row`."""


class Resolver:
    """Merges, builds, completes and checks; remembers what rows share."""

    def __init__(self) -> None:
        self._builder = Builder()
        self._data: dict[DataConfig, DataConfig] = {}
        self._sums: dict[Path, str] = {}
        self._trained: dict[str, TrainConfig] = {}  # by network, of the row that is resolved
        self._misfits: dict[tuple[object, ...], list[tuple[str, str]]] = {}

    def resolve(self, row: Row, follow: Follow) -> Resolved:
        """The complete configuration of `row`, with seed 0."""
        self._builder.problems = []
        self._trained = {}
        node = merge_all(row.layers, TrainConfig, under=row.node)
        config = self._builder.build(node, TrainConfig)
        if isinstance(config, TrainConfig):
            config = self._completed(config, node, follow)
            self._check_batch(config, node)
        problems = tuple(self._builder.problems)
        complete = isinstance(config, TrainConfig) and not problems
        return Resolved(config=config if complete else None, problems=problems)

    def _completed(self, config: TrainConfig, node: MapNode, follow: Follow) -> TrainConfig:
        student = self._model(config.student, "student", node, follow)
        teacher = config.teacher and self._model(config.teacher, "teacher", node, follow)
        saliency_model = config.saliency_model and self._model(
            config.saliency_model, "saliency_model", node, follow
        )
        data = self._dataset(config.data, node)
        if data.version:
            self._check_networks(replace(config, data=data), node)
        return replace(
            config, student=student, teacher=teacher, saliency_model=saliency_model, data=data
        )

    def _check_networks(self, config: TrainConfig, node: MapNode) -> None:
        if not config.method.trains:
            return
        for key, model in config.networks().items():
            if model.weights.random:
                continue
            asked = (key, model, self._trained.get(key), config.data)
            if asked not in self._misfits:
                self._misfits[asked] = list(misfits(key, model, self._trained.get(key), config))
            for name, what in self._misfits[asked]:
                self._builder.problem(node.find(key, "weights", name), f"{name}: {what}")

    def _dataset(self, data: DataConfig, node: MapNode) -> DataConfig:
        if data not in self._data:
            before = len(self._builder.problems)
            complete = self._versioned(data, node)
            if len(self._builder.problems) > before:
                return data
            self._data[data] = complete
        return self._data[data]

    def _versioned(self, data: DataConfig, node: MapNode) -> DataConfig:
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

    def _model(self, model: ModelConfig, key: str, node: MapNode, follow: Follow) -> ModelConfig:
        if model.weights.random or model.weights.hub is not None:
            return model
        return replace(model, weights=self._weights(model.weights, (key, "weights"), node, follow))

    def _weights(
        self, weights: Weights, path: tuple[str, str], node: MapNode, follow: Follow
    ) -> Weights:
        if weights.run is not None:
            dependency = follow(weights.run)
            self._builder.problems += dependency.problems
            if dependency.wrong is not None:
                self._builder.problem(node.find(*path, "run"), f"run: {dependency.wrong}")
            if dependency.config is not None:
                self._trained[path[0]] = dependency.config
            return replace(weights, run=dependency.identity)
        assert weights.file is not None
        return replace(weights, sha256=self._sha256(weights, node.find(*path, "file")))

    def _sha256(self, weights: Weights, where: Location) -> str | None:
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
            return weights.sha256
        if weights.sha256 is None and path not in self._sums:
            with path.open("rb") as file:
                self._sums[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return weights.sha256 or self._sums[path]

    def _check_batch(self, config: TrainConfig, node: MapNode) -> None:
        if not config.data.version:
            return  # nothing is known of the data
        try:
            steps_per_epoch(config.data, config.recipe)
        except HarnessError as error:
            self._builder.problem(node.find("recipe", "batch_size"), f"batch_size: {error}")
