"""Who may write into a run directory, with real processes racing for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.store import LeaseLost, RunWriter, claim, lease
from harness.store.lease import BEAT, TTL, Owner, latest_attempt
from tests.launch.processes import LAST_RESORT, REPOSITORY, wait_for
from tests.store.conftest import Open

RACE = """
import os, sys, time
from pathlib import Path
from harness.store import lease
directory, ready, go = map(Path, sys.argv[1:])
link = lease.link

def link_when_all_are_there(source, target):
    (ready / str(os.getpid())).touch()
    while not go.exists():
        time.sleep(0.001)
    return link(source, target)

lease.link = link_when_all_are_there
print(lease.claim(directory) is not None, flush=True)
sys.stdin.read()
"""
"""Claims, but stops before the last step until every racer has come so far; then stays alive."""


def dead_owner() -> Owner:
    """A process of this machine that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return replace(Owner.here(), pid=ended.pid, pid_start="1")


def leave_attempt(directory: Path, owner: Owner, *, age: float = 0.0) -> None:
    """An attempt of another process, its last heartbeat `age` seconds ago."""
    folder = directory / "attempts"
    folder.mkdir()
    path = folder / "0001.json"
    path.write_text(json.dumps({"attempt": 1, "owner": asdict(owner)}), encoding="utf-8")
    os.utime(path, (time.time() - age,) * 2)


def test_of_many_that_claim_a_dead_owners_run_exactly_one_gets_it(tmp_path: Path) -> None:
    run, ready, go = tmp_path / "run", tmp_path / "ready", tmp_path / "go"
    run.mkdir()
    ready.mkdir()
    leave_attempt(run, dead_owner())
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(run), str(ready), str(go)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        for _ in range(8)
    ]
    wait_for(lambda: len(list(ready.iterdir())) == len(racers))
    go.touch()
    won = [racer.stdout.readline().strip() for racer in racers if racer.stdout]
    for racer in racers:
        racer.communicate(timeout=LAST_RESORT)
    assert sorted(won) == ["False"] * 7 + ["True"]
    assert sorted(os.listdir(run / "attempts")) == ["0001.json", "0002.json"]


def test_a_living_owner_keeps_its_run(tmp_path: Path) -> None:
    assert claim(tmp_path) is not None
    assert claim(tmp_path) is None


def test_a_dead_process_of_this_machine_is_seen_at_once(tmp_path: Path) -> None:
    leave_attempt(tmp_path, dead_owner())
    taken = claim(tmp_path)
    assert taken is not None
    assert taken.number == 2


def test_a_process_number_given_anew_is_another_process(tmp_path: Path) -> None:
    leave_attempt(tmp_path, replace(Owner.here(), pid_start="1"))
    assert claim(tmp_path) is not None


@pytest.mark.parametrize(("age", "free"), [(0.0, False), (TTL / 2, False), (TTL + 10, True)])
def test_an_owner_on_another_machine_is_dead_when_its_heartbeat_is_old(
    tmp_path: Path, age: float, free: bool
) -> None:
    leave_attempt(tmp_path, replace(Owner.here(), machine="another"), age=age)
    assert (claim(tmp_path) is not None) is free


def test_a_heartbeat_keeps_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BEAT * 3 < TTL
    monkeypatch.setattr(lease, "BEAT", 0.02)
    owned = claim(tmp_path)
    assert owned is not None
    with owned:
        os.utime(tmp_path / "attempts" / "0001.json", (1, 1))
        wait_for(lambda: (latest := latest_attempt(tmp_path)) and latest.beat > 1)
    latest = latest_attempt(tmp_path)
    assert latest is not None
    assert time.time() - latest.beat < TTL


def test_an_ended_attempt_frees_the_run_and_is_kept(tmp_path: Path) -> None:
    first = claim(tmp_path)
    assert first is not None
    first.release("failed", "the loss is nan")
    second = claim(tmp_path)
    assert second is not None
    kept = json.loads((tmp_path / "attempts" / "0001.json").read_text(encoding="utf-8"))
    assert (kept["outcome"], kept["error"]) == ("failed", "the loss is nan")
    assert kept["owner"]["pid"] == os.getpid()


def test_a_damaged_attempt_counts_until_its_heartbeat_is_old(tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir()
    path = tmp_path / "attempts" / "0001.json"
    path.write_text('{"attempt": 1, "own', encoding="utf-8")
    assert claim(tmp_path) is None
    os.utime(path, (1, 1))
    assert claim(tmp_path) is not None


def taken_over(directory: Path, opened: Open) -> tuple[RunWriter, RunWriter]:
    """An owner that was taken for dead while it was only slow, and the new one."""
    old = opened(claim(directory))
    old.metric({"step": 1})
    old.save_checkpoint(lambda path: save(path, b"old"))
    old.metric({"step": 2})
    os.utime(directory / "attempts" / "0001.json", (1, 1))
    return old, opened(claim(directory))


def save(path: Path, content: bytes) -> None:
    """As a run writes a checkpoint."""
    path.write_bytes(content)


def test_an_owner_that_was_taken_over_cannot_write(tmp_path: Path, opened: Open) -> None:
    old, new = taken_over(tmp_path, opened)
    new.restore_checkpoint()
    new.metric({"step": 2, "by": "new"})
    new.state("running")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    attempts = [
        lambda: old.state("failed"),
        lambda: old.environment({}),
        lambda: old.metric({"step": 3}),
        lambda: old.save_checkpoint(lambda path: save(path, b"late")),
        lambda: old.restore_checkpoint(),
        lambda: old.save_artifact("model", lambda path: save(path, b"late")),
        lambda: old.finish({"x": 1.0}, device="cpu"),
    ]
    for attempt in attempts:
        with pytest.raises(LeaseLost, match="taken over as attempt 2"):
            attempt()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_write_that_was_under_way_at_the_takeover_changes_nothing(
    tmp_path: Path, opened: Open
) -> None:
    old, new = taken_over(tmp_path, opened)
    new.restore_checkpoint()
    new.metric({"step": 2, "by": "new"})
    old.lease.ensure_held = lambda: None  # type: ignore[method-assign]  # it had looked just before
    old.metric({"step": 3, "by": "old"})
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1}, {"step": 2, "by": "new"}]


def test_a_checkpoint_being_written_at_the_takeover_is_dropped(
    tmp_path: Path, opened: Open
) -> None:
    old = opened(claim(tmp_path))

    def write(path: Path) -> None:
        path.write_bytes(b"late")
        os.utime(tmp_path / "attempts" / "0001.json", (1, 1))
        assert claim(tmp_path) is not None

    with pytest.raises(LeaseLost):
        old.save_checkpoint(write)
    assert not (tmp_path / "checkpoint.pt").exists()
