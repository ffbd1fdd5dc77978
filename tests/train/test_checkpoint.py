"""A run's own checkpoint that is damaged or foreign: one sentence, and never a second time."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import Interrupted, WeightsError
from harness.methods.supervised import Supervised
from harness.train.loop import train
from tests.models.test_weights import Trap
from tests.train.test_loop import Context, config


class Command:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch sprung",)


def _changed(path: Path, **changes: Any) -> None:
    torch.save({**torch.load(path, weights_only=True), **changes}, path)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty": (lambda path: path.write_bytes(b"") and None, "not a whole checkpoint"),
    "text": (lambda path: path.write_text("5") and None, "not a whole checkpoint"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps(Command())) and None, "not a whole"),
    "command": (lambda path: torch.save({"step": Command()}, path), "holds .*system beside"),
    "trap": (lambda path: torch.save({"step": Trap()}, path), "holds getattr beside tensors"),
    "a list": (lambda path: torch.save([1, 2], path), "not a whole checkpoint"),
    "no step": (lambda path: _changed(path, step=None), "not a whole checkpoint"),
    "no modules": (lambda path: _changed(path, modules=3), "not a whole checkpoint"),
    "other state": (lambda path: _changed(path, optimizer={"a": 1}), "not a whole checkpoint"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_said_once_and_the_next_attempt_starts_over(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    change, words = DAMAGES[name]
    short = config(Supervised(), epochs=0.5)
    with pytest.raises(Interrupted):
        train(short, Context(tmp_path / "run", stop_at=3))
    change(tmp_path / "run" / "checkpoint.pt")
    with pytest.raises(WeightsError, match=rf"checkpoint\.pt: .*{words}.*starts over$") as failed:
        train(short, Context(tmp_path / "run"))
    assert "\n" not in str(failed.value)
    assert "weights_only" not in str(failed.value)
    assert not (tmp_path / "sprung").exists()
    assert (tmp_path / "run" / "checkpoint.damaged.pt").exists()
    whole = train(short, Context(tmp_path / "whole"))
    assert train(short, Context(tmp_path / "run")) == whole


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError(
            "Error(s) in loading state_dict for Linear: While copying the parameter named "
            "\"bias\", an exception occurred : ('CUDA out of memory',)."
        ),
        MemoryError(),
        OSError(5, "Input/output error"),
    ],
    ids=["memory of a GPU", "a GPU", "memory of a GPU while copying", "memory", "a disk"],
)
def test_a_machine_that_fails_while_a_run_resumes_leaves_the_checkpoint(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = config(Supervised(), epochs=0.5)
    with pytest.raises(Interrupted):
        train(short, Context(tmp_path / "run", stop_at=3))

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as once:
        once.setattr(torch.optim.AdamW, "load_state_dict", fail)
        with pytest.raises(type(error)) as failed:
            train(short, Context(tmp_path / "run"))
    assert failed.value is error
    again = Context(tmp_path / "run")
    assert train(short, again) == train(short, Context(tmp_path / "whole"))
    assert "resuming at step 3 of 6" in again.logged


BEYOND_MEMORY = """
import resource, sys
from pathlib import Path
from harness.train.checkpoint import reading
pages = int(Path("/proc/self/statm").read_text().split()[0])
most = pages * resource.getpagesize() + int(1.5 * Path(sys.argv[1]).stat().st_size)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
with reading(Path(sys.argv[1])):
    pass
"""


def test_a_checkpoint_that_does_not_fit_into_memory_is_not_damaged(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save(torch.zeros(1 << 25), path)
    ended = subprocess.run(
        [sys.executable, "-c", BEYOND_MEMORY, str(path)], capture_output=True, text=True
    )
    last = ended.stderr.strip().split("\n")[-1]
    assert ended.returncode == 1
    assert "can't allocate memory" in last
    assert "DamagedCheckpoint" not in last


def test_a_checkpoint_that_cannot_be_read_is_not_damaged(tmp_path: Path) -> None:
    short = config(Supervised(), epochs=0.5)
    with pytest.raises(Interrupted):
        train(short, Context(tmp_path / "run", stop_at=3))
    path = tmp_path / "run" / "checkpoint.pt"
    path.rename(tmp_path / "aside")
    path.mkdir()  # whatever the system answers
    with pytest.raises(WeightsError, match="cannot read the checkpoint: Is a directory"):
        train(short, Context(tmp_path / "run"))
    path.rmdir()
    (tmp_path / "aside").rename(path)
    assert train(short, Context(tmp_path / "run")) == train(short, Context(tmp_path / "whole"))
