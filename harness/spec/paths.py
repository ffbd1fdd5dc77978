"""Where specs and recipes lie, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.errors import HarnessError, unknown
from harness.paths import experiments_root

FOLDERS: Mapping[str, str] = {"recipe": "recipes", "profile": "profiles"}
"""Where pieces lie that specs share, by what they are."""


def list_tables() -> list[str]:
    """The names of all tables, `maskedkd/table2`, sorted."""
    return sorted(
        f"{path.parent.name}/{path.stem}"
        for path in experiments_root().glob("*/*.yaml")
        if path.parent.name not in FOLDERS.values()
    )


def stray_specs() -> list[Path]:
    """YAML files among the specs that no command reads: too deep, too high, or otherwise named."""
    root = experiments_root()
    read = {*root.glob("*/*.yaml"), networks_path()}
    yaml_files = (path for path in root.rglob("*") if path.suffix.lower() in (".yaml", ".yml"))
    return sorted(path for path in yaml_files if path not in read)


def list_pieces(kind: str) -> dict[str, Path]:
    """The files of all shared recipes or profiles by name, sorted."""
    paths = (experiments_root() / FOLDERS[kind]).glob("*.yaml")
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
        raise HarnessError(f"there is no spec {text}")
    name = find_table(text)
    if name is None:
        raise HarnessError(unknown("table", text, list_tables()))
    return experiments_root() / f"{name}.yaml"


def find_table(text: str) -> str | None:
    """The table called `maskedkd/table2`, or `table2` where one paper alone has such a table; None
    if there is none.
    """
    tables = list_tables()
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
