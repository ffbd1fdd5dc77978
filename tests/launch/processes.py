"""Real runs, workers and front ends for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness.run import Task
from harness.spec.expand import Run, RunLabel
from harness.spec.identity import identity
from harness.store import Store

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGIN = "tests.launch.counting"
LAST_RESORT = 600.0
"""Seconds after which a test that waits for an event gives up: no machine is so busy."""


def run_of(config: Task, *, row: str = "row", depends: tuple[str, ...] = ()) -> Run:
    """A run as expansion makes it."""
    from harness.run import TASKS

    task = TASKS.name_of(type(config))
    key = identity(task, config)
    seed = int(getattr(config, "seed", 0))
    return Run(
        task=task,
        config=config,
        identity=key,
        name=f"{row}-{task}-s{seed}-{key[:8]}",
        title=RunLabel(table="tests/table", profile="cpu", row=row, seed=seed),
        depends=depends,
    )


def environment(**more: str) -> dict[str, str]:
    """Of processes that know the counting tasks."""
    return {
        **os.environ,
        "HARNESS_PLUGINS": PLUGIN,
        "PYTHONPATH": str(REPOSITORY),
        **more,
    }


def start_worker(*directories: Path, **more: str) -> subprocess.Popen[str]:
    """A worker in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness.launch.worker", *map(str, directories)],
        env=environment(**more),
        text=True,
        stderr=subprocess.PIPE,
    )


def work(*directories: Path, **more: str) -> tuple[int, str]:
    """Exit code and stderr of a worker that ran to its end."""
    worker = start_worker(*directories, **more)
    _, said = worker.communicate(timeout=LAST_RESORT)
    return worker.returncode, said


def start_harness(*arguments: str, **more: str) -> subprocess.Popen[str]:
    """The command, in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments],
        env=environment(**more),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def harness(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    process = start_harness(*arguments, **more)
    out, err = process.communicate(timeout=LAST_RESORT)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def wait_for(what: Callable[[], object], *, seconds: float = LAST_RESORT) -> None:
    """Return as soon as `what()` is true; fail when it takes too long."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def says(process: subprocess.Popen[str], words: str) -> None:
    """Return as soon as a line of its output has these words."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"ended without a word of '{words}'")


def metrics(directory: Path) -> list[dict[str, int]]:
    """The lines of `metrics.jsonl` that are whole, without what is of the machine alone."""
    path = directory / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    records = [json.loads(line) for line in text.split("\n")[:-1]]
    for record in records:
        record.pop("speed", None)
    return records


def reached(directory: Path, step: int) -> Callable[[], bool]:
    """Whether a run has logged that step."""
    return lambda: len(metrics(directory)) >= step


def store_in(folder: Path) -> Store:
    """A store of its own."""
    return Store(folder / "results")
