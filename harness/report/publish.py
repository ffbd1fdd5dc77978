"""Renders a report and writes its files; one whose content is the same is left alone."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from harness import variables
from harness.errors import HarnessError
from harness.paths import project_root
from harness.report.document import Document, Picture
from harness.report.model import TableModel
from harness.store.files import replacing, writing

if TYPE_CHECKING:
    from harness.report.figures import PictureFormat

Format: TypeAlias = Literal["md", "csv", "html", "tex", "pdf"]

MOST_BYTES = 200  # of a file's name, which gets an ending


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
        folder = variables.folder("HARNESS_REPORTS")
        if folder is not None:
            return cls(results=results, reports=folder)
        name = "reports" if results.name == "results" else f"{results.name}-reports"
        return cls(results=results, reports=results.parent / name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The files of a report."""

    files: tuple[Path, ...]
    changed: tuple[Format, ...]  # the formats with a file that was not up to date


def publish(model: TableModel, formats: Sequence[Format], folders: Folders) -> Written:
    """Bring the files of `formats` up to date. Every file is replaced whole; StoreError if it
    cannot be. Per-seed values whose looks could not be read are kept beside the new ones.
    """
    files: list[Path] = []
    changed: list[Format] = []
    for format_, contents in _render(model, formats, folders).items():
        files += contents
        if format_ == "csv" and model.looks_unknown:
            _put_aside(folders.results / f"{file_name(model.table, model.profile)}.seeds.csv")
        written = [write(path, content) for path, content in contents.items()]
        changed += [format_] if any(written) else []
    return Written(files=tuple(files), changed=tuple(changed))


def publish_reference(model: TableModel, formats: Sequence[Format], name: str) -> Written:
    """The same as a reference that comes with the project, which others compare theirs with."""
    folders = Folders(results=reference_folder() / name, reports=reference_reports(name))
    return publish(replace(model, reference=True, looks_unknown=""), formats, folders)


def reference_folder() -> Path:
    """Where the results lie that come with the project, a folder for each machine."""
    return project_root() / "results" / "reference"


def reference_reports(name: str) -> Path:
    """Where the reports of such a folder lie."""
    return project_root() / "reports" / "reference" / name


def pictures_folder(model: TableModel, folders: Folders) -> Path:
    """Where figures lie, and the table of results for LaTeX."""
    return folders.reports / file_name(model.table, model.profile)


def file_name(table: str, profile: str) -> str:
    """`maskedkd/table2.fashion-mnist`: one folder deep, whatever the table is called."""
    parts = [part for part in f"{table}.{profile}".split("/") if part.strip(".")]
    return "/".join(_portable(part) for part in [*parts[:1], "-".join(parts[1:])] if part)


def _portable(part: str) -> str:
    """A name that every file system takes, the usual ones as they are."""
    kept = "".join(c if c.isalnum() or c in " ._+-" else "_" for c in part).lstrip(".")
    if len(kept.encode()) <= MOST_BYTES:
        return kept
    return f"{kept[:40]}-{hashlib.sha256(part.encode()).hexdigest()[:12]}"


def _render(
    model: TableModel, formats: Sequence[Format], folders: Folders
) -> dict[Format, dict[Path, bytes]]:
    """The files of each format, the one to open first. A renderer, and what it draws with, is
    imported only where it is asked for.
    """
    from harness.report.builder import build_report

    name = file_name(model.table, model.profile)
    document = None if set(formats) <= {"csv"} else build_report(model)
    folder = pictures_folder(model, folders)

    @cache
    def picture(figure: str, kind: PictureFormat) -> bytes:
        from harness.report.figures import draw

        return draw(figure, model, format=kind)

    def pictures(document: Document, kind: PictureFormat) -> dict[Path, bytes]:
        names = [block.name for block in document.unfolded() if isinstance(block, Picture)]
        return {folder / f"{figure}.{kind}": picture(figure, kind) for figure in names}

    rendered: dict[Format, dict[Path, bytes]] = {}
    for format_ in formats:
        main = folders.reports / f"{name}.{format_}"
        if format_ == "csv":
            from harness.report.render.csv import cells_csv, claims_csv, images_csv, seeds_csv

            texts = {
                ".csv": cells_csv(model),
                ".claims.csv": claims_csv(model),
                ".seeds.csv": seeds_csv(model),
                ".images.csv": images_csv(model),
            }
            rendered[format_] = {
                folders.results / f"{name}{ending}": text.encode()
                for ending, text in texts.items()
                if text
            }
            continue
        assert document is not None
        if format_ == "tex":
            from harness.report.render.latex import latex, tabular

            rendered[format_] = {
                main: latex(document).encode(),
                folder / "results.tex": tabular(document).encode(),
                **pictures(document, "pdf"),
            }
        elif format_ == "html":
            from harness.report.render.html import html

            page = html(document, picture=lambda figure: picture(figure, "svg"))
            rendered[format_] = {main: page.encode()}
        elif format_ == "pdf":
            from harness.report.render.pdf import pdf

            made = pdf(document, picture=lambda figure: picture(figure, "png"))
            rendered[format_] = {main: made}
        else:
            from harness.report.render.markdown import markdown

            rendered[format_] = {
                main: markdown(document, pictures=folder.name).encode(),
                **pictures(document, "png"),
            }
    return rendered


def write(path: Path, content: bytes) -> bool:
    """Replace a file whole, unless it holds `content` already; whether it did. StoreError or
    HarnessError if that cannot be.
    """
    try:
        if path.read_bytes() == content:
            return False
    except OSError:
        pass  # not there, or not to be read: then it is written anew, or that says what is wrong
    _make_folder(path.parent)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return True


def _put_aside(path: Path) -> None:
    """Keep a file under the first free name `<table>.<profile>.seeds.damaged.N.csv`."""
    if not path.is_file():
        return
    names = (path.with_suffix(f".damaged.{number}.csv") for number in count(1))
    aside = next(name for name in names if not name.exists())
    with writing(path):
        os.replace(path, aside)
    what = f"{path.name} cannot be used, so looks begin anew: it is kept as {aside}"
    print(f"note: {what}", file=sys.stderr)


def _make_folder(folder: Path) -> None:
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise HarnessError(f"{folder} cannot be a folder: a file is in the way") from None
