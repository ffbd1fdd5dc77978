"""What a report reads of `metrics.jsonl` is what parsing every line would give."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.report.metrics_file import MetricsFile

WANTED = {"val/top1", "kept"}


def lines(count: int) -> list[dict[str, Any]]:
    """As a training writes them."""
    draw = random.Random(0)
    found: list[dict[str, Any]] = []
    for step in range(1, count + 1):
        about = {"step": step, "epoch": step / 7, "lr": draw.random() * 1e-6}
        speed = {"images_per_second": 1000 * draw.random(), "kept": draw.random()}
        losses = {"loss/total": -draw.random(), "loss/ce": draw.random()}
        found.append({**about, **losses, "speed": speed if step % 2 else {}})
        if step % 5 == 0:
            found.append({**about, "val/top1": 100 * draw.random()})
            found.append({**about, "kept": [draw.random(), 1.0]})
    return found


def written(path: Path, records: list[dict[str, Any]], *, ascii_only: bool = True) -> MetricsFile:
    text = "".join(json.dumps(one, ensure_ascii=ascii_only) + "\n" for one in records)
    path.write_text(text, encoding="utf-8")
    return MetricsFile.read(path)


def test_the_lines_of_a_run_are_told_apart_without_parsing_them(tmp_path: Path) -> None:
    records = lines(40)
    file = written(tmp_path / "metrics.jsonl", records)
    assert file.shapes is not None
    assert file.all_records() == records
    assert file.records(WANTED) == [one for one in records if WANTED & one.keys()]
    losses = [(one["epoch"], one["loss/total"]) for one in records if "loss/total" in one]
    assert list(zip(*file.points("loss/total"), strict=True)) == losses


@pytest.mark.parametrize(
    "odd",
    [
        {"val/höhe": 1.0, "epoch": 1.0},
        {"loss/total": 1.0},
        {"a": 1e16},
        {"a ,b": 1, "c }": 2},  # as if a number had no digits
    ],
)
def test_a_file_with_other_lines_is_parsed_whole(tmp_path: Path, odd: dict[str, Any]) -> None:
    records = [*lines(10), odd]
    file = written(tmp_path / "metrics.jsonl", records, ascii_only=False)
    wanted = WANTED | odd.keys()
    assert file.records(wanted) == [one for one in records if wanted & one.keys()]
    losses = [(one["epoch"], one["loss/total"]) for one in lines(10) if "loss/total" in one]
    assert list(zip(*file.points("loss/total"), strict=True)) == losses


def test_metrics_whose_names_differ_in_digits_are_told_apart(tmp_path: Path) -> None:
    records = [{"epoch": float(k), f"val/top{1 if k % 3 else 5}": float(k)} for k in range(9)]
    file = written(tmp_path / "metrics.jsonl", records)
    assert file.shapes is not None
    for name in ("val/top1", "val/top5", "val/top"):
        assert file.records({name}) == [one for one in records if name in one]
        assert list(zip(*file.points(name), strict=True)) == [
            (one["epoch"], one[name]) for one in records if name in one
        ]


def test_files_with_the_same_lines_but_for_digits_have_their_own_numbers(tmp_path: Path) -> None:
    for k in range(1, 4):
        records = [{"epoch": k * step, "val/top1": 10 * k + step} for step in range(1, 4)]
        file = written(tmp_path / f"{k}.jsonl", records)
        assert file.records(WANTED) == records


@pytest.mark.parametrize(
    "damage",
    [
        b'{"step": 3, "lr": , "val/top1": 1.0}',
        b'{"step": }',
        b'{"a": {"b": 1, "c": }}',
        b'{"lr": 1.2.3}',
        b"17",
        b"",
        b'{"a": NaN}',
        b"{}x",
    ],
)
def test_damage_in_what_is_not_shown_is_told_with_its_line(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = b'{"epoch": 1.0, "val/top1": 2.0}\n'
    path.write_bytes(whole + damage + b"\n" + whole)
    file = MetricsFile.read(path)
    assert file.shapes is None
    if not damage:  # a blank line says nothing
        assert len(file.records(WANTED)) == 2
        return
    with pytest.raises(HarnessError, match=r"metrics\.jsonl:2: "):
        file.records(WANTED)


@pytest.mark.parametrize(
    "damage",
    [
        b'{"epoch": 1.0, "val/top1": 007}',
        b'{"epoch": 1.0, "val/top1": .5}',
        b'{"epoch": 1.0, "val/top1": []}',
        b'{"epoch": 1.0, "val/top1": %s}' % (b"9" * 400),
        b'{"epoch": 1.0, "val/top1": %s.5}' % (b"9" * 400),
    ],
)
def test_what_a_shape_cannot_tell_is_told_with_its_line(tmp_path: Path, damage: bytes) -> None:
    """Lines that are shown are parsed together; one that is wrong is found all the same."""
    path = tmp_path / "metrics.jsonl"
    whole = b'{"epoch": 1.0, "val/top1": 2.0}\n'
    path.write_bytes(whole + damage + b"\n" + whole)
    file = MetricsFile.read(path)
    assert file.shapes is not None
    with pytest.raises(HarnessError, match=r"metrics\.jsonl:2: "):
        file.records(WANTED)
