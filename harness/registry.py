"""Names that a spec can use, and the objects they stand for.

A component is one file in its package with one `@REGISTRY.register("name")`; the file is found by
itself. Another distribution adds its own through an entry point in the group `harness.<kind>` that
names a module to import; for a module that is not installed, name it in the environment variable
HARNESS_PLUGINS (several: comma-separated).
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from harness.errors import HarnessError, unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """What one kind of name stands for; `package` is searched at the first look-up."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._items: dict[str, T] = {}
        self._planned: dict[str, str] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that gives `name` to a class or object; a name is given once."""

        def add(item: T) -> T:
            assert name not in self._items, f"{self.kind} '{name}' is registered twice"
            self._items[name] = item
            return item

        return add

    def announce(self, name: str, what: str) -> None:
        """Say that `name` is a real thing of the papers that is not implemented yet: specs may name
        it, runs wait.
        """
        self._planned[name] = what

    def get(self, name: str) -> T:
        """The object called `name`; HarnessError names the nearest valid one."""
        self._load()
        if name in self._items:
            return self._items[name]
        raise HarnessError(unknown(self.kind, name, self.names()))

    def planned(self, name: str) -> str | None:
        """What `name` will be, if it is announced and not implemented; None otherwise."""
        self._load()
        return None if name in self._items else self._planned.get(name)

    def name_of(self, item: object) -> str:
        """The name under which `item` was registered."""
        self._load()
        return next(name for name, known in self._items.items() if known is item)

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._load()
        return sorted(self._items)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        for entry in entry_points(group=f"harness.{self.kind.replace(' ', '_')}"):
            entry.load()
        for name in filter(None, os.environ.get("HARNESS_PLUGINS", "").split(",")):
            _import_plugin(name.strip())


def _import_plugin(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise HarnessError(
            f"HARNESS_PLUGINS names '{name}', which cannot be imported: {error}"
        ) from error
