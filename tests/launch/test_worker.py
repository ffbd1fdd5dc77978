"""Workers that are killed, stopped, raced and refused: real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.launch.worker import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_LOST, EXIT_UNREADABLE
from harness.store import DONE, FAILED, INTERRUPTED, RUNNING, Artifact, RunRecord, read_record
from tests.launch.counting import BatchedRun, CountingRun, PublishedRun, expected
from tests.launch.processes import (
    LAST_RESORT,
    environment,
    metrics,
    reached,
    run_of,
    start_worker,
    store_in,
    wait_for,
    work,
)

LONG = CountingRun(steps=25, seed=4)


def prepared(folder: Path, config: CountingRun, **more: object) -> Path:
    """The directory of a run that nobody has touched."""
    return store_in(folder).create(run_of(config, **more))  # type: ignore[arg-type]


def record(directory: Path) -> RunRecord:
    """What the directory says."""
    found = read_record(directory)
    assert found is not None
    return found


def test_a_worker_computes_a_run(tmp_path: Path) -> None:
    directory = prepared(tmp_path, CountingRun(steps=12, seed=4))
    assert work(directory) == (0, "")
    assert metrics(directory) == expected(12, 4)
    found = record(directory)
    assert (found.state, found.attempt, found.device) == (DONE, 1, "cpu")
    assert found.result is not None
    assert found.result["count/value"] == expected(12, 4)[-1]["value"]
    facts = found.environment
    assert facts["packages"]["torch"]
    assert facts["threads"] == 1
    assert not (directory / "checkpoint.pt").exists()
    assert work(directory) == (0, "")
    assert record(directory).attempt == 1


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    undisturbed = prepared(tmp_path / "a", LONG)
    killed = prepared(tmp_path / "b", LONG)
    peer = start_worker(undisturbed)
    for step in (7, 13):
        worker = start_worker(killed, COUNTING_HOLD=str(step))
        wait_for(reached(killed, step))
        worker.kill()
        worker.communicate()
        assert record(killed).state == INTERRUPTED
    assert work(killed)[0] == 0
    assert peer.communicate(timeout=LAST_RESORT)[1] == ""
    for name in ("metrics.jsonl", "model.txt"):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes()
    assert record(killed).result == record(undisturbed).result
    log = (killed / "log.txt").read_text(encoding="utf-8")
    assert "resuming at step 5" in log
    assert "resuming at step 10" in log
    assert record(killed).attempt == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_saves_a_checkpoint_at_the_very_step(tmp_path: Path, number: int) -> None:
    directory = prepared(tmp_path, LONG)
    worker = start_worker(directory, COUNTING_HOLD="6")
    wait_for(reached(directory, 6))
    worker.send_signal(number)
    worker.communicate(timeout=LAST_RESORT)
    assert worker.returncode == EXIT_INTERRUPTED
    found = record(directory)
    assert (found.state, found.error) == (INTERRUPTED, f"stopped at step {len(metrics(directory))}")
    assert found.progress is not None
    assert found.progress.done == len(metrics(directory))
    assert work(directory)[0] == 0
    assert metrics(directory) == expected(25, 4)


def test_a_checkpoint_cut_short_means_starting_over(tmp_path: Path) -> None:
    directory = prepared(tmp_path, LONG)
    worker = start_worker(directory, COUNTING_HOLD="8")
    wait_for(reached(directory, 8))
    worker.kill()
    worker.communicate()
    path = directory / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-1])
    assert work(directory)[0] == 0
    assert metrics(directory) == expected(25, 4)
    assert "damaged" in (directory / "log.txt").read_text(encoding="utf-8")


def test_a_failed_run_is_kept_and_tried_again(tmp_path: Path) -> None:
    directory = prepared(tmp_path, CountingRun(steps=9, behaviour="fail"))
    for attempt in (1, 2):
        assert work(directory)[0] == EXIT_FAILED
        found = record(directory)
        assert (found.state, found.attempt, found.result) == (FAILED, attempt, None)
        assert found.error == "the loss is nan at step 3"
    history = sorted((directory / "attempts").iterdir())
    outcomes = [json.loads(path.read_text(encoding="utf-8"))["outcome"] for path in history]
    assert outcomes == ["failed", "failed"]


def test_what_speaks_against_a_result_is_asked_before_it_is_kept(tmp_path: Path) -> None:
    directory = prepared(tmp_path, CountingRun(steps=9, behaviour="changed"))
    for _ in range(2):  # the second attempt does not go on where the first one was
        code, error = work(directory)
        assert (code, error) == (EXIT_FAILED, "")
        found = record(directory)
        assert (found.state, found.error, found.result) == (FAILED, "the images changed", None)
        assert not (directory / "checkpoint.pt").exists()
    assert "resuming" not in (directory / "log.txt").read_text(encoding="utf-8")


def test_a_bug_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    directory = prepared(tmp_path, CountingRun(steps=9, behaviour="crash"))
    assert work(directory) == (EXIT_FAILED, "")
    assert record(directory).error == "ValueError: a bug"
    assert "Traceback" in (directory / "log.txt").read_text(encoding="utf-8")


def test_two_workers_compute_a_run_once(tmp_path: Path) -> None:
    directory = prepared(tmp_path, LONG)
    journal = tmp_path / "journal"
    workers = [start_worker(directory, COUNTING_JOURNAL=str(journal)) for _ in range(3)]
    assert [worker.communicate(timeout=LAST_RESORT)[1] for worker in workers] == ["", "", ""]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    lines = journal.read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in lines] == ["start", "end"]


def test_a_waiting_worker_takes_over_when_the_owner_dies(tmp_path: Path) -> None:
    directory = prepared(tmp_path, LONG)
    owner = start_worker(directory, COUNTING_HOLD="6")
    wait_for(reached(directory, 6))
    heir = start_worker(directory)
    owner.kill()
    owner.communicate()
    heir.communicate(timeout=LAST_RESORT)
    assert heir.returncode == 0
    assert metrics(directory) == expected(25, 4)
    assert record(directory).attempt == 2


def test_an_owner_on_a_lost_machine_stops_when_it_was_taken_over(tmp_path: Path) -> None:
    """As when a cluster gives a job to another node while the first still runs."""
    directory = prepared(tmp_path, LONG)
    old = start_worker(directory, COUNTING_HOLD="6")
    wait_for(reached(directory, 6))
    old.send_signal(signal.SIGSTOP)
    path = directory / "attempts" / "0001.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["owner"]["machine"] = "another"
    path.write_text(json.dumps(content), encoding="utf-8")
    os.utime(path, (1, 1))
    new = start_worker(directory)
    wait_for(lambda: record(directory).attempt == 2)
    old.send_signal(signal.SIGCONT)
    for worker in (old, new):
        worker.communicate(timeout=LAST_RESORT)
    assert (old.returncode, new.returncode) == (EXIT_LOST, 0)
    assert metrics(directory) == expected(25, 4)
    assert "taken over as attempt 2" in (directory / "log.txt").read_text(encoding="utf-8")


def test_one_process_computes_many_runs_and_a_failure_stops_none(tmp_path: Path) -> None:
    configs = [
        BatchedRun(steps=4, seed=seed, behaviour="fail" if seed == 1 else "") for seed in range(5)
    ]
    directories = [store_in(tmp_path).create(run_of(config)) for config in configs]
    journal = tmp_path / "journal"
    assert work(*directories, COUNTING_JOURNAL=str(journal))[0] == EXIT_FAILED
    states = [record(directory).state for directory in directories]
    assert states == [DONE, FAILED, DONE, DONE, DONE]
    lines = journal.read_text(encoding="utf-8").splitlines()
    assert len({line.split()[-2] for line in lines}) == 1


def test_a_run_without_its_dependency_fails_with_its_name(tmp_path: Path) -> None:
    teacher = run_of(CountingRun(steps=3), row="teacher")
    directory = prepared(tmp_path, CountingRun(steps=4), depends=(teacher.identity,))
    assert work(directory)[0] == EXIT_FAILED
    assert teacher.identity[:8] in (record(directory).error or "")
    store_in(tmp_path).create(teacher)
    assert work(directory)[0] == EXIT_FAILED
    assert record(directory).error == (
        f"needs the result of run {teacher.name} (planned): run that one first"
    )


def test_a_run_planned_by_other_code_is_refused(tmp_path: Path) -> None:
    directory = prepared(tmp_path, CountingRun(steps=4))
    content = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    content["config"]["stepz"] = 1
    (directory / "run.json").write_text(json.dumps(content), encoding="utf-8")
    assert work(directory)[0] == EXIT_FAILED
    assert "another version of harness" in (record(directory).error or "")


def test_a_plugin_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    directory = prepared(tmp_path, CountingRun(steps=4))
    work(directory, HARNESS_PLUGINS="no_such_module")
    assert "HARNESS_PLUGINS names 'no_such_module'" in (record(directory).error or "")


def test_state_json_tells_how_far_a_run_is(tmp_path: Path) -> None:
    steps, pause = 100_000, 0.02  # it does not come to its end here
    directory = prepared(tmp_path, CountingRun(steps=steps, pause=pause))
    worker = start_worker(directory)
    wait_for(lambda: record(directory).eta is not None)
    found = record(directory)
    worker.terminate()
    worker.communicate(timeout=LAST_RESORT)
    assert (found.state, found.pid) == (RUNNING, worker.pid)
    assert found.progress is not None
    assert 0 < found.progress.done < steps
    assert found.eta is not None
    assert found.eta > (steps - found.progress.done) * pause * 0.99  # no step takes less


def test_threads_are_limited_before_libraries_are_loaded(tmp_path: Path) -> None:
    directory = prepared(tmp_path, CountingRun(steps=4))
    arguments = ["--resources", json.dumps({"threads": 1, "device": "cpu"}), str(directory)]
    subprocess.run(
        [sys.executable, "-m", "harness.launch.worker", *arguments],
        env=environment(COUNTING_TORCH="1"),
        check=True,
    )
    assert record(directory).environment["torch"]["threads"] == 1


def test_a_result_tells_the_published_weights_by_their_checksum(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--timm--deit_tiny_patch16_224.fb_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0a1b")
    file = folder / "snapshots" / "0a1b" / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    directory = prepared(tmp_path, PublishedRun(steps=3))
    assert work(directory, HF_HUB_CACHE=str(tmp_path / "hub")) == (0, "")
    found = record(directory).used
    assert found == {"hub:deit_tiny_patch16_224.fb_in1k": {file.name: Artifact.of(file)}}


def test_a_file_of_another_run_is_what_that_run_wrote(tmp_path: Path) -> None:
    teacher = run_of(CountingRun(steps=3), row="teacher")
    source = store_in(tmp_path).create(teacher)
    assert work(source)[0] == 0
    directory = prepared(tmp_path, CountingRun(steps=4), depends=(teacher.identity,))
    model = source / "model.txt"
    content = model.read_bytes()
    for change, what in (
        (lambda: model.write_bytes(bytes([content[0] ^ 1]) + content[1:]), "SHA-256 differs"),
        (lambda: model.write_bytes(content[:-1]), "bytes, not"),
        (model.unlink, "model.txt is missing"),
    ):
        change()
        assert work(directory)[0] == EXIT_FAILED
        error = record(directory).error or ""
        assert what in error
        assert f"needs run {teacher.name}" in error
        assert "--rows teacher --seeds 0 --recompute damaged" in error
    model.mkdir()
    assert work(directory)[0] == EXIT_UNREADABLE
    assert record(directory).state == INTERRUPTED
    model.rmdir()
    model.write_bytes(content)
    assert work(directory)[0] == 0
    used = json.loads((directory / "result.json").read_text(encoding="utf-8"))["used"]
    made = json.loads((source / "result.json").read_text(encoding="utf-8"))["artifacts"]
    assert made.pop("metrics.jsonl")["bytes"] == (source / "metrics.jsonl").stat().st_size
    assert used == {teacher.identity: made}  # not the times in which metrics were written
