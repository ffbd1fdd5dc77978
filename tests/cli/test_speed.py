"""What `status` says of the speed of a run."""

from __future__ import annotations

import json
from pathlib import Path

from harness.cli._speed import in_words, newest_speed


def test_the_newest_whole_line_with_a_speed_counts(tmp_path: Path) -> None:
    assert newest_speed(tmp_path) == {}
    path = tmp_path / "metrics.jsonl"
    lines = [
        {"step": 1, "speed": {"images_per_second": 10.0, "data_wait": 0.5}},
        {"step": 2, "speed": {"images_per_second": 1234.4, "data_wait": 0.125, "mfu": 0.4}},
        {"step": 2, "val/top1": 50.0},
        {"step": 2, "kept": [0.1] * 9},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 3, "speed": {"ima')
    found = newest_speed(tmp_path)
    assert found == {"images_per_second": 1234.4, "data_wait": 0.125, "mfu": 0.4}
    assert in_words(found) == ["1,234 images/s", "12% of the time waiting for data", "MFU 40%"]


def test_the_line_is_found_at_the_end_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    line = json.dumps({"speed": {"images_per_second": 1.0, "memory_bytes": 2**31}})
    path.write_text((json.dumps({"loss/total": 1.0}) + "\n") * 10_000 + line + "\n")
    assert in_words(newest_speed(tmp_path)) == ["1 images/s", "2.0 GiB at the peak"]


def test_what_is_no_speed_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"speed": [1]}\n{"speed": {"mfu": null}}\n["speed"]\n')
    assert newest_speed(tmp_path) == {}
