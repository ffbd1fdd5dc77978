"""Writes a report's files, and leaves them alone when nothing in them would change."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeAlias

from harness.errors import HarnessError
from harness.report.document import Figure
from harness.report.figures import figures
from harness.report.model import TableModel
from harness.store.files import read_json_or_nothing, replace_json, replacing, writing

Format: TypeAlias = Literal["md", "csv", "html", "tex", "pdf"]

MOST_BYTES = 200  # of a file's name, which gets an ending

STATE = "written.json"
"""In the folder of a report's pictures: what was written, from which model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Folders:
    """Where a table's files go."""

    results: Path  # CSV
    reports: Path  # everything else

    @classmethod
    def beside(cls, results: Path) -> Folders:
        """Reports go beside the results: `reports/` beside `results/`, `mine-reports/` beside any
        other folder `mine/`, so that two folders never share one; or to $HARNESS_REPORTS.
        """
        given = os.environ.get("HARNESS_REPORTS")
        if given:
            return cls(results=results, reports=_user_folder(given))
        name = "reports" if results.name == "results" else f"{results.name}-reports"
        return cls(results=results, reports=results.parent / name)


def _user_folder(given: str) -> Path:
    try:
        return Path(given).expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as error:
        raise HarnessError(f"HARNESS_REPORTS={given} is no folder: {error}") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The files of a report."""

    files: tuple[Path, ...]
    rendered: tuple[Format, ...]  # the formats that were not up to date


def publish(model: TableModel, formats: Sequence[Format], folders: Folders) -> Written:
    """Bring the files of `formats` up to date. Every file is replaced whole; StoreError if it
    cannot be.
    """
    state = pictures_folder(model, folders) / STATE
    key = f"{model.fingerprint()}-{_renderer()}"
    known = read_json_or_nothing(state)
    sums: dict[str, str] = known.get("files", {}) if known.get("key") == key else {}
    stale = [format_ for format_ in formats if not _current(paths(model, format_, folders), sums)]
    for format_ in stale:
        for path, content in _render(model, format_, folders).items():
            write(path, content)
            sums[path.name] = _checksum(content)
    if stale:
        _make_folder(state.parent)
        replace_json(state, {"key": key, "files": dict(sorted(sums.items()))})
    files = [path for format_ in formats for path in paths(model, format_, folders)]
    return Written(files=tuple(files), rendered=tuple(stale))


def paths(model: TableModel, format_: Format, folders: Folders) -> list[Path]:
    """The files of a format; the one to open comes first."""
    name = file_name(model.table, model.profile)
    if format_ == "csv":
        return [folders.results / f"{name}.csv", folders.results / f"{name}.claims.csv"]
    main = folders.reports / f"{name}.{format_}"
    if format_ != "md":
        return [main]
    pictures = pictures_folder(model, folders)
    return [main, *(pictures / f"{figure.name}.png" for figure in figures(model))]


def pictures_folder(model: TableModel, folders: Folders) -> Path:
    """Where the Markdown report keeps its pictures."""
    return folders.reports / file_name(model.table, model.profile)


def file_name(table: str, profile: str) -> str:
    """`maskedkd/table2.cpu`: one folder deep, whatever the table is called."""
    parts = [part for part in f"{table}.{profile}".split("/") if part.strip(".")]
    return "/".join(_portable(part) for part in [*parts[:1], "-".join(parts[1:])] if part)


def _portable(part: str) -> str:
    """A name that every file system takes, the usual ones as they are."""
    kept = "".join(c if c.isalnum() or c in " ._+-" else "_" for c in part).lstrip(".")
    if len(kept.encode()) <= MOST_BYTES:
        return kept
    return f"{kept[:40]}-{hashlib.sha256(part.encode()).hexdigest()[:12]}"


def _current(files: Sequence[Path], sums: Mapping[str, str]) -> bool:
    return all(
        path.name in sums and path.is_file() and _checksum(path.read_bytes()) == sums[path.name]
        for path in files
    )


def _render(model: TableModel, format_: Format, folders: Folders) -> dict[Path, bytes]:
    """The files of a format. Its renderer, and what it draws with, is imported only now."""
    files = paths(model, format_, folders)
    if format_ == "csv":
        from harness.report.render.csv import cells_csv, claims_csv

        return dict(
            zip(files, (cells_csv(model).encode(), claims_csv(model).encode()), strict=True)
        )
    from harness.report.story import tell

    document = tell(model)
    if format_ == "tex":
        from harness.report.render.latex import latex

        return {files[0]: latex(document).encode()}
    if format_ == "html":
        from harness.report.render.html import html

        return {
            files[0]: html(document, picture=lambda name: _picture(name, model, "svg")).encode()
        }
    if format_ == "pdf":
        from harness.report.render.pdf import pdf

        return {files[0]: pdf(document, picture=lambda name: _picture(name, model, "png"))}
    from harness.report.render.markdown import markdown

    folder = pictures_folder(model, folders)
    drawn = [block.name for block in document.blocks if isinstance(block, Figure)]
    return {
        files[0]: markdown(document, pictures=folder.name).encode(),
        **{folder / f"{name}.png": _picture(name, model, "png") for name in drawn},
    }


def _picture(name: str, model: TableModel, kind: Literal["png", "svg"]) -> bytes:
    from harness.report.plots import draw

    return draw(name, model, format=kind)


def write(path: Path, content: bytes) -> None:
    """Replace a file whole; StoreError or HarnessError if that cannot be."""
    _make_folder(path.parent)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _make_folder(folder: Path) -> None:
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise HarnessError(f"{folder} cannot be a folder: a file is in the way") from None


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def _renderer() -> str:
    """A hash of what draws: this package's code and the libraries under it."""
    code = sorted(Path(__file__).parent.rglob("*.py"))
    libraries = [f"{name} {version(name)}" for name in ("matplotlib", "reportlab", "tabulate")]
    parts = [*(path.read_bytes() for path in code), " ".join(libraries).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
