"""A run's own checkpoint that is damaged or foreign: one sentence, and never a second time."""

from __future__ import annotations

import os
import pickle
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
