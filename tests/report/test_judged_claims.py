"""How a report shows its claims: the forest plot, preconditions, four words for what is not
decided, what verdicts rest on, and the page of all claims.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from scipy.stats import false_discovery_control

from harness.report.builder import build_report, title_of_report
from harness.report.claim_tables import basis_table
from harness.report.claims_json import claims_json
from harness.report.claims_page import build_claims_page
from harness.report.document import (
    Appendix,
    Bullets,
    Document,
    GroupRow,
    Heading,
    Paragraph,
    Picture,
    TextTable,
)
from harness.report.drawing import INK, styled
from harness.report.figures import draw, figures, find
from harness.report.figures.forest import MOST_ITEMS, TONE_COLOURS, panels
from harness.report.format import marked
from harness.report.inference import benjamini_hochberg
from harness.report.model import ClaimResult, PreconditionResult, TableModel, Verdict
from harness.report.render.html import html
from harness.report.render.latex import latex
from harness.report.render.markdown import markdown
from harness.report.statistics import Interval
from harness.report.summary import OUTCOMES, TONES, counted, findings, headline
from harness.report.terminal import overview
from harness.spec.claims import Comparison
from tests.report.models import READS, every_verdict, small


def tables(document: Document) -> dict[str, TextTable]:
    return {block.name: block for block in document.unfolded() if isinstance(block, TextTable)}


def column(table: TextTable, title: str) -> dict[str, str]:
    """The texts of a column by those of the first."""
    at = [one.title for one in table.columns].index(title)
    return {row[0].text: row[at].text for row in table.rows if isinstance(row, tuple)}


def forest(model: TableModel, name: str = "forest") -> Drawing:
    with styled():
        return find(name, model).draw()


def marks(axes: Axes) -> list[tuple[float, str]]:
    """Estimates: where they stand, and as which mark."""
    return [
        (float(np.asarray(line.get_xdata())[0]), str(line.get_marker()))
        for line in axes.get_lines()
        if line.get_marker() in ("o", "X", "D", "s")
    ]


def test_the_forest_plot_stands_before_every_table() -> None:
    blocks = build_report(every_verdict()).blocks
    first = next(at for at, block in enumerate(blocks) if isinstance(block, Picture))
    assert isinstance(block := blocks[first], Picture)
    assert block.name == "forest"
    assert not any(isinstance(block, TextTable | Bullets) for block in blocks[:first])
    plots = next(at for at, b in enumerate(blocks) if isinstance(b, Heading) and b.text == "Plots")
    assert "forest" not in [b.name for b in blocks[plots:] if isinstance(b, Picture)]


def test_the_claimed_side_is_to_the_right_whatever_the_operator() -> None:
    points, ratios, ours = forest(every_verdict()).axes
    # by text: margins 0, -0.3, 0 (<), then those below preconditions
    assert marks(points) == [
        (pytest.approx(0.8), "D"),  # leaning, > 0
        (pytest.approx(-0.6), "o"),  # -0.9 >= -0.3
        (pytest.approx(0.5), "o"),  # -0.5 < 0
        (pytest.approx(0.5), "o"),  # 0.2 >= -0.3
        (pytest.approx(-1.21), "X"),
        (pytest.approx(-2.2), "s"),
    ]
    assert marks(ratios) == [(pytest.approx(math.log(1.01 / 0.98)), "o")]
    assert marks(ours) == [(pytest.approx(-0.9), "X")]  # 1.4 <= 0.5


def test_both_intervals_are_drawn_and_one_that_goes_on_has_an_arrow() -> None:
    axes = forest(every_verdict()).axes[0]
    spans = {
        round(line.get_linewidth(), 1): [float(x) for x in np.asarray(line.get_xdata())]
        for line in axes.get_lines()
        if line.get_linewidth() in (1.1, 3.4) and len(np.asarray(line.get_xdata())) == 2
    }  # the last claim: -2.5 with +-0.6 and +-0.9, at a margin of -0.3
    assert spans[3.4] == [pytest.approx(-2.8), pytest.approx(-1.6)]
    assert spans[1.1] == [pytest.approx(-3.1), pytest.approx(-1.3)]
    far = axes.get_xlim()[1]
    assert 3 < far < 5  # not the 13 points of the widest interval
    arrows = [
        (line.get_marker(), float(np.asarray(line.get_xdata())[0]))
        for line in axes.get_lines()
        if line.get_marker() in ("<", ">")
    ]
    assert set(arrows) == {("<", -far), (">", far)}
    assert "Arrow: the interval goes on." in find("forest", every_verdict()).caption()


def test_an_estimate_far_beyond_the_others_is_an_arrow() -> None:
    claims = tuple(
        replace(
            claim,
            estimate=-40.0,
            ci=Interval(low=-41.0, high=-39.0),
            adjusted=Interval(low=-42.0, high=-38.0),
        )
        if claim.verdict is Verdict.CONTRADICTED and claim.source == "paper"
        else claim
        for claim in every_verdict().claims
    )
    model = replace(every_verdict(), claims=claims)
    axes = forest(model).axes[0]
    far = axes.get_xlim()[1]
    assert far < 10  # of intervals that reach 3 points in the median
    assert [at for at, mark in marks(axes) if mark == "X"] == []
    lines = [np.asarray(line.get_xdata(), float) for line in axes.get_lines()[1:]]
    assert all((np.abs(x) <= far + 1e-9).all() for x in lines if len(x) == 1)
    assert "An arrow without a mark: so does the estimate" in find("forest", model).caption()
    assert "An arrow without" not in find("forest", every_verdict()).caption()


def test_what_failed_is_not_marked_as_contradicted() -> None:
    marked_as = {verdict: marked(verdict)[0] for verdict in OUTCOMES}
    apart = {Verdict.NOT_RUN, Verdict.NOT_SETTLED, Verdict.LEANING, Verdict.OUT_OF_SCOPE}
    apart |= {Verdict.FAILED, Verdict.CONTRADICTED, Verdict.SUPPORTED}
    assert len({marked_as[verdict] for verdict in apart}) == len(apart)
    assert TONES[Verdict.FAILED] != TONES[Verdict.CONTRADICTED]
    assert {TONES[verdict] for verdict in apart} <= TONE_COLOURS.keys()


def test_over_several_rows_seeds_and_rows_are_told_apart() -> None:
    claim = next(one for one in every_verdict().claims if one.n)
    holds = Comparison.parse("share(acc[{row}] > acc[none]) > 0.5").among(("a", "b", "c", "none"))
    over = replace(
        claim,
        claim=replace(claim.claim, holds=holds),
        n=4,
        failed_seeds=(),
        look_seeds=((0, 1, 2),),
    )
    table = basis_table([over])
    assert table is not None
    assert list(column(table, "Seeds").values()) == ["3, in 4 rows"]


def test_claims_for_programs_have_the_words_and_numbers_of_the_report() -> None:
    model = every_verdict()
    (table,) = json.loads(json.dumps(claims_json([model], model.profile)))["tables"]
    assert [one["verdict"] for one in table["claims"]] == [str(one.verdict) for one in model.claims]
    for told, claim in zip(table["claims"], model.claims, strict=True):
        assert (told["id"], told["source"]) == (claim.claim.id, claim.source)
        assert (told["estimate"], told["margin"]) == (claim.estimate, claim.margin)
        assert told["interval"] == (None if claim.ci is None else [claim.ci.low, claim.ci.high])
        assert [one["text"] for one in told["given"]] == [one.text for one in claim.preconditions]
    assert len(table["not_asked"]) == len(model.untested)


def test_the_forest_has_words_for_verdicts_margins_and_preconditions() -> None:
    texts = [t.get_text() for axes in forest(every_verdict()).axes for t in axes.texts]
    joined = " ".join(" ".join(texts).replace("\N{NO-BREAK SPACE}", " ").split())
    for words in (
        "Claims of the paper", "Our own checks", "as claimed", "~ leaning", "⊘ out of scope",
        "−2.50, claimed ≥ −0.30", "1.40, claimed ≤ 0.50",
        "1.01×, claimed ≥ 0.98×", "0.73×, needs ≥ 0.90×",
        "✗ does not hold",
    ):  # fmt: skip
        assert words in joined, words
    assert texts.index("Claims of the paper") < texts.index("Our own checks")
    assert "Longer training helps" not in joined
    assert "holds" not in joined  # what holds is in the tables
    caption = find("forest", every_verdict()).caption()
    assert "Preconditions stand here where they do not hold or are not settled." in caption
    assert "Not drawn, but in the tables: 2 without a result and 1 computed or timed" in caption


def test_claims_of_which_all_holds_stand_above_any_precondition_that_does_not() -> None:
    items = [item for panel in panels(every_verdict()) for item in panel.items[:7]]
    given = [isinstance(item, PreconditionResult) for item in items[:7]]
    assert given == [False] * 5 + [True, False]
    guards = {one.verdict for item in items[:5] for one in getattr(item, "preconditions", ())}
    assert guards == {Verdict.SUPPORTED}


def test_the_margin_of_a_claims_own_words_is_drawn_where_an_assay_has_made_it_stricter() -> None:
    model = every_verdict()
    claim = next(one for one in model.claims if one.claim.id == "settled")
    assay = Comparison.parse("acc[row0] > acc[row2]")
    stricter = replace(claim, margin=-0.18, claim=replace(claim.claim, assay=assay))
    for one, dotted in ((claim, []), (stricter, [pytest.approx(-0.12)])):
        (axes,) = forest(replace(model, claims=(one,))).axes
        places = [
            float(np.asarray(line.get_xdata())[0])
            for line in axes.get_lines()
            if line.is_dashed() and line.get_color() == INK
        ]
        assert places == dotted
        caption = find("forest", replace(model, claims=(one,))).caption()
        assert ("Dotted: the margin that the claim itself names" in caption) == bool(dotted)


def test_words_of_the_forest_do_not_overlap() -> None:
    figure = forest(every_verdict())
    figure.draw_without_rendering()
    width = figure.get_window_extent().width
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
        assert all(box.x0 >= 0 and box.x1 <= width for box in boxes)
        clashes = [
            (a, b) for a in range(len(boxes)) for b in range(a) if boxes[a].overlaps(boxes[b])
        ]
        assert not clashes, [
            (axes.texts[a].get_text(), axes.texts[b].get_text()) for a, b in clashes
        ]


def test_many_claims_go_on_in_a_figure_of_their_own_whatever_their_length() -> None:
    model = every_verdict()
    many = tuple(
        replace(claim, claim=replace(claim.claim, id=f"{claim.claim.id}{n}", text="long " * 90))
        for n in range(4)
        for claim in model.claims
    )
    model = replace(model, claims=many)
    drawn = [figure for figure in figures(model) if figure.section == "claims"]
    assert [figure.name for figure in drawn] == ["forest", "forest-2", "forest-3"]
    shown = [claim for figure in drawn for panel in figure.select() for claim in panel.claims]
    assert len(shown) == 4 * 8
    for figure in drawn:
        assert sum(len(panel.items) for panel in figure.select()) <= MOST_ITEMS
        assert draw(figure.name, model, format="png").startswith(b"\x89PNG")


def test_a_report_without_trained_results_has_no_forest() -> None:
    model = every_verdict()
    model = replace(model, claims=tuple(c for c in model.claims if not model.is_trained(c)))
    assert not [figure for figure in figures(model) if figure.section == "claims"]
    leads = [item.lead for item in findings(model)]
    assert leads == ["Supported"]


def test_the_summary_counts_each_word_in_its_sentence() -> None:
    assert headline(every_verdict()).startswith(
        "Of 10 claims of the paper, 3 are supported, 1 is contradicted, 1 is leaning, 2 are not "
        "settled, 1 is out of scope, 1 failed and 1 was not run. The one check of our own is "
        "contradicted."
    )


def test_four_words_have_four_meanings_in_the_legend() -> None:
    blocks = build_report(every_verdict()).blocks
    at = next(
        i for i, b in enumerate(blocks) if isinstance(b, Heading) and b.text == "How to read this"
    )
    legend = blocks[at + 1]
    assert isinstance(legend, Bullets)
    meanings = {
        item.lead.replace("\N{NO-BREAK SPACE}", " ")[2:]: item.text for item in legend.items
    }
    words = [
        str(verdict)
        for verdict in (
            Verdict.LEANING, Verdict.NOT_SETTLED, Verdict.OUT_OF_SCOPE, Verdict.NOT_RUN,
        )
    ]  # fmt: skip
    assert set(words) <= meanings.keys()
    assert len({meanings[word] for word in words}) == 4


def test_claims_stand_below_the_preconditions_that_guard_them_with_both_values() -> None:
    rows = tables(build_report(every_verdict()))["claims"].rows
    texts = [row.text if isinstance(row, GroupRow) else row[0].text for row in rows]
    reads = next(text for text in texts if "The teacher keeps 90 %" in text)
    assert reads.replace("\N{NO-BREAK SPACE}", " ") == (
        "Given for the claim below: The teacher keeps 90 % of its accuracy on a random half: 0.73× "
        "(98.15 % CI 0.71 to 0.75), needs ≥ 0.90×: ✗ does not hold"
    )
    assert texts.index(reads) < texts.index("Half of the teacher is enough")
    helps = [at for at, text in enumerate(texts) if ": Distillation helps" in text]
    assert len(helps) == 2  # once for each set of preconditions
    assert texts[helps[0]].startswith("Given for the 2 claims below: ")
    assert texts[helps[0] + 1] == "Three quarters of the teacher are as good as the whole one"
    assert texts[-1] == "Half of the teacher is enough"
    assert not texts[0].startswith("Given")


def test_a_precondition_that_was_not_measured_says_what_it_needs() -> None:
    model = every_verdict()
    unknown = replace(READS, estimate=None, ci=None, n=0, verdict=Verdict.NOT_RUN)
    claims = tuple(
        replace(c, preconditions=(unknown,)) if c.preconditions else c for c in model.claims
    )
    text = markdown(build_report(replace(model, claims=claims)), pictures="x")
    text = text.replace("\N{NO-BREAK SPACE}", " ")
    assert "random half: not measured, needs ≥ 0.90×: ○ not run" in text
    assert draw("forest", replace(model, claims=claims), format="png")


def test_what_verdicts_rest_on_is_a_table_of_its_own() -> None:
    basis = tables(build_report(every_verdict()))["basis"]
    contradicted = "A quarter of the teacher is as good as the whole one, if the student is "
    seeds = {text[: len(contradicted)]: n for text, n in column(basis, "Seeds").items()}
    assert seeds[contradicted] == "2; seed 2 failed"
    assert column(basis, "sd, moderated")["Distillation helps"] == "0.36, 0.52"
    assert column(basis, "p, adjusted")["Distillation helps"] == "0.012, 0.060"
    assert column(basis, "Looks at")["Distillation helps"] == "3 and 6 seeds"
    assert column(basis, "Seeds needed")["Distillation helps"] == "9 (4 to 31)"
    assert "Longer training helps" not in column(basis, "Seeds")
    assert "Half of the patches cost half" not in column(basis, "Seeds")  # computed
    bare = tables(build_report(small()))["basis"]
    assert [one.title for one in bare.columns] == ["Claim", "Seeds", "Seeds needed"]


def test_the_adjusted_interval_stands_beside_the_raw_one() -> None:
    claims = tables(build_report(every_verdict()))["claims"]
    assert column(claims, "98.15 % CI")["Distillation helps"] == "0.10 to 1.50"
    assert column(claims, "Adjusted CI")["Distillation helps"] == "−0.25 to 1.85"


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({}, "MaskedKD, Table 2 at the scale of Fashion-MNIST"),
        ({"number": "Fig. 6"}, "MaskedKD, Fig. 6 at the scale of Fashion-MNIST"),
        ({"number": ""}, "MaskedKD, table1 at the scale of Fashion-MNIST"),
        ({"paper_data": "Fashion-MNIST"}, "MaskedKD, Table 2 scaled down, on Fashion-MNIST"),
        ({"data": ""}, "MaskedKD, Table 2, profile fashion-mnist"),
        ({"profile": "paper"}, "MaskedKD, Table 2: Students and teachers"),
    ],
)
def test_the_title_says_the_data_set_that_was_used(changes: dict[str, str], title: str) -> None:
    model = replace(every_verdict(), **changes)  # type: ignore[arg-type]
    assert title_of_report(model) == title
    document = build_report(model)
    assert document.title == title
    assert markdown(document, pictures="x").startswith(f"# {title}\n")
    assert f"<title>{title}</title>" in html(document, picture=lambda _: b"")


def test_latex_tables_say_the_data_set_too() -> None:
    text = latex(build_report(every_verdict()))
    assert "Measured values on Fashion-MNIST." in text
    assert "[U+" not in text  # every mark of a verdict has its command


def test_the_head_tells_seeds_that_have_run_from_planned_ones() -> None:
    def origin(model: TableModel) -> str:
        blocks = build_report(model).blocks
        return next(block.text for block in blocks if isinstance(block, Paragraph))

    assert origin(every_verdict()).endswith(", seeds 0, 1 and 2 (seed 3 not finished).")
    many = replace(every_verdict(), seeds=tuple(range(12)))
    assert origin(many).endswith(", seeds 0, 1 and 2 (seeds 3-11 not finished).")
    nothing = tuple(
        replace(row, cells=tuple(replace(c, draws=(), summary=None) for c in row.cells))
        for row in every_verdict().rows
    )
    assert origin(replace(every_verdict(), rows=nothing)).endswith(
        ", no seed has finished (seeds 0, 1, 2 and 3 planned)."
    )


def test_a_full_cell_has_as_many_seeds_as_have_finished() -> None:
    results = tables(build_report(every_verdict()))["results"]
    assert "Mean over 3 seeds" in results.caption  # of 4 that are planned
    cells = [row[1].text for row in results.rows if isinstance(row, tuple)]
    assert cells == ["75.00 ± 0.12", "75.15 ± 0.64\N{NO-BREAK SPACE}(n=2)", "–"]


def test_claims_that_cannot_be_tested_are_folded() -> None:
    many = every_verdict()
    model = replace(many, untested=many.untested[:8])
    document = build_report(model)
    folded = [block.title for block in document.blocks if isinstance(block, Appendix)]
    assert folded == ["What this profile cannot test", "What the paper prints, on ImageNet-1k"]
    text = markdown(document, pictures="x")
    before, _, after = text.partition("## What this profile cannot test")
    assert "8 claims of the table, listed at the end." in before
    assert "Far patches help, 7" not in before
    assert "Far patches help, 7" in after
    page = html(document, picture=lambda _: b"")
    assert page.index("<details>") < page.index("Far patches help, 7")
    lines = [line for line in overview(many).splitlines() if "cannot be tested" in line]
    assert lines == ["40 claims of the table cannot be tested at this profile."]


def test_the_terminal_names_the_precondition_that_does_not_hold() -> None:
    text = overview(every_verdict()).replace("\N{NO-BREAK SPACE}", " ")
    (line,) = [line for line in text.splitlines() if "Half of the teacher is enough" in line]
    assert " ".join(line.split()) == (
        "⊘ out of scope Half of the teacher is enough: −2.50 points, 98.15 % CI −3.10 to −1.90; "
        "✗ does not hold: The teacher keeps 90 % of its accuracy on a random half (0.73× "
        "(98.15 % CI 0.71 to 0.75), needs ≥ 0.90×)"
    )


def test_what_the_choice_of_images_adds_stands_beside_each_claim() -> None:
    model = every_verdict()
    claims = tuple(replace(claim, images=10_000, se_images=0.41) for claim in model.claims)
    told = replace(model, claims=claims)
    basis = tables(build_report(told))["basis"]
    assert column(basis, "SE over images")["Distillation helps"] == "0.41"
    assert "SE over images" not in [c.title for c in tables(build_report(model))["basis"].columns]


def test_what_would_settle_a_claim_is_said_in_words() -> None:
    texts = " ".join(item.text for item in findings(every_verdict()))
    assert "More than 100 seeds would be needed to settle it." in texts
    assert "About 9 seeds (4 to 31) would be needed to settle it." in texts


def test_what_one_seed_needs_is_said_once() -> None:
    model = every_verdict()
    one = next(claim for claim in model.claims if claim.claim.id == "one")
    model = replace(model, claims=(one, one), seeds=(0, 1))
    text = markdown(build_report(model), pictures="x")
    assert text.count("One seed gives no interval: run 3 seeds (`--seeds 0,1,2`).") == 1
    assert "would be needed" not in text
    assert "One seed gives no interval" not in headline(replace(model, claims=()))


def test_q_is_that_of_scipy() -> None:
    p = [0.04, 0.001, 0.9, 0.03, 0.03, 0.2, 0.0]
    assert benjamini_hochberg(p) == pytest.approx(list(false_discovery_control(p)))
    assert benjamini_hochberg([]) == []


def test_the_page_of_all_claims_has_q_over_all_tables_and_titles_with_their_data() -> None:
    first = every_verdict()
    ps = {"leaning": 0.03, "supported": 0.001, "contradicted": 0.004, "settled": 0.8, "share": 0.02}
    first = replace(first, claims=tuple(replace(c, p=ps.get(c.claim.id)) for c in first.claims))
    again = tuple(replace(c, p=0.05) for c in first.claims if c.claim.id == "leaning")
    second = replace(first, table="demo/table9", number="9", claims=again)
    document = build_claims_page([first, second], "fashion-mnist")
    assert document.title == "What holds at the scale of Fashion-MNIST, profile fashion-mnist"
    table = tables(document)["claims"]
    at = [one.title for one in table.columns].index("q")
    shown = [row[at].text for row in table.rows if isinstance(row, tuple)]
    q = false_discovery_control([0.03, 0.8, 0.02, 0.001, 0.004, 0.05])
    # in the order of the page: one seed, computed and out of scope have none
    expected = [q[0], q[1], None, q[2], None, q[3], q[4], None, q[5]]
    assert shown == ["–" if value is None else f"{value:.3f}" for value in expected]
    texts = [block.text for block in document.blocks if isinstance(block, Paragraph)]
    assert texts[0] == (
        "Of 9 claims of the paper, 3 are supported, 1 is contradicted, 2 are leaning, 2 are not "
        "settled and 1 is out of scope. Of the 6 trained claims on this page, 2 have q ≤ 0.0185."
    )
    heads = [row.text for row in table.rows if isinstance(row, GroupRow)]
    assert heads[0] == (
        "MaskedKD, Table 2 at the scale of Fashion-MNIST (`demo/table1`; in the paper: Students "
        "and teachers)"
    )


def test_a_plot_is_shown_larger_on_a_tap() -> None:
    page = html(build_report(every_verdict()), picture=lambda _: b"")
    assert page.count('<label class="picture"><input type="checkbox"') == page.count("<figure>")
    assert "input:checked + img { max-width: none; width: 46rem; }" in page


def test_preconditions_that_read_alike_are_told_once() -> None:
    model = every_verdict()
    other = replace(READS, quantity="Top-1, other half / other whole")
    claims = tuple(
        replace(c, preconditions=tuple(other if p == READS else p for p in c.preconditions))
        if n % 2
        else c
        for n, c in enumerate(guarded_by_reading(model))
    )
    rows = tables(build_report(replace(model, claims=claims)))["claims"].rows
    told = [row.text for row in rows if isinstance(row, GroupRow)]
    assert len(claims) > 1
    assert len([text for text in told if ": The teacher keeps" in text]) == 1


def guarded_by_reading(model: TableModel) -> list[ClaimResult]:
    one = next(c for c in model.claims if READS in c.preconditions)
    return [replace(one, claim=replace(one.claim, id=f"{n}")) for n in range(4)]


def test_none_is_settled_is_not_said_as_all_are_not() -> None:
    claims = [c for c in every_verdict().claims if c.verdict is Verdict.NOT_SETTLED][:1] * 3
    assert counted(claims, "paper") == "None of the 3 claims of the paper is settled."


def test_intervals_of_claims_say_their_level_and_those_of_cells_theirs() -> None:
    text = markdown(build_report(every_verdict()), pictures="x")
    assert "98.15 % CI" in text
    assert "95 % CI" not in text.replace("98.15 % CI", "")
    assert text.count("Each of these looks errs in 1.85 %") == 1
    assert "half the width of its 95 % confidence interval" in text  # of cells
