"""Verdicts on what statistics hardly can bear: one seed, equal seeds, full accuracy, a row against
itself. Nothing is supported or contradicted without an interval.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from harness.report.model import ClaimResult, Verdict
from harness.spec.claims import Comparison
from tests.report.test_judging import claim, table

DECIDED = (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.LEANING)
CLAIMS = (
    "acc[a] > acc[b]",
    "acc[a] >= acc[b] - 0.3",
    "acc[a] > 1.01 * acc[b]",
    "acc[a] - 2 * acc[b] <= -50",
    "acc[a] >= acc[a]",
    "acc[a] > 10",
    "acc[a] - acc[b] > acc[b] - acc[a]",
    "every(acc[{row}] > 10)",
    "share(acc[{row}] > 10) >= 0.5",
    "correlation(acc[{row}], acc[{row}]) > 0.5",
)
VALUES: dict[str, tuple[float, ...]] = {
    "nothing": (),
    "one": (80.0,),
    "two": (80.0, 81.0),
    "three equal": (80.0, 80.0, 80.0),
    "full": (100.0, 100.0, 100.0),
    "zero": (0.0, 0.0, 0.0),
    "apart": (1e-12, 100.0, 50.0),
    "last bits": (80.1, 80.1 + 2e-14, 80.1),
}


def judged(*, images: int, **values: tuple[float, ...]) -> list[ClaimResult]:
    claims = [replace(claim(text), holds=Comparison.parse(text).among(values)) for text in CLAIMS]
    return list(table(values, *claims, images=images).values())


@pytest.mark.parametrize("images", [0, 10_000])
def test_no_verdict_stands_without_an_interval(images: int) -> None:
    for a, b in itertools.product(VALUES.values(), repeat=2):
        for found in judged(a=a, b=b, c=(70.0, 70.1, 69.7), images=images):
            ends = (found.ci, found.adjusted)
            if found.verdict in DECIDED:
                assert None not in ends, (found.claim.id, a, b)
            for end in filter(None, ends):
                assert math.isfinite(end.low)
                assert end.low < end.high, (found.claim.id, a, b, found.reason)
            assert "nan" not in found.reason
            assert found.p is None or 0 <= found.p <= 1


def test_an_empty_table_and_a_row_alone() -> None:
    assert table({}) == {}
    (alone,) = table({"a": (80.0, 80.1, 80.2)}, claim("acc[a] > 10")).values()
    assert alone.verdict is Verdict.SUPPORTED
    (itself,) = table({"a": (80.0, 80.1, 80.2)}, claim("acc[a] >= acc[a]")).values()
    assert itself.verdict is Verdict.NOT_SETTLED
