"""A file that cannot be read says nothing about what was computed: nothing is done to the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.launch.worker import EXIT_UNREADABLE
from harness.store import DONE, UNREADABLE, FileError, Store, put_aside
from tests.launch.counting import CountingRun
from tests.launch.processes import REPOSITORY, environment, harness, run_of, store_in, work
from tests.store.conftest import Own

RUN = run_of(CountingRun(steps=3, seed=7))
RESULT = {"count/value": 99.9, "val/top1": 99.9}


def finished(folder: Path, own: Own) -> tuple[Store, Path]:
    """A store with one run that is done."""
    store = store_in(folder)
    directory = store.create(RUN)
    writer = own(directory)
    writer.finish(RESULT, device="cpu")
    writer.lease.release(DONE)
    return store, directory


def folder_there(path: Path) -> None:
    """A folder where the file should be: EISDIR for every user."""
    path.rename(path.with_name("kept"))
    path.mkdir()


def circle(path: Path) -> None:
    """Links in a circle: ELOOP."""
    path.rename(path.with_name("kept"))
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    """A link into a file system that is not mounted."""
    path.rename(path.with_name("kept"))
    path.symlink_to("/nowhere/at/all")


def pipe(path: Path) -> None:
    """A pipe that nobody writes to, which a reader would wait for."""
    path.rename(path.with_name("kept"))
    os.mkfifo(path)


Break = Callable[[Path], None]
BREAKS = (folder_there, circle, dangling, pipe)


@pytest.mark.parametrize("hide", BREAKS)
@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_a_file_that_cannot_be_read_is_no_damage(
    tmp_path: Path, own: Own, name: str, hide: Break
) -> None:
    store, directory = finished(tmp_path, own)
    hide(directory / name)
    before = sorted(os.listdir(directory))
    record = store.record(RUN.identity)
    assert record is not None
    assert (record.state, record.broken) == (UNREADABLE, True)
    assert record.error is not None
    assert record.error.startswith(f"cannot read {directory / name}: ")
    assert "remove" not in record.error
    with pytest.raises(FileError):
        store.create(RUN)
    code, said = work(directory)
    assert (code, "Traceback" in said) == (EXIT_UNREADABLE, False)
    assert not put_aside(record)
    assert sorted(set(os.listdir(directory)) - {"log.txt"}) == before
    (directory / name).rmdir() if (directory / name).is_dir() else (directory / name).unlink()
    (directory / "kept").rename(directory / name)
    again = store.record(RUN.identity)
    assert again is not None
    assert (again.state, again.result) == (DONE, RESULT)


@pytest.mark.parametrize("name", ["state.json", "job.json", "attempts/0001.json"])
def test_the_state_of_an_open_run_may_be_unreadable_too(
    tmp_path: Path, own: Own, name: str
) -> None:
    store = store_in(tmp_path)
    directory = store.create(RUN)
    own(directory).state("running")
    (directory / name).touch()
    folder_there(directory / name)
    record = store.record(RUN.identity)
    assert record is not None
    assert record.state == UNREADABLE
    assert work(directory)[0] == EXIT_UNREADABLE


def test_a_result_that_hides_while_the_run_is_computed_is_not_replaced(
    tmp_path: Path, own: Own
) -> None:
    directory = store_in(tmp_path).create(RUN)
    writer = own(directory)
    (directory / "result.json").mkdir()
    with pytest.raises(FileError):
        writer.finish(RESULT, device="cpu")
    assert (directory / "result.json").is_dir()


def test_a_checkpoint_that_cannot_be_read_is_kept(tmp_path: Path, own: Own) -> None:
    directory = store_in(tmp_path).create(RUN)
    writer = own(directory)
    writer.metric({"step": 1})
    writer.save_checkpoint(lambda path: path.write_text("[1, 2]") and None)
    folder_there(directory / "checkpoint.pt")
    with pytest.raises(FileError, match=r"cannot read .*checkpoint\.pt"):
        own(directory).restore_checkpoint()
    assert (directory / "kept").read_text().startswith("[1, 2]")
    assert (directory / "metrics.jsonl").read_text() == '{"step": 1}\n'


@pytest.mark.parametrize("hide", [circle, dangling])
def test_a_store_that_cannot_be_read_is_not_empty(tmp_path: Path, own: Own, hide: Break) -> None:
    store, _ = finished(tmp_path, own)
    hide(store.runs)
    with pytest.raises(HarnessError, match="cannot read"):
        Store(store.root).records()


AS_NOBODY = """
import os, sys
from pathlib import Path
from harness.store import read_record
os.setgid(65534)
os.setuid(65534)
record = read_record(Path(sys.argv[1]))
print(record.state, record.error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to be")
def test_without_permission(tmp_path: Path, own: Own) -> None:
    _, directory = finished(tmp_path, own)
    (directory / "result.json").chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/") and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    said = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(directory)],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said == f"unreadable cannot read {directory / 'result.json'}: Permission denied\n"


def test_the_commands_leave_an_unreadable_run_alone(counting_table: str) -> None:
    select = ("--rows", "a", "--seeds", "0", "--tasks", "counting")
    assert harness("run", counting_table, *select).returncode == 0
    (record,) = Store().records()
    folder_there(record.directory / "result.json")
    before = sorted(os.listdir(record.directory))
    for command in ("run", "plan", "status"):
        said = harness(command, counting_table, *select)
        assert said.returncode == 1
        assert "cannot read" in said.stdout
        assert "failed" not in said.stdout + said.stderr
        assert "Traceback" not in said.stderr
    assert sorted(os.listdir(record.directory)) == before
    told = json.loads(harness("status", counting_table, *select, "--json").stdout)
    assert told["counts"]["unreadable"] == 1
    (record.directory / "result.json").rmdir()
    (record.directory / "kept").rename(record.directory / "result.json")
    said = harness("run", counting_table, *select)
    assert said.returncode == 0
    assert "computed already" in said.stdout
