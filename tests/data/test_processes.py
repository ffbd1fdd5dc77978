"""Loader processes that die, that cannot hand over images, and stops while nothing comes."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import active_children
from pathlib import Path
from tempfile import mkdtemp
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from harness.data.dataset import Arrays
from harness.data.processes import SHARED
from harness.data.sampler import Sampler
from harness.data.sources import Setup, never
from harness.data.worker_images import BatchKeys, WorkerImages
from harness.errors import Interrupted, RunFailed
from harness.train.config import Augment

SPLIT = Arrays(images=np.zeros((64, 1, 8, 8), np.uint8), labels=np.zeros(64, np.int64))


def batches(
    transform: Callable[[Image.Image], Tensor],
    *,
    workers: int = 2,
    stopping: Callable[[], bool] = never,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of 8 images, transformed in worker processes."""
    setup = Setup(
        augment=Augment(),
        image_size=8,
        mean=(0.0,),
        seed=0,
        device=torch.device("cpu"),
        workers=workers,
        stopping=stopping,
    )
    order = Sampler(images=64, batch_size=8, repeats=1, seed=0)
    source = WorkerImages(SPLIT, np.arange(64), setup)
    return source.transformed(transform, BatchKeys(order, 0, setup.dist))


def zeros(_: Image.Image) -> Tensor:
    return torch.zeros(1, 8, 8, dtype=torch.uint8)


def killed(_: Image.Image) -> Tensor:
    os.kill(os.getpid(), signal.SIGKILL)
    return torch.zeros(())


def mistaken(_: Image.Image) -> Tensor:
    raise ValueError("a mistake in a transform")


class Stuck:
    """Images that never come, in a process that tells when it waits for them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, _: Image.Image) -> Tensor:
        self.path.touch()
        threading.Event().wait()
        return torch.zeros(())


def test_a_killed_process_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(RunFailed, match=r"killed by SIGKILL.*/dev/shm \(.* MiB free\).*workers: N"):
        next(batches(killed))
    assert not active_children()


def test_the_death_of_a_process_raises_nothing_amid_a_step() -> None:
    """PyTorch's own handler would, wherever the run is at that moment."""
    found = batches(zeros)
    next(found)
    process = active_children()[0]
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert sum(range(100_000)) > 0  # the run goes on
    with pytest.raises(RunFailed, match="killed by SIGKILL"):
        for _ in found:
            pass


def test_a_stop_is_heard_while_no_batch_comes(tmp_path: Path) -> None:
    waits = tmp_path / "waits"
    with pytest.raises(Interrupted, match="while it waited for images"):
        next(batches(Stuck(waits), stopping=waits.exists))
    assert not [process for process in active_children() if process.exitcode is None]


def test_a_stop_waits_for_the_batch_that_comes() -> None:
    """The run saves its checkpoint after the step, and not in between."""
    found = batches(zeros, stopping=lambda: True)
    assert [len(next(found)[1]) for _ in range(20)] == [8] * 20
    found.close()  # type: ignore[attr-defined]


def test_a_signal_to_all_processes_of_a_job_leaves_the_loaders_alive() -> None:
    found = batches(zeros)
    next(found)
    for process in active_children():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            os.kill(process.pid or 0, number)
    assert [len(next(found)[1]) for _ in range(30)] == [8] * 30
    found.close()  # type: ignore[attr-defined]
    assert not active_children()


def test_a_mistake_in_a_transform_is_shown_as_it_is() -> None:
    with pytest.raises(ValueError, match="a mistake in a transform"):
        next(batches(mistaken))


def test_a_folder_for_temporary_files_with_a_long_name_is_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sockets in it cannot be made: names of theirs have 107 bytes at most."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    late = time.monotonic() + 30
    found = batches(zeros, stopping=lambda: time.monotonic() > late)
    places: list[str] = []

    def made(**options: str) -> str:
        places.append(mkdtemp(**options))
        return places[-1]

    with patch.object(tempfile, "mkdtemp", made):
        assert len(next(found)[1]) == 8
    found.close()  # type: ignore[attr-defined]
    (place,) = places
    assert Path(place).parent == Path(SHARED)
    assert not Path(place).exists()
    assert not list(long.iterdir())
    assert tempfile.gettempdir() == str(long)


def test_without_room_in_shared_memory_there_is_an_error() -> None:
    """No file of more than 32 bytes can be written: no room for a batch, in that memory either."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32, before[1]))
    try:
        what = r"cannot deliver images \(unable to .*/dev/shm \("
        with pytest.raises(RunFailed, match=what) as error:
            next(batches(zeros))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "`resources: {workers: N}` (0 needs none)" in str(error.value)
    assert not active_children()
