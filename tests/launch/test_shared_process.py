"""Several runs in one process: each computes what it would in one of its own, and takes no other
down.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.launch import process_state
from harness.launch.latest import LatestValue
from harness.launch.process_state import ProcessState, begin_run
from harness.launch.worker import EXIT_DONE, EXIT_FAILED
from harness.launch.worker_process import WorkerProcess
from harness.run import Resources, Task
from harness.spec.expand import Run, expand
from harness.spec.load import load_table
from harness.store import DONE, RUNNING, Store
from tests.conftest import Experiments
from tests.launch.conftest import FAILING, plainly
from tests.launch.counting import CountingRun, expected
from tests.launch.processes import (
    environment,
    harness,
    metrics,
    run_of,
    start_harness,
    store_in,
    wait_for,
)

RESOURCES = json.dumps(asdict(Resources(device="cpu")))


class Shared:
    """A worker process, and the store of its runs."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.store = store_in(folder)
        variables = environment(COUNTING_JOURNAL=str(folder / "journal"), **more)
        self.process = WorkerProcess(RESOURCES, kind="", slot=0, environment=variables)

    def compute(self, *runs: Run | Task) -> int | None:
        """How a unit of these runs ends."""
        made = [run_of(one) if isinstance(one, Task) else one for one in runs]
        assert self.process.give([self.store.create(run) for run in made])
        wait_for(lambda: self.process.poll() is not None)
        return self.process.poll()

    def close(self) -> int:
        """Its exit code."""
        self.process.release()
        self.process.close()
        return self.process.exit_code


def starts(folder: Path) -> list[str]:
    """The process of each run that was begun, in their order."""
    lines = (folder / "journal").read_text(encoding="utf-8").splitlines()
    return [line.split()[3] for line in lines if line.startswith("start ")]


def test_a_process_takes_one_unit_after_the_other(tmp_path: Path) -> None:
    shared = Shared(tmp_path)
    assert shared.compute(CountingRun(seed=1)) == EXIT_DONE
    assert shared.process.is_free
    assert shared.compute(CountingRun(seed=2), CountingRun(seed=3)) == EXIT_DONE
    assert shared.close() == EXIT_DONE
    assert len(set(starts(tmp_path))) == 1
    for record in shared.store.records():
        assert (record.state, record.attempt) == (DONE, 1)
        assert metrics(record.directory) == expected(10, record.plain["seed"])
        log = (record.directory / "log.txt").read_text(encoding="utf-8")
        assert log.count("done: ") == 1


def test_it_ends_with_a_run_that_fails(tmp_path: Path) -> None:
    shared = Shared(tmp_path)
    assert shared.compute(CountingRun(seed=1)) == EXIT_DONE
    assert shared.compute(CountingRun(seed=2, behaviour="crash")) == EXIT_FAILED
    assert not shared.process.is_free
    assert not shared.process.give([tmp_path]) or shared.process.poll() == EXIT_FAILED
    shared.close()


def test_a_run_that_leaves_a_setting_behind_is_the_last_of_its_process(tmp_path: Path) -> None:
    shared = Shared(tmp_path)
    assert shared.compute(CountingRun(seed=1, behaviour="untidy")) == EXIT_DONE
    assert not shared.process.is_free
    assert shared.close() == EXIT_DONE


def test_a_worker_without_an_executor_ends(tmp_path: Path) -> None:
    shared = Shared(tmp_path)
    assert shared.compute(CountingRun(seed=1)) == EXIT_DONE
    shared.process._socket.close()  # as when the executor is killed
    wait_for(shared.process.has_ended)
    shared.process.close()


def test_a_free_worker_that_is_stopped_ends(tmp_path: Path) -> None:
    shared = Shared(tmp_path)
    assert shared.compute(CountingRun(seed=1)) == EXIT_DONE
    shared.process.send_signal(signal.SIGTERM)
    wait_for(shared.process.has_ended)
    shared.close()


def test_changed_sources_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a_component_of_somebody.py"
    source.write_text("X = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(process_state, "MARGIN", -3600.0)  # all that is here is older
    state = ProcessState()
    __import__(source.stem)
    try:
        assert state.is_as_new()
        monkeypatch.setattr(process_state, "MARGIN", 1.0)
        assert not ProcessState().is_as_new()  # it may be younger than what was imported
        source.write_text("X = 23\n", encoding="utf-8")
        assert not state.is_as_new()
    finally:
        del sys.modules[source.stem]


def test_settings_and_surroundings_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(process_state, "MARGIN", -3600.0)
    state = ProcessState()
    assert state.is_as_new()
    with torch.no_grad():
        assert not state.is_as_new()
    torch.set_float32_matmul_precision("high")
    assert not state.is_as_new()
    torch.set_float32_matmul_precision("highest")
    with monkeypatch.context() as changed:
        changed.setenv("OMP_PROC_BIND", "true")
        assert not state.is_as_new()
    with monkeypatch.context() as changed:
        changed.chdir(tmp_path)
        assert not state.is_as_new()
    assert state.is_as_new()


def test_runs_in_one_process_have_the_bits_of_runs_in_two(tmp_path: Path) -> None:
    first, second = expand(load_table("maskedkd/table2"), "smoke", rows="deit_ti.none").runs
    together, apart = Shared(tmp_path / "together"), Shared(tmp_path / "apart")
    assert together.compute(first) == EXIT_DONE
    assert together.process.is_free  # a training leaves no setting behind
    assert (together.compute(second), apart.compute(second)) == (EXIT_DONE, EXIT_DONE)
    results = []
    for shared in (together, apart):
        shared.close()
        record = shared.store.record(second.identity)
        assert record is not None
        weights = (record.directory / "model.safetensors").read_bytes()
        results.append((record.result, metrics(record.directory), weights))
    assert results[0] == results[1]


def test_an_unseeded_draw_does_not_follow_from_the_run_before() -> None:
    import numpy as np
    import torch

    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    begin_run()
    assert torch.initial_seed() != 7
    assert random.random() != random.Random(7).random()
    assert np.random.random() != np.random.RandomState(7).random_sample()


def test_what_a_run_held_is_free_before_the_next_begins(tmp_path: Path) -> None:
    shared = Shared(tmp_path)
    assert shared.compute(CountingRun(seed=1, behaviour="hold")) == EXIT_DONE
    assert shared.compute(CountingRun(seed=2, behaviour="hold")) == EXIT_DONE
    shared.close()
    journal = (tmp_path / "journal").read_text(encoding="utf-8")
    assert journal.count("held 0 before") == 2


def test_a_command_starts_as_many_processes_as_run_at_once(
    experiments: Experiments, tmp_path: Path
) -> None:
    table = experiments.table("tests/plain", plainly(pause=0.0))
    journal = {"COUNTING_JOURNAL": str(tmp_path / "journal")}
    done = harness("run", table, "--jobs", "1", "--seeds", "0,1,2", **journal)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(starts(tmp_path)) == 6
    assert len(set(starts(tmp_path))) == 1


def test_after_a_failure_the_others_have_a_new_process(
    experiments: Experiments, tmp_path: Path
) -> None:
    table = experiments.table("tests/failing", plainly(pause=0.0, more=FAILING))
    journal = {"COUNTING_JOURNAL": str(tmp_path / "journal")}
    done = harness("run", table, "--jobs", "1", **journal)
    assert done.returncode == 2
    states = [record.state for record in Store().records()]
    assert sorted(states) == [DONE] * 4 + ["failed"] * 2
    assert [record.attempt for record in Store().records()] == [1] * 6
    *before, last = starts(tmp_path)  # the two that fail are the shortest, and come last
    assert len(set(before)) == 1
    assert last not in before


def test_kill_9_in_its_second_run_is_told_of_that_run_alone(
    slow_table: str, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    held = {"COUNTING_HOLD": "13", "COUNTING_GO": str(go)}  # rows of 15 steps come first
    journal = str(tmp_path / "journal")
    front = start_harness("run", slow_table, "--jobs", "1", COUNTING_JOURNAL=journal, **held)

    def held_at() -> list[str]:
        return [
            record.identity
            for record in Store().records()
            if record.state == RUNNING and len(metrics(record.directory)) == 13
        ]

    wait_for(held_at)
    first = held_at()
    go.touch()
    wait_for(lambda: Store().record(first[0]).state == DONE)  # type: ignore[union-attr]
    wait_for(lambda: len(starts(tmp_path)) == 2)
    os.kill(int(starts(tmp_path)[1]), signal.SIGKILL)
    said, failures = front.communicate()
    assert front.returncode == 2
    assert failures.count("its process was killed (SIGKILL") == 1, said + failures
    states = sorted(record.state for record in Store().records())
    assert states == [DONE] * 3 + ["interrupted"]
    assert starts(tmp_path)[0] == starts(tmp_path)[1] != starts(tmp_path)[2]


def test_the_latest_value_of_a_run_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    latest = LatestValue(tmp_path, "val/top1")
    assert latest.look() is None
    path.write_text('{"epoch": 0.5, "loss/total": 2.0}\n{"epoch": 0.5, "val/top1": 61.5}\n{"ep')
    assert latest.look() == 61.5
    with path.open("a") as file:
        file.write('och": 1.0, "val/top1": 70}\n[1]\nno JSON\n')
    assert latest.look() == 70
    odd = ("NaN", "-Infinity", "1e999", "9" * 400, '"71"', "null", "true", "[71]", "[" * 10**5)
    with path.open("a") as file:
        file.writelines(f'{{"val/top1": {value}}}\n' for value in odd)
    assert latest.look() == 70
    path.write_text('{"epoch": 0.5, "loss/total": 2.0}\n')  # cut back to a checkpoint
    assert latest.look() is None


@pytest.mark.parametrize(
    "left", ["thread", "process", "dtype", "folder", "modules", "deaf", "path", "umask"]
)
def test_what_a_run_leaves_behind_ends_its_process_and_no_more(tmp_path: Path, left: str) -> None:
    shared = Shared(tmp_path)
    assert shared.compute(CountingRun(seed=1, behaviour=left)) == EXIT_DONE
    assert not shared.process.is_free
    wait_for(shared.process.has_ended)  # by itself, not because it is killed
    assert shared.close() == EXIT_DONE
    (record,) = shared.store.records()
    assert (record.state, record.attempt) == (DONE, 1)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("exit", "its process ended with exit code 0"),
        ("interrupt", "KeyboardInterrupt"),
    ],
)
def test_a_run_that_ends_its_process_is_the_only_one_blamed(
    experiments: Experiments, tmp_path: Path, how: str, why: str
) -> None:
    table = experiments.table("tests/plain", plainly(pause=0.0))
    names = {"COUNTING_JOURNAL": str(tmp_path / "journal"), "COUNTING_SECOND": how}
    done = harness("run", table, "--jobs", "1", "--seeds", "0,1,2", **names)
    assert done.returncode == 2, done.stderr
    said = done.stdout + done.stderr
    assert said.count("failed  ") == 1
    assert why in said
    assert "Traceback" not in said
    assert sorted(record.state for record in Store().records()).count(DONE) == 5
    assert [record.attempt for record in Store().records()] == [1] * 6
    pids = starts(tmp_path)
    assert len(pids) == 6
    assert pids[0] == pids[1] != pids[2]
    for pid in set(pids):
        assert not Path("/proc", pid).exists()
