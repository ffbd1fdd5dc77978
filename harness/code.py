"""Which code computed a run, so that a number by other code than today's is told from today's.

A run's code are the source files of its components (task, method, criterion, data set, family of
models) and of all that they import of their package, seen without importing anything, and the
versions of the libraries under them. Comments, docstrings and the words of errors do not count. The
identity of a run stays about its configuration.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, TypeGuard

import harness
from harness.data.cache import kept_at
from harness.data.paths import cache_dir

LIBRARIES: Final = ("torch", "torchvision", "timm", "numpy", "scipy", "PIL")
"""By the names under which they are imported."""
LAZY: Final = "harness.lazy"  # through which torch is imported where it is needed
ROOT: Final = Path(harness.__file__).resolve().parents[1]
INERT: Final = (
    *(
        "harness",
        "harness.errors",
        "harness.evidence",
        "harness.lazy",
        "harness.paths",
        "harness.registry",
    ),
    *("harness.variables", "harness.process", "harness.api", "harness.shown_patches"),
    *("harness.run", "harness.text", "harness.code", "harness.data.cache", "harness.data.fetch"),
    *("harness.data.paths", "harness.data.verify", "harness.cli", "harness.launch"),
    *("harness.data.pack", "harness.data.packs", "harness.data.packing", "harness.data.threads"),
    *("harness.report", "harness.spec", "harness.store", "harness.plan", "harness.estimate"),
)
"""Of the package: what moves bytes and words about, with what lies below it. No number depends on
it that `version` of a component does not tell."""
FRESH = 2.0
"""Seconds: a file changed so lately may change again within one tick of its time."""
MIXED: Final = "changed while it ran"
_FORMAT = 1  # of the remembered digests


@dataclass(frozen=True, slots=True)
class CodeRecord:
    """What `result.json` says of the code that computed it."""

    modules: Mapping[str, str]  # dotted name -> digest
    libraries: Mapping[str, str]  # name -> version
    files: Mapping[str, str]  # where modules of others than this package lay

    @classmethod
    def of(cls, config: object) -> Self:
        """That of this process for a run of `config`."""
        sources = Sources()
        found: dict[str, SourceFile] = {}
        open_ = [(name, _loaded_from(name)) for name in sorted(_modules(config))]
        libraries: set[str] = set()
        while open_:
            name, path = open_.pop()
            if name in found or _inert(name) or path is None:
                continue
            source = sources.read(path)
            if source is None:
                continue
            found[name] = source
            for other in (*_parents(name), *source.names(name)):
                libraries.add("torch" if other == LAZY else other.partition(".")[0])
                open_.append((other, _beside(other, name, path)))
        sources.remember()
        own = {name: source.path for name, source in found.items()}
        return cls(
            modules={name: found[name].digest for name in sorted(found)},
            libraries={name: _version(name) for name in LIBRARIES if name in libraries},
            files={name: str(own[name]) for name in sorted(own) if not _ours(name)},
        )

    @classmethod
    def read(cls, value: object) -> CodeRecord | None:
        """From its JSON form; None where it has none, or what says nothing."""
        if not isinstance(value, Mapping):
            return None
        modules, libraries, files = (value.get(key) for key in ("modules", "libraries", "files"))
        if not (_texts(modules) and _texts(libraries) and _texts(files)):
            return None
        return _code_record(*(tuple(part.items()) for part in (modules, libraries, files)))

    def plain(self) -> dict[str, Any]:
        """Its JSON form."""
        return {key: dict(getattr(self, key)) for key in ("modules", "libraries", "files")}

    def joined(self, later: CodeRecord) -> CodeRecord:
        """Of a run that began with this code and ended with `later`'s: what differs is neither."""
        both = {
            name: digest if later.modules.get(name, digest) == digest else MIXED
            for name, digest in self.modules.items()
        }
        return CodeRecord({**later.modules, **both}, self.libraries, {**later.files, **self.files})

    def changed(self, sources: Sources) -> tuple[str, ...]:
        """What is not as it was: modules, and libraries with both versions."""
        known = sources.changes.get(id(self))
        if known is None:
            known = sources.changes[id(self)] = (self, self._changed(sources))
        return known[1]

    def _changed(self, sources: Sources) -> tuple[str, ...]:
        modules = [
            name
            for name, digest in self.modules.items()
            if sources.digest(name, self.files.get(name)) != digest
        ]
        libraries = [
            f"{name} {old} -> {_version(name) or 'none'}"
            for name, old in self.libraries.items()
            if _release(_version(name)) != _release(old)
        ]
        return (*modules, *libraries)


_Pairs: TypeAlias = tuple[tuple[str, str], ...]


@lru_cache(maxsize=64)
def _code_record(modules: _Pairs, libraries: _Pairs, files: _Pairs) -> CodeRecord:
    """The runs of a table share a few."""
    return CodeRecord(dict(modules), dict(libraries), dict(files))


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A source file: its digest, and what it imports, as it is written there."""

    path: Path
    digest: str
    imports: tuple[str, ...]  # dotted names; those with dots in front are relative

    def names(self, module: str) -> Iterator[str]:
        """What it imports, as full names."""
        package = module if self.path.name == "__init__.py" else module.rpartition(".")[0]
        for name in self.imports:
            bare = name.lstrip(".")
            level = len(name) - len(bare)
            if level:
                base = package.split(".")[: len(package.split(".")) - level + 1]
                name = ".".join([*base, bare] if bare else base)
            yield name


class Sources:
    """Source files as they are now; what was read once is remembered by path, time and size."""

    def __init__(self) -> None:
        self._place = _place()
        self._known: dict[str, list[Any]] = _remembered(self._place)
        self._new = False
        self._digests: dict[str, str | None] = {}
        # by the id of a record, which lives as long
        self.changes: dict[int, tuple[CodeRecord, tuple[str, ...]]] = {}

    def digest(self, module: str, file: str | None) -> str | None:
        """That of a module; None where it is not here. `file` is where it lay, if not with us."""
        if module not in self._digests:
            path = _beside(module, "harness", ROOT) if _ours(module) else _outside(module, file)
            source = None if path is None else self.read(path)
            self._digests[module] = None if source is None else source.digest
        return self._digests[module]

    def read(self, path: Path) -> SourceFile | None:
        """None where there is none, or it cannot be read."""
        try:
            about = path.stat()
            known = self._known.get(str(path))
            if known is None or known[:2] != [about.st_mtime_ns, about.st_size]:
                digest, imports = _seen(path.read_bytes())
                known = [about.st_mtime_ns, about.st_size, digest, imports]
                self._known[str(path)] = known
                self._new = True
        except OSError:
            return None
        return SourceFile(path, known[2], tuple(known[3]))

    def remember(self) -> None:
        """Keep what was read for the next process; without a disk to write to, do without."""
        if not self._new or self._place is None:
            return
        latest = (time.time() - FRESH) * 1e9
        lasting = {path: known for path, known in self._known.items() if known[0] < latest}
        with suppress(OSError), kept_at(self._place) as partial:
            partial.write_text(json.dumps({"format": _FORMAT, "files": lasting}), encoding="utf-8")
        self._new = False


def _place() -> Path | None:
    try:
        return cache_dir() / "sources.json"
    except RuntimeError:  # no home
        return None


def _remembered(place: Path | None) -> dict[str, list[Any]]:
    try:
        found = json.loads(place.read_bytes()) if place is not None else {}
        files = found["files"] if found["format"] == _FORMAT else {}
        whole = all(
            isinstance(mtime, int)
            and isinstance(size, int)
            and isinstance(digest, str)
            and all(isinstance(name, str) for name in imports)
            for mtime, size, digest, imports in files.values()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return dict(files) if whole and len(files) < 10_000 else {}


def _seen(content: bytes) -> tuple[str, list[str]]:
    """Digest and imports of a source text; of what is no Python, the digest of its bytes."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return hashlib.sha256(content).hexdigest(), []
    parts: list[str] = []
    imports: dict[str, None] = {}
    _walk(tree, parts, imports)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest(), list(imports)


def _walk(node: ast.AST, parts: list[str], imports: dict[str, None]) -> None:
    """The meaning of a tree as texts, the same for every version of Python that can read it."""
    parts.append(type(node).__name__)
    if isinstance(node, ast.Raise):  # which error, not its words
        call = node.exc
        parts.append(ast.dump(call.func if isinstance(call, ast.Call) else call or ast.Pass()))
        return
    if isinstance(node, ast.Import):
        imports.update(dict.fromkeys(alias.name for alias in node.names))
    elif isinstance(node, ast.ImportFrom):
        base = "." * node.level + (node.module or "")
        joint = "" if base.endswith(".") else "."
        imports[base] = None
        imports.update({f"{base}{joint}{alias.name}": None for alias in node.names})
    for field in node._fields:
        value = getattr(node, field, None)
        if isinstance(value, ast.AST):
            parts.append(field)
            _walk(value, parts, imports)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, ast.AST) and not _without_meaning(item):
                    parts.append(field)
                    _walk(item, parts, imports)
                elif not isinstance(item, ast.AST):
                    parts.append(repr(item))
        elif value is not None and field not in ("type_comment", "kind"):
            parts.append(repr(value))
    parts.append(".")


def _without_meaning(node: ast.AST) -> bool:
    """Docstrings, and imports for type checkers."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def _modules(config: object) -> set[str]:
    """Those of all classes in a configuration, and of the components that it names."""
    found = {type(config).__module__}
    if is_dataclass(config):
        for field in fields(config):
            value = getattr(config, field.name)
            for part in value if isinstance(value, tuple) else (value,):
                if is_dataclass(part):
                    found |= _modules(part)
    if hasattr(config, "components"):
        found |= {cls.__module__ for cls in config.components()}
    return found - {"builtins"}


def _inert(name: str) -> bool:
    return name in INERT or name.startswith(tuple(f"{one}." for one in INERT[1:]))


def _ours(name: str) -> bool:
    return name.partition(".")[0] == "harness"


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _loaded_from(name: str) -> Path | None:
    file = getattr(sys.modules.get(name), "__file__", None)
    return None if file is None else Path(file).resolve()


@cache
def _beside(name: str, importer: str, path: Path) -> Path | None:
    """The file of a module that `importer`, in the file `path`, imports of its own package or of
    its own folder; None for those of libraries.
    """
    top = name.partition(".")[0]
    if _ours(name):
        root = ROOT
    else:
        levels = importer.count(".") + (path.name == "__init__.py")
        root = path.parents[levels]
        if top != importer.partition(".")[0] and root.name in ("site-packages", "dist-packages"):
            return None
    place = root.joinpath(*name.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _outside(module: str, file: str | None) -> Path | None:
    """Where a module of somebody else lies now."""
    parts = module.split(".")
    for root in (Path(entry or ".") for entry in sys.path):
        place = root.joinpath(*parts)
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path.resolve()
    return None if file is None else Path(file)


@cache
def _version(name: str) -> str:
    try:
        return metadata.version("pillow" if name == "PIL" else name)
    except metadata.PackageNotFoundError:
        return ""


def _release(version: str) -> str:
    """Without the build: the same release for a CPU and for a GPU."""
    return version.partition("+")[0]


def _texts(value: object) -> TypeGuard[Mapping[str, str]]:
    if not isinstance(value, Mapping):
        return False
    try:
        return "".join([*value.keys(), *value.values()]).isprintable()
    except TypeError:
        return False
