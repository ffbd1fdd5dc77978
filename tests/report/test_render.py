"""The same document as CSV, Markdown, HTML, LaTeX and PDF."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO, StringIO

import pytest
from pypdf import PdfReader

from harness.report.builder import build_report
from harness.report.document import Document, Heading, Paragraph, TableCell, TableColumn, TextTable
from harness.report.figures import draw
from harness.report.format import marked
from harness.report.model import TableModel, Untested, Verdict
from harness.report.render.csv import cells_csv, claims_csv
from harness.report.render.html import html
from harness.report.render.latex import escape, latex, tabular
from harness.report.render.markdown import markdown
from harness.report.render.pdf import pdf
from harness.report.summary import findings, headline
from harness.report.terminal import overview
from harness.spec.table import Claim
from tests.report.models import (
    ACC,
    HOSTILE,
    PFLOPS,
    cell,
    empty_picture,
    every_verdict,
    hostile,
    printed,
    retold,
    small,
    without_figures,
)


def lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text)))


def test_the_columns_of_the_csv_files_are_fixed() -> None:
    cells, claims = cells_csv(small()).splitlines()[0], claims_csv(small()).splitlines()[0]
    assert cells == (
        "table,profile,row,column,metric,unit,published,mean,std,n,ci_low,ci_high,verdict,reason"
    )
    assert claims == (
        "table,profile,claim,text,estimate,ci_low,ci_high,margin,n,verdict,reason,source,"
        "looks,images,se_images,adjusted_low,adjusted_high,p,p_adjusted,family,sd,sd_moderated,"
        "seeds_needed"
    )


def test_cells_as_csv() -> None:
    found = {(line["row"], line["column"]): line for line in lines(cells_csv(small()))}
    assert len(found) == 9
    cell = found["row0", "acc"]
    assert [cell[key] for key in ("published", "mean", "std", "n")] == ["75.0", "75", "0.05", "3"]
    assert float(cell["ci_low"]) == pytest.approx(75 - 4.302652729911275 * 0.05 / 3**0.5)
    assert cell["verdict"] == "reproduced"
    single = found["row0", "pflops"]
    assert [single[key] for key in ("published", "mean", "std", "n", "ci_low")] == [
        "1770", "1767.6", "", "1", "",
    ]  # fmt: skip
    missing = found["row2", "acc"]
    assert [missing[key] for key in ("mean", "n", "verdict", "reason")] == [
        "", "0", "missing", "needs ImageNet",
    ]  # fmt: skip


def test_claims_as_csv() -> None:
    first, *_, untested, ours = lines(claims_csv(small()))
    assert (first["claim"], first["estimate"], first["margin"]) == ("first", "0.1", "-0.3")
    assert (untested["estimate"], untested["n"], untested["verdict"]) == ("", "0", "not run")
    assert (first["source"], untested["source"], ours["source"]) == ("paper", "paper", "ours")


def test_csv_survives_hostile_text() -> None:
    assert {line["text"] for line in lines(claims_csv(hostile()))} == {HOSTILE}


def visible(text: str) -> str:
    """Text without what marks code, and with single spaces."""
    return " ".join(text.replace("`", "").split())


class Words(HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(model: TableModel) -> tuple[str, Words]:
    text = html(build_report(model), picture=lambda name: draw(name, model, format="svg"))
    words = Words()
    words.feed(text)
    words.close()
    assert not words.open
    return text, words


def test_html_is_one_file_and_escapes_hostile_text() -> None:
    text, words = page(hostile())
    assert visible(HOSTILE) in visible("".join(words.text))
    assert {"script", "link", "textbf"}.isdisjoint(words.tags)
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert text.count("data:image/svg+xml;base64,") == 5
    assert "prefers-color-scheme: dark" in text


def test_markdown_escapes_hostile_text() -> None:
    text = markdown(build_report(hostile()), pictures="pictures")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in rows}
    # claims, results, differences, what verdicts rest on, missing and environment
    assert widths == {8, 11, 5, 4, 3}
    assert "<b>" not in text.replace(r"\<b", "")
    unescaped = re.sub(r"\\([\\`*_{}\[\]<>#|$~&])", r"\1", text)
    assert visible(HOSTILE) in visible(unescaped)


def test_markdown_names_its_pictures() -> None:
    text = markdown(build_report(small()), pictures="table1.paper")
    found = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert found == [
        f"table1.paper/{name}.png"
        for name in ("forest", "accuracy-cost", "curves", "kept", "deviation")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50% & $x_1^2$ #", r"50\% \& \$x\_1\textasciicircum{}2\$ \#"),
        (r"\textbf{x}", r"\textbackslash{}textbf\{x\}"),
        ("−0.3 ± 1 ≥ λ", r"$-$0.3 $\pm$ 1 $\geq$ $\lambda$"),
        ("a `b_c` d", r"a \texttt{b\_c} d"),
        ("two\n\nparagraphs", "two paragraphs"),
    ],
)
def test_latex_escapes(text: str, expected: str) -> None:
    assert escape(text) == expected


def test_latex_has_the_published_and_the_measured_value_side_by_side() -> None:
    text = latex(build_report(small()))
    assert r"\begin{longtable}{lrrlrrlrrl}" in text
    assert r"Logit 0 & 75.0 & 75.00 $\pm$ 0.12 & \checkmark{}" in text.replace("~", " ")
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\cmidrule(lr){2-4}"):
        assert rule in text
    for line in text.splitlines():
        opened = len(re.findall(r"(?<!\\)\{", line))
        assert opened == len(re.findall(r"(?<!\\)\}", line)), line


def test_the_results_alone_are_a_bare_tabular_in_ascii() -> None:
    text = tabular(build_report(small()))
    assert r"\begin{tabular}{lrrlrrlrrl}" in text
    assert text.rstrip().endswith("\\\\\n\\bottomrule\n\\end{tabular}")
    assert not re.search(r"\\(caption|label|endhead|begingroup)|longtable", text)
    assert text.isascii()


def test_columns_of_latex_that_are_all_measured_do_not_say_so_each() -> None:
    text = tabular(build_report(small(profile="cpu")))
    assert "measured" not in text.partition("\\begin{tabular}")[2]
    assert r"\cmidrule" not in text


def printed_pdf(model: TableModel, *, drawn: bool = True) -> PdfReader:
    """The PDF, or one with an empty picture in place of those that take a second to draw."""

    def picture(name: str) -> bytes:
        return draw(name, model, format="png") if drawn else empty_picture()

    return PdfReader(BytesIO(pdf(build_report(model), picture=picture)))


LONG = without_figures(small(rows=50))


@pytest.fixture(scope="module")
def long() -> PdfReader:
    """A table over several pages, with few plots."""
    return printed_pdf(LONG, drawn=False)


def test_pdf_has_every_row_claim_and_verdict(long: PdfReader) -> None:
    model, reader = LONG, long
    text = visible(" ".join(one.extract_text() for one in reader.pages))
    assert len(reader.pages) >= 6
    for row in model.rows:
        assert row.label in text
    for claim in model.claims:
        assert claim.claim.text in text
        assert claim.reason in text
    for sign in ("≥", "±", "−", "×", "✓", "≈", "○"):
        assert sign in text
    assert f"2 / {len(reader.pages)}" in text
    assert reader.metadata is not None
    assert reader.metadata.subject == "demo/table1, profile paper"


def test_pdf_turns_wide_tables_and_repeats_their_header(long: PdfReader) -> None:
    pages = [(one, visible(one.extract_text())) for one in long.pages]
    sideways = [text for one, text in pages if one.mediabox.width > one.mediabox.height]
    assert len(sideways) >= 2
    assert all("Teacher PFLOPs" in text and "published" in text for text in sideways)
    assert any(one.mediabox.width < one.mediabox.height for one, _ in pages)


@pytest.mark.parametrize(
    ("number", "name"),
    [("7", "Table 7"), ("Fig. 6", "Fig. 6"), ("budget", "demo/table1"), ("", "demo/table1")],
)
def test_a_report_is_called_by_its_place_in_the_paper(number: str, name: str) -> None:
    title = build_report(replace(small(), number=number)).title
    assert title == f"{name}: Students and teachers"


def test_pdf_breaks_no_word_of_a_wide_table() -> None:
    columns = tuple(
        replace(PFLOPS, id=f"p{index}", label=f"Operation {index}") for index in range(4)
    )
    cells = tuple(
        replace(cell(PFLOPS, printed(1770, 0), (1767.6,)), column=one.id) for one in columns
    )
    rows = tuple(replace(row, cells=cells) for row in small().rows)
    wide = without_figures(replace(small(), columns=columns, rows=rows, claims=()))
    text = " ".join(page.extract_text() for page in printed_pdf(wide, drawn=False).pages)
    assert text.count("published") >= 4
    assert text.count("reproduced") >= 12


def test_pdf_has_no_empty_page_however_far_the_table_before_a_turned_page_reaches() -> None:
    model = without_figures(small())
    for words in range(16):  # the last claim is a line longer each time
        says = " ".join(["claimed"] * 3 * words)
        claims = (*model.claims * 3, retold(model.claims[0], says))
        for page in printed_pdf(replace(model, claims=claims), drawn=False).pages:
            text = visible(page.extract_text())
            assert len(text.replace("demo/table1, profile paper", "")) > 40, (words, text)


def test_pdf_leaves_no_heading_alone_at_the_foot_of_a_page() -> None:
    model = without_figures(small(profile="tiny", rows=9))
    headings = {b.text for b in build_report(model).blocks if isinstance(b, Heading)}
    for words in range(12):  # the last claim is some lines longer each time
        claims = (*model.claims, retold(model.claims[0], "claimed " * 6 * words + "to hold"))
        for page in printed_pdf(replace(model, claims=claims), drawn=False).pages:
            lines = [line.strip() for line in page.extract_text().splitlines()]
            shown = [line for line in lines if line and not re.fullmatch(r"\d+ / \d+", line)]
            assert not headings & set(shown[-1:]), words


def test_pdf_leaves_no_caption_without_its_table_at_the_foot_of_a_page() -> None:
    table = TextTable(
        name="claims",
        caption="What was found.",
        columns=(TableColumn(title="Claim"), TableColumn(title="Why")),
        rows=((TableCell(text="A claim"), TableCell(text="because " * 30)),) * 5,
    )
    for above in range(28, 44):
        lines = (Paragraph(text="A line."),) * above
        blocks = (*lines, Heading(text="Claims"), table)
        document = Document(title="t", subject="t", blocks=blocks)
        pages = PdfReader(BytesIO(pdf(document, picture=lambda _: b""))).pages
        texts = [page.extract_text() for page in pages]
        (page,) = [text for text in texts if "What was found." in text]
        assert "A claim" in page, above


def test_pdf_keeps_a_mark_and_its_verdict_on_one_line() -> None:
    verdict = marked(Verdict.NOT_SETTLED)
    ends = tuple(Paragraph(text=f"{'a ' * n}{verdict}") for n in range(50, 90))
    document = Document(title="t", subject="t", blocks=ends)
    pages = PdfReader(BytesIO(pdf(document, picture=lambda _: b""))).pages
    text = "\n".join(page.extract_text() for page in pages)
    assert text.replace("\N{NO-BREAK SPACE}", " ").count("? not settled") == len(ends)


def test_pdf_survives_hostile_text() -> None:
    text = visible(" ".join(one.extract_text() for one in printed_pdf(hostile()).pages))
    assert "<b>&amp;|" in text
    assert "λ ≥ ±" in text


def test_pdf_is_the_same_for_the_same_model() -> None:
    model = small()
    first, second = (
        pdf(build_report(model), picture=lambda name: draw(name, model, format="png"))
        for _ in range(2)
    )
    assert first == second


def tables(document: Document) -> dict[str, TextTable]:
    return {block.name: block for block in document.unfolded() if isinstance(block, TextTable)}


def test_a_scaled_down_profile_says_once_that_it_is_not_comparable() -> None:
    document = build_report(small(profile="cpu"))
    titles = [column.title for column in tables(document)["results"].columns]
    assert "verdict" not in titles
    paragraphs = [block.text for block in document.blocks if isinstance(block, Paragraph)]
    assert any("not held against the paper's. Another data set." in text for text in paragraphs)


def test_every_missing_cell_is_explained() -> None:
    document = build_report(small(rows=6))
    missing = tables(document)["missing"]
    assert [[cell.text for cell in row] for row in missing.rows if isinstance(row, tuple)] == [
        ["needs ImageNet", "Top-1: Group 0 and Group 1"]
    ]


def test_the_legend_explains_exactly_the_verdicts_in_use() -> None:
    text = markdown(build_report(small()), pictures="x").partition("## How to read this")[2]
    legend = text.partition("## Notes")[0].replace("\N{NO-BREAK SPACE}", " ")
    used = {
        Verdict.REPRODUCED, Verdict.INDICATIVE, Verdict.NOT_COMPARABLE, Verdict.MISSING,
        Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.NOT_SETTLED,
        Verdict.NOT_RUN,
    }  # fmt: skip
    for verdict in Verdict:
        assert (f" {verdict}:**" in legend) == (verdict in used), verdict


def test_the_papers_claims_and_our_own_checks_stand_apart() -> None:
    document = build_report(small())
    found = {
        name: [row[0].text for row in table.rows if isinstance(row, tuple)]
        for name, table in tables(document).items()
        if name in ("claims", "checks")
    }
    assert found == {
        "claims": [f"The claim {name} holds" for name in ("first", "second", "third", "fourth")],
        "checks": ["The claim fifth holds"],
    }
    for text in (markdown(document, pictures="x"), page(small())[0], latex(document)):
        headings = [text.index(name) for name in ("Claims of the paper", "Our own checks")]
        assert headings == sorted(headings)


def test_the_headline_counts_the_papers_claims_without_our_own_checks() -> None:
    assert headline(small()).startswith(
        "Of 4 claims of the paper, 1 is supported, 1 is contradicted, 1 is not settled and 1 was "
        "not run. The one check of our own is supported."
    )
    own = replace(small(), claims=small().claims[-1:] * 2)
    assert headline(own).startswith(
        "No claim of the paper is judged at this profile. Both checks of our own are supported."
    )
    leads = [item.lead for item in findings(small())]
    assert leads == [
        "Supported",
        "Contradicted",
        "Not settled",
        "Not run",
        "Supported (our own check)",
    ]


def test_the_terminal_heads_them_apart() -> None:
    lines = overview(small()).splitlines()
    first, second = lines.index("Claims of the paper"), lines.index("Our own checks")
    assert [line for line in lines if "fifth" in line] == [lines[second + 1]]
    assert first + 4 < second


def claim(name: str, text: str) -> Claim:
    """One that is not judged."""
    return replace(small().claims[0].claim, id=name, text=text)


def test_what_a_profile_cannot_test_is_said_with_its_reason() -> None:
    model = replace(
        small(),
        untested=(
            Untested(claim=claim("far", "Far patches help"), missing_rows=("row7",)),
            Untested(claim=claim("near", "Near ones do not")),
        ),
    )
    line = "2 claims of the table cannot be tested at this profile: far and near."
    assert line in overview(model)
    text = visible(markdown(build_report(model), pictures="x"))
    assert line in text
    assert "**far:** Far patches help (no row row7)." in text
    assert "**near:** Near ones do not (its rows are here" in text
    assert "cannot test" not in markdown(build_report(small()), pictures="x")


def test_many_claims_that_a_profile_cannot_test_are_counted_where_paper_lists_them() -> None:
    model = every_verdict()
    assert len(model.untested) == 40
    text = visible(markdown(build_report(model), pictures="x"))
    where = f"40 claims of the table, listed with all others by harness report {model.table}"
    assert f"{where} --profile paper." in text
    assert "Far patches help, 1" not in text
    for lists in (replace(model, paper_data=""), replace(model, profile="paper")):
        text = visible(markdown(build_report(lists), pictures="x"))
        assert "40 claims of the table, listed at the end." in text
        assert "Far patches help, 1" in text


def test_claims_that_say_the_same_of_several_rows_are_told_together() -> None:
    absent = tuple(
        Untested(claim=claim(f"far.{row}", f"Far patches help: {row}"), missing_rows=rows)
        for row, rows in (("A", ("a",)), ("B", ("b",)), ("C", ()), ("D", ("d",)))
    )
    cost = next(one for one in every_verdict().claims if one.claim.id == "cost")
    costs = tuple(
        retold(replace(cost, estimate=value), f"It is cheap: {row}")
        for row, value in (("A", 1767.6), ("B", 1500.0))
    )
    model = replace(small(), claims=costs, untested=absent)
    text = visible(markdown(build_report(model), pictures="x"))
    assert "**Far patches help (3 claims, no rows of these):** A; B; D." in text
    assert "**far.C:** Far patches help: C (its rows are here, the profile leaves it out)." in text
    told = "It is cheap (claimed < 2000.00): A (1767.60 PFLOPs); B (1500.00 PFLOPs)."
    assert f"**Supported:** {told}" in text.replace("\\", "")


def test_a_smoke_test_is_called_so() -> None:
    model = replace(small(profile="smoke"), data="Fashion-MNIST")
    assert build_report(model).title == "Table 1, a smoke test on Fashion-MNIST"


def test_collapsed_networks_are_named_first_and_marked_in_their_cells() -> None:
    model = small()
    model = replace(model, rows=(replace(model.rows[0], collapsed=(0, 2)), *model.rows[1:]))
    sentence = (
        "Group 0: Logit 0 (2 seeds of 3): features/std ended below 0.05, all images look the same "
        "to the network."
    )
    assert findings(model)[0].lead == "Supported"
    text = markdown(build_report(model), pictures="x")
    first = next(line for line in text.splitlines() if line.startswith("- "))
    assert visible(first) == f"- **Collapsed:** {sentence}"
    rows = {
        row[0].text: row
        for row in tables(build_report(model))["results"].rows
        if isinstance(row, tuple)
    }
    assert [cell.text for cell in rows["Logit 0"] if "§" in cell.text] == ["75.00 ± 0.12§"]
    assert not any("§" in cell.text for cell in rows["+MaskedKD 1"])
    assert "§ a network of this cell has collapsed" in text
    assert f"collapsed: {sentence}" in overview(model)
    reasons = {(line["row"], line["column"]): line["reason"] for line in lines(cells_csv(model))}
    assert reasons["row0", "acc"].endswith("; collapsed: 2 seeds")
    assert "collapsed" not in reasons["row0", "pflops"] + reasons["row1", "acc"]
    assert r"\S{}" in latex(build_report(model))
    assert "ollapsed" not in markdown(build_report(small()), pictures="x")


def test_published_numbers_stand_apart_from_measured_ones_of_another_recipe() -> None:
    model = replace(small(profile="fashion-mnist"), data="Fashion-MNIST", paper_data="ImageNet-1k")
    document = build_report(model)
    assert document.title == "Table 1 at the scale of Fashion-MNIST"
    origin = next(block.text for block in document.blocks if isinstance(block, Paragraph))
    assert "In the paper: Students and teachers." in origin
    found = tables(document)
    for row in found["results"].rows:
        if isinstance(row, tuple):
            assert "75.0" not in [cell.text for cell in row]
    assert {column.title for column in found["printed"].columns} == {"", "published"}
    text = markdown(document, pictures="x")
    assert "## Results on Fashion-MNIST" in text
    assert "## What the paper prints, on ImageNet-1k" in text.partition("## How to repeat")[2]
    folded = html(document, picture=lambda _: b"").partition("<details>")[2]
    assert "What the paper prints, on ImageNet-1k</h2></summary>" in folded
    assert ">75.0<" in folded
    assert "printed" not in tables(build_report(small()))


def test_one_seed_is_one_seed() -> None:
    alone = replace(small(rows=1), seeds=(0,))
    (row,) = alone.rows
    cells = (cell(ACC, printed(75.0), (75.0,)), *row.cells[1:])
    alone = replace(alone, rows=(replace(row, cells=cells),))
    assert "profile `paper`, seed 0." in markdown(build_report(alone), pictures="x")


def test_html_says_which_way_of_a_column_is_better() -> None:
    """An arrow beside `measured`, in words for who hears it; none where the spec does not say."""
    model = small()
    text, _ = page(model)
    for column in model.columns:
        arrow = "↑" if column.better == "higher" else "↓"
        assert f'measured <abbr title="{column.better} is better">{arrow}</abbr>' in text
    silent = replace(model, columns=tuple(replace(one, better=None) for one in model.columns))
    assert "is better" not in page(silent)[0]


def test_html_names_the_column_of_every_cell_for_small_screens() -> None:
    text, _ = page(small())
    assert 'data-label="Top-1 (%) measured"><span>75.00 ± 0.12</span>' in text
    assert 'data-label="Verdict"><span>✓\N{NO-BREAK SPACE}supported</span>' in text
    assert "@media print" in text
