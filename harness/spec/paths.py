"""Where specs and recipes lie, and what they are called."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from harness.data.naming import shown
from harness.errors import HarnessError, cause, unknown
from harness.paths import experiments_root

_NOT_PRINTABLE = "its name has characters that are not printed, or no UTF-8: give it another one"
FOLDERS: Mapping[str, str] = {"recipe": "recipes", "profile": "profiles"}
"""Where pieces lie that specs share, by what they are."""


def list_tables(broken: MutableMapping[str, str] | None = None) -> list[str]:
    """The names of all tables, `maskedkd/table2`, sorted.

    A folder that cannot be read, `maskedkd/`, and a spec without a proper name stand in `broken`
    with the reason, and hide no other; without `broken` they are a HarnessError.
    """
    root = experiments_root()
    unread: MutableMapping[str, str] = {} if broken is None else broken
    names: list[str] = []
    for folder in _listed(root):
        if folder in FOLDERS.values():
            continue
        try:
            paths = _specs_in(root / folder)
        except HarnessError as error:
            unread[f"{folder}/"] = str(error)
            continue
        for path in paths:
            name = f"{folder}/{path.stem}"
            if name.isprintable():
                names.append(name)
            else:
                unread[shown(name)] = f"{shown(path)}: {_NOT_PRINTABLE}"
    if broken is None and unread:
        raise HarnessError("; ".join(unread.values()))
    return sorted(names)


def no_specs() -> HarnessError:
    """What is told where there is no table at all."""
    return HarnessError(
        f"there are no specs in {experiments_root()}: write PAPER/TABLE.yaml there, or work in "
        "another folder (docs/environment.md)"
    )


def stray_specs() -> list[Path]:
    """YAML files among the specs that no command reads: too deep, too high, or otherwise named."""
    root = experiments_root()
    read = {*root.glob("*/*.yaml"), networks_path()}
    found = (path for path in root.rglob("*") if path.suffix.lower() in (".yaml", ".yml"))
    return sorted(path for path in found if path not in read and not _hidden(path, root))


def list_pieces(kind: str) -> dict[str, Path]:
    """The files of all shared recipes or profiles by name, sorted; HarnessError where their folder
    cannot be read.
    """
    paths = _specs_in(experiments_root() / FOLDERS[kind])
    return {path.stem: path for path in sorted(paths, key=lambda path: path.stem)}


def networks_path() -> Path:
    """The file of the shared networks, which may not exist."""
    return experiments_root() / "networks.yaml"


def table_path(name_or_path: str | Path) -> Path:
    """The file of a table given by name or path; HarnessError names the nearest table."""
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        path = Path(text)
        if path.is_file():
            return path
        name = find_table(text.rpartition(".")[0])
        hint = "" if name is None else f"; a table is called without an ending: {name}"
        raise HarnessError(f"there is no spec {text}{hint}")
    broken: dict[str, str] = {}
    names = list_tables(broken)
    name = _named(text, names)
    if not names and not broken:
        raise no_specs()
    if name is None:
        unread = [
            why for folder, why in broken.items() if "/" not in text or text.startswith(folder)
        ]
        raise HarnessError("; ".join([*unread, unknown("table", text, names)]))
    return experiments_root() / f"{name}.yaml"


def find_table(text: str) -> str | None:
    """The table called `maskedkd/table2`, or `table2` where one paper alone has such a table; None
    if there is none.
    """
    return _named(text, list_tables({}))


def _named(text: str, tables: list[str]) -> str | None:
    if text in tables:
        return text
    same_stem = [name for name in tables if name.rpartition("/")[2] == text]
    if len(same_stem) > 1:
        raise HarnessError(f"'{text}' is in several papers: say {' or '.join(same_stem)}")
    return same_stem[0] if same_stem else None


def table_name(path: Path) -> str:
    """What a spec is called: its folder and its file name."""
    path = path.resolve()
    return f"{path.parent.name}/{path.stem}"


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _specs_in(folder: Path) -> list[Path]:
    return [folder / name for name in _listed(folder) if name.endswith(".yaml")]


def _listed(folder: Path) -> list[str]:
    """What lies in a folder, sorted, but for what is hidden, which editors and systems leave;
    HarnessError where it cannot be read, nothing where there is none.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except NotADirectoryError:
        return []
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not folder.is_symlink():
            return []
        raise HarnessError(f"{folder} cannot be read: {cause(error)}") from None
