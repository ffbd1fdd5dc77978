"""The results that come with the project, to hold one's own against."""

from __future__ import annotations

from pathlib import Path

from harness.paths import project_root
from harness.report.publish import file_name


def reference_folder() -> Path:
    """Where they lie, a folder for each machine."""
    return project_root() / "results" / "reference"


def references(table: str, profile: str) -> list[Path]:
    """The folders that have results of this table at this profile."""
    name = f"{file_name(table, profile)}.csv"
    return sorted(path for path in reference_folder().glob("*") if (path / name).is_file())
