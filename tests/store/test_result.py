"""`result.json` is read as one JSON object, however its code stands in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.code import CodeRecord
from harness.store.result import read_result
from tests.work import calls_of

RESULT: dict[str, Any] = {
    "metrics": {"loss": 5.0},
    "seconds": 9.0,
    "attempt": 1,
    "device": "cpu",
    "finished": "2025-01-01T00:00:00+00:00",
}
CODE = {"modules": {"harness.x": "ab" * 32}, "libraries": {"torch": "2.0"}, "files": {}}
OTHER = {**CODE, "libraries": {"torch": "2.1"}}
BREAK = '\n  "code": '  # how the member begins in a file of a run


def indented(value: object) -> str:
    """As a run writes it."""
    return json.dumps(value, indent=2) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        indented({**RESULT, "code": CODE}),
        json.dumps({**RESULT, "code": CODE}),
        indented({"code": CODE, **RESULT}),
        indented({**RESULT, "code": CODE, "more": 1}),
        indented({**RESULT, "code": None}),
        indented({**RESULT, "code": {**CODE, "modules": {"a": 5}}}),
        indented({**RESULT, "code": {**CODE, "modules": {"a": "two\nlines"}}}),
        indented({**RESULT, "code": [CODE]}),
        indented(RESULT),
        indented({**RESULT, "finished": BREAK}),
        indented({**RESULT, "code": CODE}).replace('"loss"', '"code"'),
        # twice: the last one counts
        indented({**RESULT, "code": OTHER})[:-3] + f",{BREAK}{json.dumps(CODE)}\n}}",
        indented({**RESULT, "code": OTHER})[:-3] + f',{BREAK}{json.dumps(CODE)}, "seconds": 7}}',
        # inside of another member
        indented(RESULT)[:-3] + f', "more": {{"a": 1,{BREAK}{json.dumps(CODE)}}}}}',
        f"\ufeff{indented({**RESULT, 'code': CODE})}",
    ],
)
def test_the_code_is_that_of_the_whole_object(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text, encoding="utf-8")
    expected = json.loads(text.removeprefix("\ufeff"))
    for _ in range(2):  # the second time the code is known
        found = read_result(path, "")
        assert found.code == CodeRecord.read(expected.get("code"))
        assert found.metrics == expected["metrics"]
        assert (found.seconds, found.finished) == (expected["seconds"], found.finished)


@pytest.mark.parametrize("end", ["", "}", "}}", "{}}}", '"a" 1}', "NaN}x", "[" * 5000])
def test_damage_behind_the_name_is_damage(tmp_path: Path, end: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(indented(RESULT)[:-3] + f",{BREAK}{end}", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"."):
            read_result(path, "")


def test_the_code_of_many_results_is_looked_at_once(tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.json" for seed in range(20)]
    code = {**CODE, "modules": {"harness.y": str(tmp_path)}}
    for seed, path in enumerate(paths):
        path.write_text(indented({**RESULT, "metrics": {"loss": seed}, "code": code}))
    found = []
    work = calls_of(
        CodeRecord.read.__func__,  # type: ignore[attr-defined]
        lambda: found.extend(read_result(path, "") for path in paths),
    )
    assert work == 1
    assert [one.metrics["loss"] for one in found] == list(range(20))
    assert all(one.code == CodeRecord.read(code) for one in found)
