"""Writers that are closed after each test, and the counting kinds, known to this process too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tests.launch.counting  # noqa: F401 (registers them)
from harness.store import Lease, RunWriter, claim
from tests.conftest import Experiments
from tests.launch.conftest import TABLE

Open = Callable[[Lease | None], RunWriter]
Own = Callable[[Path], RunWriter]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Makes writers of leases that must have been had."""
    writers: list[RunWriter] = []

    def make(lease: Lease | None) -> RunWriter:
        assert lease is not None
        writers.append(RunWriter(lease))
        return writers[-1]

    yield make
    for writer in writers:
        writer.close()


@pytest.fixture
def own(opened: Open) -> Own:
    """Makes a new attempt at a run whose former owner is dead."""

    def make(directory: Path) -> RunWriter:
        for path in (directory / "attempts").glob("*.json"):
            os.utime(path, (1, 1))
        return opened(claim(directory))

    return make


@pytest.fixture
def counting_table(experiments: Experiments) -> str:
    """Twelve runs that take no time."""
    return experiments.table("tests/counting", TABLE.format(pause=0.0, more=""))
