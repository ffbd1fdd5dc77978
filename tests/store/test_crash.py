"""A process that dies at any of its file operations loses nothing and leaves nothing behind."""

from __future__ import annotations

import builtins
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.launch.environment import environment as facts
from harness.launch.worker import Worker
from harness.run import Resources
from harness.store import DONE, Store
from tests.launch.counting import CountingRun, expected
from tests.launch.processes import metrics, run_of, store_in, work

STEPS, SEED = 7, 4
RUN = run_of(CountingRun(steps=STEPS, seed=SEED, checkpoint_every=3))
DIED = 99
KILLS = int(os.environ.get("HARNESS_TEST_KILLS", "0"))
"""Real kills, and every file operation instead of some: takes minutes."""
STRIDE = 1 if KILLS else 7


def die_at(last: int, root: Path, done: list[int]) -> None:
    """End this process, as kill -9 does, before its file operation of that number below `root`.

    Writes count too: half of what is written reaches the file.
    """

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **more: Any) -> Any:
            where = str(arguments[0]) if arguments else ""
            if isinstance(arguments[0], int) or where.startswith(str(root)):
                done[0] += 1
                if done[0] == last:
                    os._exit(DIED)
            return real(*arguments, **more)

        return operation

    for name in ("replace", "open", "fsync", "unlink", "link", "mkdir", "rename", "utime", "chmod"):
        setattr(os, name, counted(getattr(os, name)))
    opened = counted(io.open)

    def halved(file: Any) -> Callable[..., Any]:
        real = file.write

        def write(content: Any) -> Any:
            done[0] += 1
            if done[0] == last:
                real(content[: len(content) // 2])
                file.flush()
                os._exit(DIED)
            return real(content)

        return write

    class Wrapped:
        """A file whose writes count."""

        def __init__(self, file: Any) -> None:
            self._file, self.write = file, halved(file)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

    def open_(file: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        found = opened(file, mode, *arguments, **more)
        mine = str(file).startswith(str(root)) and not str(file).endswith("log.txt")
        return Wrapped(found) if mine and set(mode) & set("wax+") else found

    io.open = open_
    builtins.open = open_


def forked(what: Callable[[], int]) -> int:
    """The exit code of `what` in a process of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = what()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def compute(root: Path, last: int = 0) -> int:
    """The exit code of a process that makes the run's directory and computes it, until it dies at
    its operation of the number `last`.
    """

    def process() -> int:
        if last:
            die_at(last, root, [0])
        return Worker(Resources(device="cpu")).run([Store(root).create(RUN)])

    return forked(process)


def left_over(root: Path) -> list[str]:
    """Files that nobody needs."""
    names = [path.name for path in root.rglob("*")]
    return [name for name in names if name.startswith((".", "checkpoint"))]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the run, computed in one go."""
    facts(Resources())  # git and the packages are asked once, not in every child
    directory = store_in(tmp_path_factory.mktemp("undisturbed")).create(RUN)
    assert work(directory)[0] == 0
    return directory


def check_same(directory: Path, undisturbed: Path) -> None:
    """Nothing lost, nothing done twice, nothing left, the same bits."""
    store = Store(directory.parents[1])
    assert [record.state for record in store.records()] == [DONE]
    assert metrics(directory) == expected(STEPS, SEED)
    for name in ("metrics.jsonl", "model.txt"):
        assert (directory / name).read_bytes() == (undisturbed / name).read_bytes()
    results = [json.loads((one / "result.json").read_text()) for one in (directory, undisturbed)]
    for key in ("metrics", "artifacts"):
        assert results[0][key] == results[1][key]
    assert left_over(store.root) == []
    assert len(os.listdir(store.runs)) == 1


def test_dying_at_any_file_operation_loses_nothing(tmp_path: Path, undisturbed: Path) -> None:
    died = 0
    for last in range(1, 1000, STRIDE):
        root = tmp_path / str(last) / "results"
        code = compute(root, last)
        if code == 0:
            break
        assert code == DIED
        died += 1
        compute_again(root, undisturbed)
    assert died * STRIDE > 60, "every operation was met"


def test_dying_again_and_again(tmp_path: Path, undisturbed: Path) -> None:
    """A second process dies where the first one had left something."""
    for last in range(5, 60, 6 if KILLS else 18):
        root = tmp_path / str(last) / "results"
        for more in range(4):
            if compute(root, last + 9 * more) == 0:
                break
        compute_again(root, undisturbed)


def compute_again(root: Path, undisturbed: Path) -> None:
    """The next process goes on, and a later one tidies up; what they leave is the undisturbed."""
    assert compute(root) == 0
    assert compute(root) == 0
    (directory,) = [one for one in (root / "runs").iterdir() if not one.name.startswith(".")]
    check_same(directory, undisturbed)
