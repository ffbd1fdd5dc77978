"""Standard errors over images, and the sentence that says over what intervals are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from harness.evaluate.right import RIGHT, write_right
from harness.report.cell_values import right_of, se_over_images
from harness.report.collect import collect_finished
from harness.report.model import Draw, Machine, RowResult
from harness.report.scope import interval_scope
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import Store
from tests.conftest import Experiments
from tests.report.models import small
from tests.report.results import finish, run_of
from tests.spec.specs import GOOD


def draw(seed: int, right: np.ndarray) -> Draw:
    packed = np.packbits(right).tobytes()
    value = 100 * float(right.mean())
    machine = Machine(cpu="A CPU", device="cpu")
    return Draw(seed=seed, value=value, machine=machine, images=len(right), right=packed)


def test_of_one_network_it_is_the_binomial_one() -> None:
    right = np.arange(1003) % 4 != 0
    p, n = right.mean(), len(right)
    found = se_over_images(right_of([draw(0, right)]))
    assert found == pytest.approx(100 * math.sqrt(p * (1 - p) / (n - 1)))


def test_of_a_difference_it_counts_what_the_rows_share_by_image() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(5000)
    left = [rng.random(5000) < 1 - hard / 3 for _ in range(3)]
    right = [rng.random(5000) < 1 - hard / 2 for _ in range(3)]
    found = se_over_images(
        right_of([draw(seed, one) for seed, one in enumerate(left)]),
        right_of([draw(seed, one) for seed, one in enumerate(right)]),
    )
    each = np.stack(left).mean(axis=0) - np.stack(right).mean(axis=0)
    resampled = [each[rng.integers(0, 5000, 5000)].mean() for _ in range(2000)]
    assert found == pytest.approx(100 * np.std(resampled), rel=0.06)
    assert se_over_images(right_of([draw(0, left[0])]), right_of([draw(1, left[0])])) is None


def test_the_sentence_says_what_varies_and_what_is_fixed() -> None:
    model = small(rows=1)
    nothing = replace(model.rows[0], cells=tuple(replace(c, draws=()) for c in model.rows[0].cells))
    assert interval_scope(replace(model, rows=(nothing,))) == ""
    draws = tuple(draw(seed, np.arange(1000) % 4 != 0) for seed in range(3))
    told = interval_scope(replace(model, rows=(_with(model.rows[0], draws),), data="Some images"))
    assert told == (
        "Intervals are over seeds of training on Some images and this machine (A CPU); the 1,000 "
        "test images are fixed. Over images of the same kind the standard error would be 1.37 "
        "points for a row; over seeds it is 0.03 points for a row."
    )
    without = tuple(replace(one, images=0, right=b"") for one in draws)
    told = interval_scope(replace(model, rows=(_with(model.rows[0], without),)))
    assert told.endswith("the test images are fixed, and what others would give is not counted.")


def _with(row: RowResult, draws: tuple[Draw, ...]) -> RowResult:
    error = se_over_images(right_of(draws))
    images = draws[0].images
    cell = replace(row.cells[0], draws=draws, images=images, se_images=error if images else None)
    return replace(row, cells=(cell, *row.cells[1:]))


@pytest.mark.parametrize("damage", ["cut", "another"])
def test_bits_that_are_damaged_or_not_those_of_the_value_are_told_and_left_out(
    experiments: Experiments, damage: str
) -> None:
    table = load_table(experiments.table("paper/good", GOOD))
    store = Store()
    for seed in (0, 1):
        run = run_of(expand(table, "paper"), "train", "none", seed)
        finish(store, run, {"val/top1": 75.0})
        directory = store.create(run)
        write_right(directory / RIGHT, {"val/top1": np.arange(100) % 4 != 0})
        if seed and damage == "cut":
            (directory / RIGHT).write_bytes((directory / RIGHT).read_bytes()[:-3])
        elif seed:
            write_right(directory / RIGHT, {"val/top1": np.arange(100) % 2 != 0})
    model = collect_finished(table, "paper", store)
    (line,) = model.unreadable
    assert "right.safetensors: damaged" in line
    draws = model.row("none").cell("acc").draws
    assert [(draw.value, draw.images) for draw in draws] == [(75.0, 100), (75.0, 0)]
    assert model.row("none").cell("acc").se_images is None
