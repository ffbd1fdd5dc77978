"""How long runs take, learned from those that this machine has done."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.estimate import UNKNOWN_RATE, UNKNOWN_START, Load, Rates, makespan
from harness.store import DONE, RunRecord


def record(kind: str, macs: float, seconds: float, **more: Any) -> RunRecord:
    """A finished run, as far as estimates look at it."""
    plain = {"train": {"method": {"name": more.get("method", "distillation")}}}
    host = more.get("host", socket.gethostname())
    fields = {"state": DONE, "device": "cpu", "environment": {"host": host}, "plain": plain}
    return cast(RunRecord, SimpleNamespace(task=kind, macs=macs, seconds=seconds, **fields))


def plain(method: str) -> dict[str, Any]:
    """A configuration with this method."""
    return {"train": {"method": {"name": method}}}


def test_runs_that_are_alike_count_before_others_of_their_size() -> None:
    records = [record("train", 1e12, 30.0), record("train", 1e12, 90.0, method="dino")]
    rates = Rates.of(records, device="cpu")
    assert rates.seconds("train", 2e12, plain("distillation")) == pytest.approx(60.0)
    assert rates.seconds("train", 2e12, plain("dino")) == pytest.approx(180.0)
    assert rates.seconds("train", 2e12, plain("ibot")) == pytest.approx(120.0)


def test_runs_of_this_machine_count_before_those_of_others() -> None:
    slow = record("train", 1e12, 300.0, host="elsewhere")
    assert Rates.of([slow], device="cpu").seconds("train", 1e12) == pytest.approx(300.0)
    both = Rates.of([slow, record("train", 1e12, 30.0)], device="cpu")
    assert both.seconds("train", 1e12) == pytest.approx(30.0)


def test_a_kind_without_runs_takes_the_pace_of_the_others() -> None:
    macs = 1e12
    known = UNKNOWN_START + 3 * macs * UNKNOWN_RATE["cpu"]  # three times slower than supposed
    rates = Rates.of([record("train", macs, known), record("knn", 1e9, 4.0)], device="cpu")
    expected = UNKNOWN_START + 3 * 2e12 * UNKNOWN_RATE["cpu"]
    assert rates.seconds("linear", 2e12) == pytest.approx(expected)


def test_runs_of_seconds_say_nothing_about_those_of_hours() -> None:
    tiny = [record("train", 1e9, seconds) for seconds in (9.0, 9.5, 17.0)]
    unknown = Rates.of([], device="cpu")
    assert unknown.seconds("train", 2e12) == pytest.approx(104.0)
    assert Rates.of(tiny, device="cpu").seconds("train", 2e12) == pytest.approx(104.0)
    assert Rates.of(tiny, device="cpu").seconds("train", 2e12, plain("distillation")) == (
        pytest.approx(104.0)
    )
    assert Rates.of(tiny, device="cpu").seconds("train", 2e9) == pytest.approx(19.0)


def load(name: str, seconds: float, *depends: str, alone: bool = False) -> Load:
    """A run to be scheduled."""
    return Load(identity=name, seconds=seconds, depends=depends, exclusive=alone)


@pytest.mark.parametrize(
    ("loads", "jobs", "expected"),
    [
        ([load("a", 3), load("b", 3), load("c", 3)], 2, 6),  # not 4.5: none is cut in two
        ([load("a", 5), load("b", 5, "a"), load("c", 1), load("d", 1)], 2, 10),
        ([load("t", 4), *(load(f"s{n}", 2, "t") for n in range(4))], 2, 8),
        ([load("a", 5, alone=True), load("b", 6), load("c", 6)], 2, 11),
        ([load("a", 5), load("b", 2, "a", alone=True), load("c", 9)], 2, 11),
        ([load("a", 5, "not among them")], 2, 5),
        ([load("a", 0.0)], 0, 0),
    ],
)
def test_the_time_of_a_plan_is_that_of_its_queue(
    loads: list[Load], jobs: int, expected: float
) -> None:
    assert makespan(loads, jobs) == expected
