"""Plots are drawn, without warnings (the test run makes them errors), from every kind of model."""

from __future__ import annotations

import base64
import sys
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure as Drawing
from PIL import Image
from pypdf import PdfReader

from harness.errors import HarnessError
from harness.report.builder import build_report
from harness.report.collect import read_file
from harness.report.drawing import Label, legible, place_labels, shades, spread, styled
from harness.report.figures import FIGURES, draw, figures, find
from harness.report.figures.image_maps import ImageMaps
from harness.report.history import whole_file
from harness.report.model import FinishedRun, TableModel
from harness.report.render.markdown import markdown
from harness.tasks.attention import HEADS
from tests.report.models import PFLOPS, cell, hostile, printed, relabelled, small
from tests.work import calls_of

NAMES = ("forest", "accuracy-cost", "curves", "kept", "attention", "deviation")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", [small(), small(rows=12), small(profile="cpu"), hostile()])
def test_every_plot_is_drawn(name: str, model: TableModel) -> None:
    if name not in {figure.name for figure in figures(model)}:
        pytest.skip("this model has nothing for this plot")
    assert draw(name, model, format="svg").startswith(b"<?xml")
    assert draw(name, model, format="png").startswith(b"\x89PNG")


def test_a_plot_for_latex_holds_its_fonts_and_no_date() -> None:
    made = draw("forest", small(), format="pdf")
    assert made == draw("forest", small(), format="pdf")
    reader = PdfReader(BytesIO(made))
    assert not reader.metadata
    fonts = reader.pages[0]["/Resources"].get_object()["/Font"].get_object().values()
    assert {font.get_object()["/Subtype"] for font in fonts} == {"/Type0"}  # none of Type 3


def test_a_plot_is_the_same_for_the_same_model() -> None:
    for name in NAMES:
        assert draw(name, looking(), format="svg") == draw(name, looking(), format="svg")


def looking(*, rows: int = 3, heads: int = 2) -> TableModel:
    """With attention pictures of every row, two images each."""
    model = small(rows=rows)
    stream = BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(stream, format="PNG")
    png = base64.b64encode(stream.getvalue()).decode()
    maps = tuple((0.1 * head, 0.2, 0.3, 0.4) for head in range(heads))
    pictures = (ImageMaps(png=png, grid=(2, 2), heads=maps),) * 2
    looked = [
        FinishedRun(row=row.id, seed=0, files={"attention.json": pictures}) for row in model.rows
    ]
    return replace(model, runs=(*model.runs, *looked))


def test_attention_pictures_fit_a_page() -> None:
    many = looking(rows=7, heads=16)
    figure = made("attention", many)
    assert len(figure.axes) == 10 * 14  # five rows of two images; the mean and twelve heads beside
    assert figure.get_size_inches()[1] < 10
    caption = find("attention", many).caption()
    assert "The first 5 of 7 rows. The first 12 heads" in caption


def test_no_data_no_plot() -> None:
    empty = replace(small(), rows=(), claims=(), curves=(), runs=())
    assert figures(empty) == []
    drawn = [figure.name for figure in figures(small(profile="cpu"))]
    # somebody may have added one, as the docs say
    assert [name for name in drawn if name in NAMES] == [
        "forest",
        "accuracy-cost",
        "curves",
        "kept",
    ]


def made(name: str, model: TableModel) -> Drawing:
    with styled():
        return find(name, model).draw()


def test_every_seed_is_a_dot_at_the_cost_of_its_row() -> None:
    (axes,) = made("accuracy-cost", small(profile="cpu")).axes
    dots = {
        (float(x), float(y))
        for line in axes.get_lines()
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }
    assert {(1.0, 75.0), (1.0, 75.05), (1.0, 74.95), (2.0, 75.1), (2.0, 75.2)} <= dots


def test_published_values_are_shown_at_the_paper_profile_only() -> None:
    def hollow(model: TableModel) -> int:
        (axes,) = made("accuracy-cost", model).axes
        return sum(line.get_markerfacecolor() == "white" for line in axes.get_lines())

    assert hollow(small()) == 3
    assert hollow(small(profile="cpu")) == 0


def test_curves_show_the_mean_over_seeds() -> None:
    accuracy, loss = made("curves", small()).axes
    assert (accuracy.get_title(loc="left"), loss.get_title(loc="left")) == (
        "Top-1 (%)",
        "Training loss",
    )
    lines = accuracy.get_lines()
    assert len(lines) == 3
    np.testing.assert_allclose(lines[0].get_ydata(), [0.5, 10.5, 20.5, 30.5])


def test_the_row_of_a_curve_is_not_looked_for_again_for_each_of_its_seeds() -> None:
    model = small(rows=12)
    many = replace(model, curves=tuple(replace(c, seed=s) for c in model.curves for s in range(9)))
    rows = [calls_of(TableModel.row, find("curves", one).draw) for one in (model, many)]
    assert rows[0] == rows[1]


def test_a_metric_without_a_unit_has_no_brackets() -> None:
    bare = replace(small().columns[0], unit="")
    model = replace(small(), columns=(bare, *small().columns[1:]))
    assert made("curves", model).axes[0].get_title(loc="left") == "Top-1"


def test_many_rows_get_a_panel_for_each_group_and_names_leave_room_for_the_lines() -> None:
    model = small(rows=9)  # three groups of three
    named = tuple(
        relabelled(row, label=f"{row.group}, a rather long {row.id}") for row in model.rows
    )
    figure = made("curves", replace(model, rows=named))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Group 0", "Group 1", "Group 2"]
    for axes in figure.axes:
        names = [text.get_text() for text in axes.texts]
        assert [name[:14] for name in names] == ["a rather long "] * 3
        low, high = axes.get_xlim()
        assert (2.0 - low) / (high - low) > 0.35  # the curves end at epoch 2
    first, second = (axes.get_position() for axes in figure.axes[:2])
    assert first.x1 <= second.x0


def test_a_name_that_would_take_the_panel_is_cut() -> None:
    model = small()
    endless = tuple(relabelled(row, label=f"{row.id} and so on" * 20) for row in model.rows)
    for axes in made("curves", replace(model, rows=endless)).axes:
        assert all(text.get_text().endswith("…") for text in axes.texts)
        low, high = axes.get_xlim()
        assert (2.0 - low) / (high - low) > 0.35


def test_a_row_has_the_same_colour_in_every_panel() -> None:
    model = small()
    later = tuple(
        replace(curve, metric="val/teacher_top1")
        for curve in model.curves
        if curve.metric == "val/top1" and curve.row != "row0"
    )
    model = replace(model, curves=(*model.curves, *later))
    panels = made("curves", model).axes
    assert [axes.get_title(loc="left") for axes in panels] == [
        "Top-1 (%)", "val/teacher_top1", "Training loss",
    ]  # fmt: skip
    colours = [[line.get_color() for line in axes.get_lines()] for axes in panels]
    assert colours[1] == colours[0][1:]
    assert colours[2] == colours[0]


def test_maps_keep_the_raster_order_of_patches() -> None:
    axes = made("kept", small()).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), (np.arange(16).reshape(4, 4) + 1) / 17)


def test_deviations_are_relative_and_ratios_for_speed() -> None:
    found = find("deviation", small()).select()
    assert dict(found["pflops"])["row0"] == pytest.approx(1767.6 / 1770 - 1)
    assert [row for row, _ in found["speed"]] == ["row1", "row2"]
    assert dict(found["speed"])["row1"] == pytest.approx(2.0 / 2.07 - 1)
    assert "deviation" not in [figure.name for figure in figures(small(profile="cpu"))]


def test_only_rows_that_differ_are_named_among_the_deviations() -> None:
    coarse = cell(PFLOPS, printed(7, 0), (7.4,))  # 5.7 % away, and within half of the last digit
    wrong = cell(PFLOPS, printed(1770, 0), (1700.0,))
    rows = [
        replace(row, cells=(row.cells[0], changed, row.cells[2]))
        for row, changed in zip(small().rows, (coarse, wrong, coarse), strict=True)
    ]
    strip, _ = made("deviation", replace(small(), rows=tuple(rows))).axes
    assert [text.get_text() for text in strip.texts] == ["Group 0: Logit +MaskedKD 1"]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.floats(1, 5))
def test_labels_never_overlap_and_stay_inside(wanted: list[float], distance: float) -> None:
    placed = spread(sorted(wanted), distance, 0.0, 100.0)
    assert all(b - a >= distance - 1e-9 for a, b in pairwise(placed))
    assert placed[0] >= 0
    assert placed[-1] <= 100 + 1e-9


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([10.0, 30.0, 50.0], 5.0, 0.0, 100.0) == [10.0, 30.0, 50.0]
    assert spread([10.0, 10.0], 4.0, 0.0, 100.0) == [8.0, 12.0]  # apart around their centre


def test_a_row_has_the_same_colour_in_every_plot() -> None:
    model = small(rows=6)
    curves = made("curves", model).axes[0]
    ends = {text.get_text(): text.get_color() for text in curves.texts}
    for axes in made("accuracy-cost", model).axes:
        for bars in axes.containers:
            assert legible(bars[0].get_color()) in ends.values()
    assert len(set(ends.values())) == 6
    assert legible(shades(model)["row0"]) == ends["Logit 0"]


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_words_in_a_colour_can_be_read_on_white(red: int, green: int, blue: int) -> None:
    """Contrast as WCAG 2 defines it, from its own formula."""
    shade = legible(f"#{red:02x}{green:02x}{blue:02x}")
    parts = [int(shade[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    assert 1.05 / (luminance + 0.05) >= 4.45  # a step of 8 bits below 4.5


def test_a_name_makes_way_for_the_mark_of_another_point() -> None:
    figure = Drawing(figsize=(5, 3))
    axes = figure.add_subplot()
    axes.set_xlim(0, 10)
    axes.set_ylim(0, 10)
    points = {"the first": (3.0, 5.0), "another": (4.0, 5.0), "alone": (3.0, 9.0)}
    place_labels(figure, {axes: [Label(x=x, y=y, text=text) for text, (x, y) in points.items()]})
    figure.draw_without_rendering()
    places = {text: axes.transData.transform(point) for text, point in points.items()}
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert boxes["the first"].x1 < places["the first"][0]
    assert boxes["another"].x0 > places["another"][0]
    assert boxes["alone"].x0 > places["alone"][0]
    assert not any(box.contains(*place) for box in boxes.values() for place in places.values())


@pytest.mark.parametrize(("points", "first"), [(2, 0), (12, 2)])
def test_a_few_points_are_all_seen_and_of_many_the_steep_beginning_is_not(
    points: int, first: int
) -> None:
    values = tuple(80 + 10 * (1 - 0.5**step) for step in range(points))
    model = small()
    curves = tuple(
        replace(curve, epochs=tuple(map(float, range(1, points + 1))), values=values)
        for curve in model.curves
    )
    low, high = made("curves", replace(model, curves=curves)).axes[0].get_ylim()
    assert [low <= value <= high for value in values] == [at >= first for at in range(points)]


def test_panels_that_are_named_by_groups_have_the_metric_on_the_axis() -> None:
    assert made("curves", small(rows=9)).get_supylabel() == "Top-1 (%)"
    assert made("curves", small()).get_supylabel() == ""


def test_rows_with_one_label_are_told_apart_by_their_groups() -> None:
    model = small(rows=4)  # the fourth is of a second group
    same = (0, 3)
    rows = tuple(
        relabelled(row, label="All") if i in same else row for i, row in enumerate(model.rows)
    )
    names = {text.get_text() for text in made("curves", replace(model, rows=rows)).axes[0].texts}
    assert names == {"Group 0: All", "Group 1: All", "+MaskedKD 1", "+MaskedKD 2"}


def test_losses_of_different_methods_share_no_axis() -> None:
    model = small()
    kinds = ("supervised", "logit", "logit")
    rows = tuple(replace(row, loss=loss) for row, loss in zip(model.rows, kinds, strict=True))
    titles = [axes.get_title(loc="left") for axes in made("curves", replace(model, rows=rows)).axes]
    assert titles == ["Top-1 (%)", "Training loss: supervised", "Training loss: logit"]


def test_no_mark_is_hidden_by_the_edge_of_a_name() -> None:
    for name in ("curves", "accuracy-cost", "deviation"):
        for axes in made(name, small()).axes:
            names = [text.get_zorder() for text in axes.texts if text.get_path_effects()]
            marks = [m.get_zorder() for m in axes.collections if isinstance(m, PathCollection)]
            marks += [
                m.get_zorder() for m in axes.get_lines() if m.get_marker() not in ("", "None")
            ]
            assert not names or not marks or max(names) < min(marks), name


def test_settings_of_the_user_change_no_plot() -> None:
    usual = draw("curves", small(), format="svg")
    with mpl.rc_context({"text.usetex": True, "font.size": 30, "axes.grid": False}):
        assert draw("curves", small(), format="svg") == usual


SPREAD = """
from typing import ClassVar

from matplotlib.figure import Figure as Drawing

from harness.report.figures import FIGURES, Figure


@FIGURES.register("spread")
class Spread(Figure):
    '''Standard deviation over seeds, a bar for each row.'''

    place: ClassVar[int] = 70  # behind those of the package, which have 10 to 60

    def select(self) -> dict[str, float]:
        column = next((c.id for c in self.model.columns if c.evidence == "seeds"), None)
        summaries = {row.label: row.cell(column).summary for row in self.model.rows if column}
        return {
            label: s.std for label, s in summaries.items() if s is not None and s.std is not None
        }

    def caption(self) -> str:
        return "Standard deviation over seeds."

    def alt(self) -> str:
        return "Spread over seeds"

    def draw(self) -> Drawing:
        drawing = Drawing(figsize=(7.2, 2.5), layout="constrained")
        drawing.subplots().barh(*zip(*self.select().items()))
        return drawing
"""


def test_a_figure_of_ones_own_stands_behind_those_of_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = [figure.name for figure in figures(small())]
    monkeypatch.setattr(FIGURES, "_items", dict(FIGURES._items))
    module = ModuleType("a_figure_of_ones_own")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(SPREAD, "spread.py", "exec"), module.__dict__)
    drawn = [figure.name for figure in figures(small())]
    assert [name for name in drawn if name != "spread"] == before
    assert set(before) & set(NAMES) <= set(drawn[: drawn.index("spread")])
    spread_of = find("spread", small()).select()
    assert spread_of == {
        "Logit 0": pytest.approx(0.05),
        "+MaskedKD 1": pytest.approx(0.5**0.5 / 10),
    }
    assert draw("spread", small(), format="png").startswith(b"\x89PNG")
    text = markdown(build_report(small()), pictures="x")
    assert "spread.png)\n\n*Standard deviation over seeds.*" in text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "damaged (JSONDecodeError: "),
        (b'{"grid": [2, 2]}', "damaged (KeyError: 'pictures')"),
        (
            b'{"grid": [2, 2], "pictures": [{"png": "", "heads": []}]}',
            "damaged (ValueError: a picture is no PNG)",
        ),
    ],
)
def test_a_damaged_file_of_a_figure_is_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / HEADS.source
    path.write_bytes(content)
    with pytest.raises(HarnessError) as caught:
        whole_file(HEADS, path, read_file)
    assert str(caught.value).startswith(f"{path}: {says}")
    assert "\n" not in str(caught.value)
