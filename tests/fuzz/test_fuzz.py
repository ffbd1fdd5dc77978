"""Damaged inputs by the hundred: a clear refusal or a good reading, never a traceback."""

from __future__ import annotations

import pytest

from tests.fuzz.driver import fuzz


@pytest.mark.parametrize(
    ("module", "count"),
    [("tests.fuzz.clusters", 200), ("tests.fuzz.images", 1000), ("tests.fuzz.targets", 900)],
)
def test_damaged_inputs_are_read_or_refused(module: str, count: int) -> None:
    found = fuzz(module, count)
    print(found)
    assert found.faults == []
    assert found.taken + found.refused == count
    assert min(found.taken, found.refused) > count // 20  # neither is all that happens
