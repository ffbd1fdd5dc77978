"""`harness status --watch` beside a run: what it says while the run goes on."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from tests.launch.processes import harness, start_harness


def test_watching_a_table_until_it_is_done(slower_table: str) -> None:
    watch = start_harness("status", slower_table, "--watch", "--json")
    assert watch.stdout is not None
    before = json.loads(watch.stdout.readline())
    assert before["counts"]["planned"] == 4
    assert harness("run", slower_table, "--jobs", "2").returncode == 0
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1]["counts"]["done"] < 4:
        seen.append(json.loads(watch.stdout.readline()))
    os.killpg(watch.pid, signal.SIGINT)  # as a terminal does
    assert watch.wait(30) == 130
    watch.communicate()
    running = [run for state in seen for run in state["runs"] if run["state"] == "running"]
    assert all(run["pid"] and run["host"] and run["attempt"] == 1 for run in running)
    reached = [run["progress"] for run in running if run["progress"] is not None]
    assert reached  # a run that has just begun has none yet
    assert all(0 < progress["done"] <= progress["total"] for progress in reached)
    assert all(run["result"] for run in seen[-1]["runs"])
