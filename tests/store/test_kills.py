"""kill -9 at random moments, of workers, front ends or both: nothing is lost, doubled or left.

HARNESS_TEST_KILLS says how many; a few without it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

from harness.launch.worker import Worker
from harness.run import Resources
from harness.store import DONE, Store
from tests.conftest import Experiments
from tests.launch.conftest import plainly
from tests.launch.counting import CountingRun, expected
from tests.launch.processes import harness, metrics, run_of, start_harness
from tests.store.test_crash import KILLS, facts, left_over

WORKERS, FRONT_ENDS = (KILLS * 2 // 3, KILLS - KILLS * 2 // 3) if KILLS else (12, 3)
SLOW = CountingRun(steps=60, seed=4, pause=0.002, checkpoint_every=2)


def outcomes(directory: Path) -> list[str]:
    """How the attempts ended, of those that said so."""
    found = [json.loads(path.read_text()) for path in sorted((directory / "attempts").iterdir())]
    return [attempt["outcome"] for attempt in found if "outcome" in attempt]


def test_workers(tmp_path: Path) -> None:
    rng, kills, finished = random.Random(1), 0, 0
    facts(Resources())  # asked once, not in every child
    while kills < WORKERS:
        directory = Store(tmp_path / str(finished) / "results").create(run_of(SLOW))
        longest, before = 0.4, -1  # on a busy machine more is needed to get any further
        while not (directory / "result.json").exists():
            child = os.fork()
            if child == 0:
                os._exit(Worker(Resources(device="cpu")).run([directory]))
            time.sleep(rng.uniform(0.0, longest))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            kills += os.WIFSIGNALED(status)
            assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
            steps = len(metrics(directory))
            longest, before = (0.4 if steps > before else 1.5 * longest), max(steps, before)
        if (child := os.fork()) == 0:  # tidies up
            os._exit(Worker(Resources(device="cpu")).run([directory]))
        assert os.waitpid(child, 0)[1] == 0
        assert metrics(directory) == expected(SLOW.steps, SLOW.seed)
        assert (directory / "model.txt").read_text().strip() == str(metrics(directory)[-1]["value"])
        assert outcomes(directory).count(DONE) <= 1
        assert left_over(directory.parents[1]) == []
        finished += 1
    print(f"{kills} kills of workers, {finished} runs finished")


def test_front_ends(experiments: Experiments) -> None:
    table = experiments.table("tests/kills", plainly(pause=0.02))
    rng, kills = random.Random(2), 0
    while kills < FRONT_ENDS:
        front = start_harness("run", table, "--jobs", "2")
        time.sleep(rng.uniform(0.3, 4.0))
        who = rng.choice(("front", "workers", "both"))
        if who != "workers":
            front.kill()
            kills += 1
        if who != "front":
            for record in Store().records():
                if record.state == "running" and record.pid:
                    kills += 1
                    os.kill(record.pid, signal.SIGKILL)
        front.communicate()
        if Store().records() and all(one.state == DONE for one in Store().records()):
            check(table)
            for record in Store().records():
                (record.directory / "result.json").rename(record.directory / "kept.json")
    check(table)
    print(f"{kills} kills of front ends and their workers")


def check(table: str) -> None:
    """What the command leaves in the end."""
    for _ in range(2):
        said = harness("run", table, "--jobs", "2")
        assert said.returncode == 0, said.stdout + said.stderr
    records = Store().records()
    assert [record.state for record in records] == [DONE] * 4
    for record in records:
        steps = record.plain["steps"]
        assert metrics(record.directory) == expected(steps, record.title.seed or 0)
        assert record.result is not None
        assert record.result["count/value"] == metrics(record.directory)[-1]["value"]
    assert left_over(Store().root) == []
