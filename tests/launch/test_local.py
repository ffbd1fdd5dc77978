"""`harness run` as a user meets it: interrupted, killed, started twice, with runs that fail."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli import _parser
from harness.cli.run import _again
from harness.launch.preflight import could_not
from harness.plan import Reason, make_plan
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import DONE, FAILED, RUNNING, RunRecord, Store
from tests.conftest import Experiments
from tests.launch.conftest import STUBBORN, plainly
from tests.launch.counting import expected
from tests.launch.processes import (
    LAST_RESORT,
    environment,
    harness,
    metrics,
    says,
    start_harness,
    wait_for,
)


def records() -> list[RunRecord]:
    """All runs of the project that the test works in."""
    return Store().records()


def states() -> Counter[str]:
    """How many runs are in which state."""
    return Counter(record.state for record in records())


def running(count: int, *, steps: int = 0) -> bool:
    """Whether so many runs are being computed and have come that far."""
    found = [record for record in records() if record.state == RUNNING]
    return len([one for one in found if len(metrics(one.directory)) >= steps]) >= count


def assert_all_right() -> None:
    """Every run is done and has the numbers of one that nobody disturbed."""
    for record in records():
        assert record.state == DONE, record
        assert metrics(record.directory) == expected(record.plain["steps"], record.plain["seed"])


def starts(journal: Path) -> int:
    """How often a run was begun."""
    return journal.read_text(encoding="utf-8").count("start ")


def test_a_table_is_computed_once(counting_table: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    first = harness("run", counting_table, "--jobs", "2", COUNTING_JOURNAL=str(journal))
    assert (first.returncode, first.stderr) == (0, "")
    assert starts(journal) == 12
    assert_all_right()
    value = expected(12, 0)[-1]["value"] / 1_000_003 * 100
    assert re.search(rf"^done    a-counting-s0-\w{{8}}  Value {value:.1f} %", first.stdout, re.M)
    second = harness("run", counting_table, COUNTING_JOURNAL=str(journal))
    assert second.returncode == 0
    assert "Everything is computed already." in second.stdout
    assert starts(journal) == 12


def test_runs_that_must_be_alone_come_last_and_overlap_with_nothing(
    counting_table: str, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    harness("run", counting_table, "--jobs", "3", COUNTING_JOURNAL=str(journal))
    lines = [line.split() for line in journal.read_text(encoding="utf-8").splitlines()]
    alone = [(event, kind) for event, kind, *_ in lines][-2 * 4 :]
    assert alone == [("start", "AloneRun"), ("end", "AloneRun")] * 4


def test_batched_runs_share_a_process(counting_table: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    harness("run", counting_table, "--jobs", "2", COUNTING_JOURNAL=str(journal))
    lines = [line.split() for line in journal.read_text(encoding="utf-8").splitlines()]
    batched = [process for event, kind, _, process, _ in lines if kind == "BatchedRun"]
    assert len(set(batched)) == 1
    assert len(batched) == 2 * 4


def test_failures_stop_nothing_else_and_are_tried_again(troubled_table: str) -> None:
    for attempt in (1, 2):
        done = harness("run", troubled_table)
        assert done.returncode == 2
        assert states() == Counter({DONE: 4, FAILED: 2})
        assert done.stderr.count("the loss is nan at step 3") == 2
        assert done.stdout.count("the loss is nan at step 3") == attempt - 1  # of the one before
        assert "2 runs: unobtainium: dig deeper" in done.stdout
        assert "harness status" in done.stdout.splitlines()[-1]
        failed = [record for record in records() if record.state == FAILED]
        assert [record.attempt for record in failed] == [attempt, attempt]


def test_where_all_is_blocked_the_last_line_says_so(troubled_table: str) -> None:
    done = harness("run", troubled_table, "--rows", "far")
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last == "Nothing of tests/troubled can be trained here: unobtainium: dig deeper"
    assert records() == []


def test_a_teacher_that_is_there_trains_nothing_of_the_table() -> None:
    expansion = expand(load_table("maskedkd/table5"), "smoke")
    shown = {one for row in expansion.rows for runs in row.runs.values() for one in runs}
    plan = make_plan(expansion, Store(), device="cpu", jobs=1)
    runs = tuple(
        replace(one, status="blocked", reasons=(Reason("no data"),))
        if one.run.identity in shown
        else replace(one, status="cached", reasons=())
        for one in plan.runs
    )
    assert {one.status for one in runs} == {"blocked", "cached"}
    blocked = replace(plan, runs=runs)
    assert could_not(blocked) == "Nothing of maskedkd/table5 can be trained here: no data"


def test_what_is_blocked_beside_what_is_done_is_no_failure(troubled_table: str) -> None:
    assert harness("run", troubled_table, "--rows", "a").returncode == 0
    done = harness("run", troubled_table, "--rows", "a,far")
    assert done.returncode == 0
    assert "Nothing can run here until the above is there." in done.stdout


def test_a_part_of_a_table(troubled_table: str) -> None:
    assert harness("run", troubled_table, "--rows", "a,b", "--seeds", "7").returncode == 0
    assert sorted((record.title.row, record.title.seed) for record in records()) == [
        ("a", 7),
        ("b", 7),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "harness run paper/table --rows '*keep50' --threads 2 --seeds 0,1 --recompute changed",
        "harness reproduce 'my tables/a.yaml' --profile smoke --workers 0 --offline",
    ],
)
def test_the_command_that_goes_on_is_the_one_that_was_typed(line: str) -> None:
    words = shlex.split(line)[1:]
    assert _again(_parser(words).parse_args(words)) == line


def test_ctrl_c_saves_everything_and_says_how_to_go_on(slow_table: str) -> None:
    words = ["run", slow_table, "--jobs", "2", "--seeds", "0,1"]
    front = start_harness(*words, COUNTING_HOLD="3")
    wait_for(lambda: running(2, steps=3))
    os.killpg(front.pid, signal.SIGINT)  # as a terminal does
    said, _ = front.communicate(timeout=LAST_RESORT)
    assert front.returncode == 130
    assert f"to go on: harness run {slow_table} --jobs 2 --seeds 0,1" in said
    assert "stopped with 4 runs left" in said
    stopped = [record for record in records() if record.attempt]
    assert [record.state for record in stopped] == ["interrupted", "interrupted"]
    for record in stopped:
        assert record.progress is not None
        assert record.progress.done == len(metrics(record.directory)) >= 3
    assert harness("run", slow_table, "--jobs", "2").returncode == 0
    assert_all_right()


def test_a_killed_front_end_loses_nothing(slow_table: str, tmp_path: Path) -> None:
    journal, go = tmp_path / "journal", tmp_path / "go"
    held = {"COUNTING_JOURNAL": str(journal), "COUNTING_HOLD": "2", "COUNTING_GO": str(go)}
    front = start_harness("run", slow_table, "--jobs", "2", **held)
    wait_for(lambda: running(2, steps=2))
    front.kill()
    front.communicate()
    again = start_harness("run", slow_table, "--jobs", "2", COUNTING_JOURNAL=str(journal))
    says(again, "2 running")
    go.touch()
    _, said = again.communicate(timeout=LAST_RESORT)
    assert again.returncode == 0, said
    assert_all_right()
    assert starts(journal) == 4  # the workers of the first went on, and were waited for


def test_a_killed_worker_is_reported_and_resumed_by_the_next_command(
    slow_table: str, tmp_path: Path
) -> None:
    held = {"COUNTING_HOLD": "6", "COUNTING_GO": str(tmp_path / "go")}
    front = start_harness("run", slow_table, "--jobs", "2", "--rows", "a", **held)
    wait_for(lambda: running(2, steps=6))
    victim = next(record for record in records() if record.state == RUNNING)
    wait_for(lambda: Store().record(victim.identity).pid)  # type: ignore[union-attr]
    process = Store().record(victim.identity).pid  # type: ignore[union-attr]
    assert process is not None
    os.kill(process, signal.SIGKILL)
    (tmp_path / "go").touch()
    _, said = front.communicate(timeout=LAST_RESORT)
    assert front.returncode == 2
    assert f"{victim.name}: its process was killed (SIGKILL" in said
    assert harness("run", slow_table, "--rows", "a").returncode == 0
    assert_all_right()
    again = Store().record(victim.identity)
    assert again is not None
    assert again.attempt == 2
    assert "resuming at step 5" in (again.directory / "log.txt").read_text(encoding="utf-8")


def test_two_commands_at_once_share_the_work(slow_table: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    commands = [
        start_harness("run", slow_table, "--jobs", "2", COUNTING_JOURNAL=str(journal))
        for _ in range(3)
    ]
    said = [command.communicate(timeout=LAST_RESORT) for command in commands]
    assert [command.returncode for command in commands] == [0, 0, 0], said
    assert starts(journal) == 4
    assert_all_right()


def test_a_run_elsewhere_is_taken_over_when_its_process_dies(slow_table: str) -> None:
    words = ["run", slow_table, "--rows", "a", "--seeds", "0"]
    first = start_harness(*words, COUNTING_HOLD="6")
    wait_for(lambda: running(1, steps=6))
    wait_for(lambda: records()[0].pid)
    process = records()[0].pid
    assert process is not None
    second = start_harness(*words)
    says(second, "1 running")
    os.kill(process, signal.SIGKILL)
    first.communicate(timeout=LAST_RESORT)
    second.communicate(timeout=LAST_RESORT)
    assert second.returncode == 0
    assert_all_right()
    assert records()[0].attempt >= 2


def test_a_worker_that_cannot_start_is_no_endless_loop(counting_table: str) -> None:
    broken = harness("run", counting_table, "--rows", "a", "--seeds", "0")
    assert broken.returncode == 0
    store = Store()
    for record in store.records():
        (record.directory / "result.json").unlink()
        (record.directory / "attempts").rename(record.directory / "gone")
        (record.directory / "attempts").write_text("in the way", encoding="utf-8")
        (record.directory / "state.json").unlink()
    broken = harness("run", counting_table, "--rows", "a", "--seeds", "0")
    assert broken.returncode == 2
    assert broken.stderr.count("failed ") == 3


def test_results_can_lie_elsewhere(counting_table: str, tmp_path: Path) -> None:
    there = tmp_path / "elsewhere"
    done = harness("run", counting_table, "--rows", "a", "--seeds", "0", HARNESS_RESULTS=str(there))
    assert done.returncode == 0
    assert len(Store(there).records()) == 3
    assert records() == []


@pytest.mark.parametrize("name", ["HUP", "INT"])
def test_a_signal_that_is_ignored_at_the_start_stays_ignored(name: str, slow_table: str) -> None:
    words = [sys.executable, "-m", "harness", "run", slow_table, "--rows", "a", "--jobs", "2"]
    front = subprocess.Popen(
        ["sh", "-c", f"trap '' {name}; exec \"$@\"", "sh", *words],  # as nohup, or `&` in a script
        env=environment(),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(lambda: running(2, steps=3))
    signals = [signal.Signals[f"SIG{name}"]]
    for process in (front.pid, *(record.pid for record in records())):
        assert process is not None
        for number in signals:
            os.kill(process, number)
    front.communicate(timeout=30)
    assert front.returncode == 0
    assert_all_right()
    assert [record.attempt for record in records()] == [1, 1]


def test_a_worker_that_somebody_stops_is_started_again(slow_table: str, tmp_path: Path) -> None:
    held = {"COUNTING_HOLD": "6", "COUNTING_GO": str(tmp_path / "go")}
    front = start_harness("run", slow_table, "--jobs", "2", "--rows", "a", **held)
    wait_for(lambda: running(2, steps=6))
    victim = next(record for record in records() if record.state == RUNNING)
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGTERM)
    (tmp_path / "go").touch()
    said, _ = front.communicate(timeout=30)
    assert front.returncode == 0
    assert f"again   {victim.name}: stopped at step" in said
    assert_all_right()
    assert sorted(record.attempt for record in records()) == [1, 2]


def test_a_run_that_gets_no_further_is_not_tried_for_ever(experiments: Experiments) -> None:
    table = experiments.table("tests/stubborn", plainly(pause=0.0, more=STUBBORN))
    done = harness("run", table, "--rows", "stubborn", "--seeds", "0")
    assert done.returncode == 2
    assert done.stdout.count("again   stubborn") == 5  # the first one got somewhere
    assert [record.attempt for record in records()] == [6]
