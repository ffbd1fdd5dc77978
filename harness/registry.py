"""Names that a spec can use, and the objects they stand for.

A component is one file in its package with one `@REGISTRY.register("name")`; the file is found by
itself. Another distribution adds its own through an entry point in the group `harness.<kind>` that
names a module to import; for a module that is not installed, name it in the environment variable
HARNESS_PLUGINS (several: comma-separated), or the folder that it is in.

A component that cannot be loaded, or that lacks a method, is broken: who asks for it is told why,
with its file, and all others can be used.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

from harness import variables
from harness.errors import HarnessError, unknown

T = TypeVar("T")

_REGISTERED = re.compile(r"""\.register\(\s*["']([^"'\n]+)["']""")
_IF_OWN = "; if it is your own: HARNESS_PLUGINS names its module (docs/extending.md)"


class Registry(Generic[T]):
    """What one kind of name stands for; `package` is searched at the first look-up.

    `base` is the class that components are derived from, or instances of. `renamed` holds former
    names, with those of today.
    """

    every: ClassVar[list[Registry[Any]]] = []
    when_loaded: ClassVar[Callable[[], None] | None] = None  # called after each first look-up

    def __init__(
        self,
        kind: str,
        package: str,
        *,
        base: Callable[[], type] = lambda: object,
        renamed: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.kind = kind
        self.every.append(self)
        self._package = package
        self._base = base
        self._renamed = renamed  # former name -> today's
        self._items: dict[str, T] = {}
        self._modules: dict[str, str] = {}  # name -> of the module that registered it
        self._broken: dict[str, str] = {}  # name -> file, and what is wrong
        self._unnamed: dict[str, str] = {}  # what could not be loaded -> the same
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that gives `name` to a class or object; a name is given once."""
        module, line = _caller()

        def add(item: T) -> T:
            first = self._modules.setdefault(name, module)
            if name in self._items:
                self._broken[name] = f"{line}: '{name}' is registered in {first} already"
                return item
            lack = self._what_is_missing(item)
            if lack:
                self._broken[name] = f"{line}: {lack}"
            else:
                self._items[name] = item
            return item

        return add

    def get(self, name: str) -> T:
        """The object called `name`; HarnessError names the nearest valid one, or what is wrong with
        it.
        """
        self._load()
        if name in self._broken:
            raise HarnessError(f"{self.kind} '{name}' cannot be used: {self._broken[name]}")
        if name in self._items:
            return self._items[name]
        if name in self._renamed:
            raise HarnessError(f"{self.kind} '{name}' is now called '{self._renamed[name]}'")
        lost = "".join(f"; not loaded: {why}" for why in dict.fromkeys(self._unnamed.values()))
        raise HarnessError(unknown_component(self.kind, name, self.names()) + lost)

    def name_of(self, item: object) -> str:
        """The name under which `item` was registered."""
        self._load()
        return next(name for name, other in self._items.items() if other is item)

    def names(self) -> list[str]:
        """All names that can be used, sorted."""
        self._load()
        return sorted(self._items.keys() - self._broken.keys())

    def __contains__(self, name: object) -> bool:
        """Whether `name` can be used."""
        self._load()
        return name in self._items and name not in self._broken

    @property
    def broken(self) -> list[str]:
        """A line for each component that cannot be used, as far as they were looked for."""
        named = [
            f"{self.kind} '{name}' cannot be used: {why}" for name, why in self._broken.items()
        ]
        return named + [f"not loaded: {why}" for why in self._unnamed.values()]

    def _what_is_missing(self, item: T) -> str:
        """What keeps `item` from being a component; empty where nothing does."""
        base = self._base()
        cls: type = item if isinstance(item, type) else type(item)
        if not issubclass(cls, base):
            return f"{cls.__name__} is not derived from {base.__name__}"
        if inspect.isabstract(cls):
            missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
            return f"{cls.__name__} lacks {missing}"
        return ""

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            self._import(f"{self._package}.{module.name}")
        for entry in entry_points(group=f"harness.{self.kind.replace(' ', '_')}"):
            self._import(entry.name, entry.load, named=True)
        for name in (variables.value("HARNESS_PLUGINS") or "").split(","):
            if name.strip():
                self._import_plugin(name.strip())
        if Registry.when_loaded is not None:
            Registry.when_loaded()

    def _import_plugin(self, name: str) -> None:
        """A module, or a package that imports its own; of a plain folder every file."""
        self._import(name, plugin=True)
        module = sys.modules.get(name)
        if getattr(module, "__file__", None) is None:  # a folder without `__init__.py`
            for part in pkgutil.iter_modules(getattr(module, "__path__", ())):
                self._import(f"{name}.{part.name}")

    def _import(
        self,
        name: str,
        load: Callable[[], object] | None = None,
        *,
        plugin: bool = False,
        named: bool = False,  # the module is called as its component is
    ) -> None:
        """Import a module, or note why it cannot be, under the names that it would have given."""
        try:
            if load is None:
                importlib.import_module(name)
            else:
                load()
        except (Exception, SystemExit) as error:
            file, line = _place(error)
            message = traceback.format_exception_only(error)[-1].strip()
            why = f"{line}: {message}" if line else f"{name}: {message}"
            if plugin and isinstance(error, ModuleNotFoundError) and error.name == name:
                why = (
                    f"HARNESS_PLUGINS names '{name}', which cannot be imported: {error}; "
                    "PYTHONPATH must name the folder that holds it"
                )
            lost = [one for one in _names_in(file) if self._would_register(one, file)]
            lost += [name] if named and not lost and name not in self._items else []
            for one in lost:
                self._items.pop(one, None)
                self._broken[one] = why
            if not lost:
                self._unnamed[name] = why

    def _would_register(self, name: str, file: str) -> bool:
        """Whether the module of `file`, and no other, is the one to register `name`."""
        module = self._modules.get(name)
        if module is None:
            return True
        loaded = sys.modules.get(module)  # a module that fails is taken out again
        return loaded is None or getattr(loaded, "__file__", None) == file


def unknown_component(kind: str, name: str, valid: Sequence[str]) -> str:
    """The text for a name that no component gave, which may be of one that is not loaded."""
    own = "" if variables.value("HARNESS_PLUGINS") else _IF_OWN
    return unknown(kind, name, valid) + own


def broken_components() -> list[str]:
    """A line for each component that cannot be used, of those that were looked for."""
    return list(dict.fromkeys(line for one in Registry.every for line in one.broken))


def place_of(error: BaseException) -> str:
    """The file and line that an import failed at."""
    return _place(error)[1]


def _caller() -> tuple[str, str]:
    """The module that registers something, and its file with the line."""
    frame = sys._getframe(2)
    return str(frame.f_globals.get("__name__", "")), (
        f"{_shown(frame.f_code.co_filename)}:{frame.f_lineno}"
    )


def _place(error: BaseException) -> tuple[str, str]:
    """The file that an import failed at, and the same with its line, for people."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, f"{_shown(error.filename)}:{error.lineno or 1}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    if not own:
        return "", ""
    return own[-1].filename, f"{_shown(own[-1].filename)}:{own[-1].lineno}"


def _shown(file: str) -> str:
    near = os.path.relpath(file) if os.path.isabs(file) and _has_current() else file
    return file if near.startswith("..") else near


def _has_current() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _names_in(file: str) -> list[str]:
    """The names that a module would register, as its text says."""
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace") if file else ""
    except OSError:
        return []
    return list(dict.fromkeys(_REGISTERED.findall(text)))
