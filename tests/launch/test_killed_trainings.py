"""kill -9 in the middle of a training of each system: it goes on to the same bits."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.launch import worker
from harness.launch.context import WorkerContext
from harness.store import DONE, read_record
from harness.tasks.train import TrainRun
from tests.launch.processes import LAST_RESORT, metrics, run_of, store_in
from tests.train import few
from tests.train.systems import SYSTEMS

KILL = 7
"""A step in the second epoch, behind an evaluation of those that have some on the way."""
SLOW_IMPORTS = "harness.train.loop", "harness.methods.labels.set_loss", "pycocotools.cocoeval"
RESOURCES = json.dumps({"device": "cpu", "threads": 1, "checkpoint_seconds": 0.0})


def compute(directories: Sequence[Path], kill_at: int | None = None) -> int | None:
    """The exit code of a worker of its own, which is killed at the end of a step."""
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload([__name__, *SLOW_IMPORTS])
    process = forking.Process(target=_work, args=(directories, kill_at))
    process.start()
    process.join(LAST_RESORT)
    return process.exitcode


def _work(directories: Sequence[Path], kill_at: int | None) -> None:
    few.install()
    if kill_at is not None:

        def dies(self: WorkerContext, done: int, total: int, unit: str = "step") -> None:
            if done == kill_at:  # its checkpoint is not written yet
                os.kill(os.getpid(), signal.SIGKILL)

        WorkerContext.progress = dies  # type: ignore[method-assign]
    raise SystemExit(worker.main(["--resources", RESOURCES, *map(str, directories)]))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Of each system the directories of a run that nobody disturbed, and of one that was killed."""
    folder = tmp_path_factory.mktemp("killed")
    trainings = {name: run_of(TrainRun(train=one)) for name, one in SYSTEMS.items()}
    whole, killed = (
        {name: store_in(folder / half).create(run) for name, run in trainings.items()}
        for half in ("whole", "killed")
    )
    assert compute(list(whole.values())) == 0
    for directory in killed.values():
        assert compute([directory], kill_at=KILL) == -signal.SIGKILL
        assert (directory / "checkpoint.pt").exists()
    assert compute(list(killed.values())) == 0
    return {name: [whole[name], killed[name]] for name in SYSTEMS}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_killed_training_goes_on_to_the_same_bits(name: str, runs: dict[str, list[Path]]) -> None:
    whole, killed = runs[name]
    assert f"resuming at step {KILL - 1} of" in (killed / "log.txt").read_text(encoding="utf-8")
    record, undisturbed = read_record(killed), read_record(whole)
    assert record is not None
    assert undisturbed is not None
    assert (record.state, record.attempt) == (DONE, 2)
    assert record.result == undisturbed.result
    assert metrics(killed) == metrics(whole)
    assert len(metrics(whole)) >= 12
    left = [sorted(path.name for path in run.glob("*.safetensors")) for run in (whole, killed)]
    assert left[0] == left[1]
    assert "model.safetensors" in left[0]
    for file in left[0]:
        assert (killed / file).read_bytes() == (whole / file).read_bytes(), file
