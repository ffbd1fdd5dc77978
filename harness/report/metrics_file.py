"""`metrics.jsonl` as a report reads it: only the lines that hold what is wanted are parsed.

Of ten thousand runs with hundreds of lines each, a report shows a few. So lines are first told
apart by their shape, which is a line without its digits: a few shapes make up a file, and each is
looked at once. A file with any other line is parsed whole, which says what is wrong, and where.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from harness.errors import HarnessError

Points: TypeAlias = tuple[list[float], list[float]]
"""Epochs, and a metric there."""

_NUMBER = rb"-?\.?(?:e-)?"  # without its digits
_KEY = rb'"[ !#-\[\]-~]+": '
_NAMED = rb"%s%s" % (_KEY, _NUMBER)
_LIST = rb"\[%s(?:, %s)*\]" % (_NUMBER, _NUMBER)
_GROUP = rb"\{(?:%s(?:, %s)*)?\}" % (_NAMED, _NAMED)  # as `speed`
_VALUE = rb"(?:%s|%s|%s)" % (_NUMBER, _LIST, _GROUP)
_SHAPE = re.compile(rb"\{%s%s(?:, %s%s)*\}" % (_KEY, _VALUE, _KEY, _VALUE))
"""Of a line as a run writes it; its keys cannot be taken for anything else."""
_DIGITS = b"0123456789"
_ALL_ZERO = bytes.maketrans(_DIGITS, b"0" * 10)
_LONG = b"0" * 300
"""A number that may be infinite, its digits all zero; of a shape none has an exponent above 0."""


@dataclass(frozen=True, slots=True)
class MetricsFile:
    """The content of a file, and its lines without their digits where every line is as a run writes
    it, so that each can be parsed by itself; None where one is not.
    """

    path: Path
    content: bytes
    shapes: bytes | None

    @classmethod
    def read(cls, path: Path) -> MetricsFile:
        """An empty one where there is no file; HarnessError, one line, where it cannot be read."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        except OSError as error:
            raise HarnessError(f"{path} cannot be read: {error.strerror}") from None
        return cls(path, content, _shapes(content))

    def records(self, names: Collection[str]) -> list[dict[str, Any]]:
        """Those with any of the metrics `names`, in their order. A last line cut short is left out;
        HarnessError, one line, where the file holds anything that is no record.
        """
        if self.shapes is None:
            return [one for one in self.all_records() if not one.keys().isdisjoint(names)]
        numbers = _with_any(self.shapes, frozenset(names))
        signs = np.frombuffer(self.content, np.uint8)
        ends = [-1, *np.flatnonzero(signs == ord("\n")).tolist()]
        lines = [self.content[ends[number - 1] + 1 : ends[number]] for number in numbers]
        records = _of_lines(lines)
        if records is None:  # one of them is wrong: which one?
            records = [self._parsed(*one) for one in zip(numbers, lines, strict=True)]
        return [one for one in records if not one.keys().isdisjoint(names)]

    def points(self, name: str) -> Points:
        """A metric that is a number, over epochs, where the file has both."""
        if self.shapes is not None:
            key = re.escape(_key(name))
            pairs = re.findall(rb'"epoch": ([^,}\[]*),.*%s([^,}\[]*)' % key, self.content)
            if len(pairs) == self.content.count(_key(name)):
                try:
                    epochs, values = ([float(pair[side]) for pair in pairs] for side in (0, 1))
                except ValueError:
                    pass  # parsing it line by line tells where
                else:
                    if all(map(math.isfinite, epochs)) and all(map(math.isfinite, values)):
                        return epochs, values
        return points(self.all_records(), name)

    def all_records(self) -> list[dict[str, Any]]:
        """Every record."""
        lines = self.content.split(b"\n")
        records = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                records.append(_record(line))
            except ValueError as error:
                if number == len(lines):  # without a line end: its writer was stopped
                    break
                raise HarnessError(f"{self.path}:{number}: {error}") from None
        return records

    def _parsed(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            return _record(line)
        except ValueError as error:
            raise HarnessError(f"{self.path}:{number}: {error}") from None


def points(records: Iterable[Mapping[str, Any]], name: str) -> Points:
    """Of the records that have an epoch and a number as this metric."""
    pairs = [
        (float(record["epoch"]), float(record[name]))
        for record in records
        if is_number(record.get("epoch")) and is_number(record.get(name))
    ]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def _shapes(content: bytes) -> bytes | None:
    """The lines without their digits; None where one is not as a run writes it."""
    if content and not (content.isascii() and content.endswith(b"\n")):
        return None
    shapes = content.translate(None, _DIGITS)
    return shapes if _are_known(shapes) and not _has_gap(content) else None


@lru_cache(maxsize=8)
def _are_known(shapes: bytes) -> bool:
    """Whether lines without their digits are as a run writes them. The runs of a row have the same
    ones, as a rule.
    """
    return all(map(_SHAPE.fullmatch, set(shapes.split(b"\n")[:-1])))


@lru_cache(maxsize=8)
def _with_any(shapes: bytes, names: frozenset[str]) -> tuple[int, ...]:
    """The numbers of the lines that may have one of these metrics: their digits tell."""
    keys = [_key(name).translate(None, _DIGITS) for name in names]
    lines = enumerate(shapes.split(b"\n"), start=1)
    return tuple(number for number, line in lines if any(key in line for key in keys))


def _has_gap(content: bytes) -> bool:
    """Whether a value has no digits, which a shape cannot tell: then `,` or `}` follows a space."""
    signs = np.frombuffer(content, np.uint8)
    after, ends = signs[1:], (signs[:-1] == ord(" "))
    return bool((ends & ((after == ord(",")) | (after == ord("}")))).any())


def _of_lines(lines: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """The records of lines whose shape is known, parsed together; None where that cannot be. All
    that such a line can hold wrong is an empty list, numbers that are no JSON, and infinite ones.
    """
    joined = b"[%s]" % b",".join(lines)
    if b"[]" in joined[1:-1] or _LONG in joined.translate(_ALL_ZERO):
        return None
    try:
        records: list[dict[str, Any]] = json.loads(joined)
    except (ValueError, RecursionError):
        return None
    return records if len(records) == len(lines) else None


def _key(name: str) -> bytes:
    """As it stands in a line."""
    return f"{json.dumps(name, ensure_ascii=False)}: ".encode()


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    if not isinstance(record, dict):
        raise ValueError("no record of metrics")
    for name, value in record.items():
        group = value.values() if isinstance(value, dict) else [value]
        numbers = value if isinstance(value, list) else group
        if value == [] or not all(map(is_number, numbers)):
            raise ValueError(f"{name} is no finite number")
    return record


def is_number(value: object) -> bool:
    """Whether JSON gave a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
