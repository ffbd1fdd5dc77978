"""Reads the CSV files of reports, also as a spreadsheet has saved them."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from io import StringIO
from pathlib import Path

from harness.errors import HarnessError
from harness.report.inert import inert
from harness.report.model import Machine
from harness.report.render.csv import plain

OLD_NAMES = {"says": "text"}
"""Columns that earlier files call otherwise."""


MOST_QUOTED = 60
"""Characters of a field that a message repeats."""


def quoted(text: str) -> str:
    """A field in a message: one line, and not all of it."""
    line = " ".join(inert(text).split())
    return line if len(line) <= MOST_QUOTED else f"{line[:MOST_QUOTED]}..."


class Line(dict[str, str]):
    """A line of a CSV file, and where it stands."""

    def __init__(self, fields: Iterable[tuple[str, str]], place: str) -> None:
        super().__init__(fields)
        self.place = place

    def number(self, name: str) -> float:
        """A field that must be a finite number."""
        try:
            value = float(self[name])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise HarnessError(f"{self.place}: {name}: '{quoted(self[name])}' is no finite number")
        return value

    def whole(self, name: str) -> int:
        """A field that must be a whole number from 0 up; an empty one is 0."""
        text = self[name] or "0"
        if not re.fullmatch("[0-9]{1,15}", text):
            raise HarnessError(f"{self.place}: {name}: '{quoted(text)}' is no whole number")
        return int(text)


class _Texts(dict[str, str]):
    """Fields as `inert` leaves them; most are there many times."""

    def __missing__(self, text: str) -> str:
        new = self[text] = inert(text)
        return new


def read_lines(
    path: Path, usual: Sequence[str], needed: Sequence[str], *, with_field: str = ""
) -> list[Line]:
    """The lines of a CSV file that has these columns, in any order, perhaps among others. With
    `with_field`, one of `needed`, those alone in which it is not empty.
    """
    text = _content(path)
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    texts, where = _Texts(), str(path)
    try:
        header = [OLD_NAMES.get(n, n) for n in (name.strip() for name in next(reader, ()))]
        _check_header(path, text.splitlines()[0] if text else "", header, usual, needed)
        lines = []
        asked = header.index(with_field) if with_field else None
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                raise HarnessError(f"{path}:{reader.line_num}: not {len(header)} fields")
            if asked is not None and not fields[asked]:
                continue
            place = f"{where}:{reader.line_num}"
            lines.append(Line(zip(header, map(texts.__getitem__, fields), strict=True), place))
        return lines
    except csv.Error as error:
        raise HarnessError(f"{path}:{reader.line_num}: no CSV: {error}") from None


def _content(path: Path) -> str:
    """The text of a file, without the byte order mark that spreadsheets put before it."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise HarnessError(f"{path} does not exist") from None
    except OSError as error:
        raise HarnessError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise HarnessError(
            f"{path}:{line}: not UTF-8 (byte {error.start}): save the file as CSV in UTF-8"
        ) from None


def _check_header(
    path: Path, first: str, header: Sequence[str], usual: Sequence[str], needed: Sequence[str]
) -> None:
    if not header:
        raise HarnessError(f"{path} is empty: `harness report --format csv` writes it anew")
    twice = [name for name, n in Counter(header).items() if n > 1]
    if twice:
        raise HarnessError(f"{path}:1: the column {quoted(twice[0])} is there twice")
    lacking = [name for name in needed if name not in header]
    if not lacking:
        return
    other = next((sign for sign in ";\t|" if first.count(sign) >= len(needed) - 1), None)
    if other is not None:
        sign = "tabs" if other == "\t" else f"'{other}'"
        raise HarnessError(f"{path}:1: columns are separated by {sign}: write commas")
    raise HarnessError(
        f"{path}:1: the columns {', '.join(lacking)} are missing "
        f"(the first line must be {','.join(usual)})"
    )


def require_table(lines: Iterable[Line], table: str, profile: str) -> None:
    """HarnessError at the first line that is of another table, or of another profile."""
    for line in lines:
        if (line["table"], line["profile"]) != (table, profile):
            of = f"{quoted(line['table'])}, profile {quoted(line['profile'])}"
            raise HarnessError(f"{line.place}: is of {of}, not of {table}, profile {profile}")


def machine_of(line: Line) -> Machine:
    """Where a value was computed, as far as its line says."""
    names = [field.name for field in fields(Machine)]
    return Machine(**{name: plain(line.get(name, "")) for name in names})
