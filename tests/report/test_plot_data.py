"""Plots that a spec declares: which points they show, and how they are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.report.builder import build_report
from harness.report.collect import collect
from harness.report.document import Picture
from harness.report.drawing import styled
from harness.report.figures import draw, figures, find
from harness.report.model import TableModel
from harness.report.plot_data import lines, ticks
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import Store
from tests.conftest import TINY_VIT, Experiments
from tests.report.models import relabelled
from tests.report.results import finish, run_of

SPEC = f"""\
paper: {{title: A paper, arxiv: "2302.10494", table: Fig. 1}}
columns:
  acc: {{label: Top-1, from: train, metric: val/top1, unit: "%"}}
  own: {{label: Own, from: train, metric: val/teacher_top1, unit: "%"}}
  cost: {{label: Cost, from: cost, metric: teacher/gmacs, unit: GFLOPs}}
seeds: [0, 1, 2]
base:
  recipe: light
  data: {{name: fashion-mnist}}
  student: {{{TINY_VIT}}}
  teacher: {{{TINY_VIT}}}
  method: distillation
plots:
  - {{id: patches, x: {{setting: [method.mask.keep], label: Patches, scale: log2}}, y: [acc, own]}}
  - {{id: cost, caption: By cost, x: cost, y: [acc], groups: [chosen]}}
rows:
  - {{id: keep8, group: chosen, set: {{method: {{mask: {{keep: 8}}}}}},
     published: {{acc: 75.0, own: 60.0, cost: 2.5}}}}
  - {{id: keep4, group: chosen, set: {{method: {{mask: {{keep: 4}}}}}}, published: {{acc: 74.0}}}}
  - {{id: keep2, group: chosen, set: {{method: {{mask: {{keep: 2}}}}}}, published: {{acc: 70.5}}}}
  - {{id: random, group: random, set: {{method: {{mask: {{keep: 4, criterion: random}}}}}}}}
  - {{id: all, group: all}}
profiles:
  paper: {{}}
"""
T975 = 4.302652729911275  # Student's t with two degrees of freedom, 97.5 %
RESULTS = {"keep8": (70.0, 71.0, 72.0), "keep2": (60.0, 60.0, 60.0), "random": (65.0,)}
COSTS = {"keep8": 2.4, "keep4": 1.2, "keep2": 0.6}


@pytest.fixture
def model(experiments: Experiments) -> TableModel:
    """The rows of RESULTS and COSTS have run at the paper profile: keep4 is not trained."""
    expansion = expand(load_table(experiments.table("paper/curves", SPEC)), "paper")
    store = Store()
    for row, values in RESULTS.items():
        for seed, value in enumerate(values):
            metrics = {"val/top1": value, "val/teacher_top1": value - 20}
            finish(store, run_of(expansion, "train", row, seed), metrics)
    for row, cost in COSTS.items():
        finish(store, run_of(expansion, "cost", row, None), {"teacher/gmacs": cost})
    return collect(expansion, store)


def test_points_are_means_and_intervals_over_what_the_rows_set(model: TableModel) -> None:
    patches = model.plots[0]
    chosen, chance = lines(model, patches, "acc")
    assert [line.series for line in (chosen, chance)] == ["chosen", "random"]
    assert [(dot.row, dot.x, dot.mean) for dot in chosen.measured] == [
        ("keep2", 2.0, 60.0),
        ("keep4", 4.0, None),
        ("keep8", 8.0, 71.0),
    ]
    interval = chosen.measured[2].ci
    assert interval is not None
    assert interval.half_width == pytest.approx(T975 * 1.0 / np.sqrt(3))
    assert chosen.measured[2].seeds == (70.0, 71.0, 72.0)
    assert [(dot.x, dot.mean, dot.ci) for dot in chance.measured] == [(4.0, 65.0, None)]
    own, _ = lines(model, patches, "own")
    assert [dot.mean for dot in own.measured] == [40.0, None, 51.0]


def test_an_x_from_a_column_is_measured_and_the_published_one_as_printed(
    model: TableModel,
) -> None:
    (chosen,) = lines(model, model.plots[1], "acc")
    assert [dot.x for dot in chosen.measured] == [0.6, 1.2, 2.4]
    assert chosen.published == ((0.6, 70.5), (1.2, 74.0), (2.5, 75.0))


def test_only_the_paper_profile_is_held_against_the_paper(model: TableModel) -> None:
    (chosen, _) = lines(model, model.plots[0], "own")
    assert chosen.published == ((8.0, 60.0),)
    tiny = replace(model, profile="tiny")
    assert all(line.published == () for line in lines(tiny, tiny.plots[0], "acc"))


def axes_of(name: str, model: TableModel) -> list[Any]:
    with styled():
        return list(find(name, model).draw().axes)


def test_labels_of_rows_are_places_where_x_is_no_number(experiments: Experiments) -> None:
    labelled = SPEC.replace("x: cost, y: [acc], groups: [chosen]", "x: {rows: true}, y: [acc]")
    labelled = labelled.replace("id: random, group", "id: random, label: keep4, group")
    expansion = expand(load_table(experiments.table("paper/labels", labelled)), "paper")
    store = Store()
    for row, value in (("keep8", 70.0), ("keep4", 65.0), ("random", 60.0)):
        finish(store, run_of(expansion, "train", row, 0), {"val/top1": value})
    model = collect(expansion, store)
    plot = model.plots[1]
    assert ticks(model, plot) == ("keep8", "keep4", "keep2", "all")
    chosen, chance = lines(model, plot, "acc")
    assert [(dot.x, dot.mean) for dot in chosen.measured] == [(0, 70.0), (1, 65.0), (2, None)]
    assert [(dot.x, dot.mean) for dot in chance.measured] == [(1, 60.0)]
    (axes,) = axes_of("plot-cost", model)
    assert [text.get_text() for text in axes.get_xticklabels()] == list(ticks(model, plot))
    places = [line.get_xdata()[0] for line in axes.get_lines() if line.get_ydata()[0] in (65, 60)]
    assert len(set(places)) == 2  # both at keep4, side by side
    assert all(line.get_linestyle() in ("None", "") for line in axes.get_lines())


def test_a_panel_for_each_column_over_the_same_axis(model: TableModel) -> None:
    left, right = axes_of("plot-patches", model)
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["Top-1 (%)", "Own (%)"]
    assert left.get_xlabel() == "Patches"
    assert (left.get_xscale(), left.get_xlim()) == ("log", right.get_xlim())


def test_the_line_is_broken_where_a_row_has_not_run(model: TableModel) -> None:
    (axes,) = axes_of("plot-cost", model)
    printed, line = axes.get_lines()[:2]
    np.testing.assert_array_equal(line.get_xdata(), [0.6, 1.2, 2.4])
    np.testing.assert_array_equal(line.get_ydata(), [60.0, np.nan, 71.0])
    assert (printed.get_linestyle(), printed.get_markerfacecolor()) == ("--", "white")
    assert axes.get_xlabel() == "Cost (GFLOPs)"


def test_every_seed_and_interval_is_drawn(model: TableModel) -> None:
    (axes,) = axes_of("plot-cost", model)
    seeds = {
        (float(x), float(y))
        for drawn in axes.get_lines()
        for x, y in zip(drawn.get_xdata(), drawn.get_ydata(), strict=True)
    }
    assert {(2.4, 70.0), (2.4, 71.0), (2.4, 72.0)} <= seeds
    bars = [bar for bar in axes.collections if len(bar.get_segments()) == 1]
    ends = sorted(float(y) for bar in bars for _, y in bar.get_segments()[0])
    reach = T975 / np.sqrt(3)
    np.testing.assert_allclose(ends, [60.0, 60.0, 71.0 - reach, 71.0 + reach])


def test_lines_that_share_their_x_are_drawn_apart(model: TableModel) -> None:
    rows = tuple(relabelled(row, group=row.id) for row in model.rows[:4])
    trained = replace(model, profile="tiny", rows=rows)
    same = replace(trained.plots[0], at=dict.fromkeys(trained.plots[0].at, 4.0))
    axes = axes_of("plot-patches", replace(trained, plots=(same,)))[0]
    bars = [float(bar.get_segments()[0][0][0]) for bar in axes.collections]
    assert len(set(bars)) == len(bars) == 2
    assert bars == pytest.approx([4.0, 4.0], rel=0.05)


def test_a_report_shows_declared_plots_in_place_of_the_general_one(model: TableModel) -> None:
    shown = figures(model)
    assert [figure.name for figure in shown] == ["plot-patches", "plot-cost", "deviation"]
    assert shown[0].caption().startswith("Top-1 and Own over Patches. Filled")
    assert shown[1].caption() == (
        "By cost. Filled: mean and 95 % confidence interval; faint: single seeds. "
        "Lines are broken where a row has not run. Hollow, dashed: as published."
    )
    blocks = [block.name for block in build_report(model).blocks if isinstance(block, Picture)]
    assert blocks == [figure.name for figure in shown]
    for figure in shown:
        assert draw(figure.name, model, format="svg") == draw(figure.name, model, format="svg")


def test_nothing_to_show_is_no_plot(model: TableModel) -> None:
    bare = tuple(replace(plot, groups=("none",)) for plot in model.plots)
    assert "plot-cost" not in [figure.name for figure in figures(replace(model, plots=bare))]
