"""`harness status --watch` beside a run: what it says while the run goes on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.launch.processes import LAST_RESORT, start_harness


def test_watching_a_table_until_it_is_done(slow_table: str, tmp_path: Path) -> None:
    watch = start_harness("status", slow_table, "--watch", "--json")
    assert watch.stdout is not None
    before = json.loads(watch.stdout.readline())
    assert before["counts"]["planned"] == 4
    held = {"COUNTING_HOLD": "3", "COUNTING_GO": str(tmp_path / "go")}
    run = start_harness("run", slow_table, "--jobs", "2", **held)
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1]["counts"]["done"] < 4:
        seen.append(json.loads(watch.stdout.readline()))
        running = [one for one in seen[-1]["runs"] if one["state"] == "running"]
        if len(running) == 2 and all(one["progress"] is not None for one in running):
            (tmp_path / "go").touch()
    os.killpg(watch.pid, signal.SIGINT)  # as a terminal does
    watch.communicate(timeout=LAST_RESORT)
    assert watch.returncode == 130
    run.communicate(timeout=LAST_RESORT)
    assert run.returncode == 0
    running = [one for state in seen for one in state["runs"] if one["state"] == "running"]
    assert all(one["pid"] and one["host"] and one["attempt"] == 1 for one in running)
    reached = [one["progress"] for one in running if one["progress"] is not None]
    assert all(0 < progress["done"] <= progress["total"] for progress in reached)
    assert all(one["result"] for one in seen[-1]["runs"])
