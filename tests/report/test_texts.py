"""Any text, in any format: what acts is made inert, what cannot be set is said, nothing is cut."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import warnings
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from pypdf import PdfReader

from harness.errors import HarnessError
from harness.report.builder import build_report
from harness.report.figures import draw
from harness.report.inert import inert
from harness.report.model import Draw, FinishedRun, TableModel
from harness.report.publish import Folders, file_name, publish
from harness.report.render.csv import SEEDS, claims_csv, images_csv, plain, seeds_csv
from harness.report.render.html import html
from harness.report.render.latex import escape, latex
from harness.report.render.markdown import markdown
from harness.report.render.pdf import pdf
from harness.report.render.tex_characters import in_tex
from harness.report.terminal import overview, shown_width
from tests.report.models import empty_picture, relabelled, retold, small, without_figures

ACTING = "\x1b[31mred\x07 \u202eright\u2066 ze\u200bro\ufeff \x00\x9b2J\ud800\ue000"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain", "plain"),
        ("\x1b[31mred", "�[31mred"),
        ("a\u202eb\u200bc\ufeffd\xade", "abcde"),
        ("a\r\nb\tc\u2028d", "a b c d"),
        ("one\n\ntwo", "one\n\ntwo"),
        ("e" + "\u0301" * 50, "é" + "\u0301" * 2),
        ("中文 😀 שלום λ", "中文 😀 שלום λ"),
        ("\x9b2J\ud800\ue000", "�2J��"),
        ("a  b\N{NO-BREAK SPACE}c", "a b\N{NO-BREAK SPACE}c"),
    ],
)
def test_what_acts_without_being_seen_is_made_inert(text: str, seen: str) -> None:
    assert inert(text) == seen


def with_text(text: str) -> TableModel:
    """The text in every place that a spec or a run fills."""
    model = small()
    rows = tuple(
        replace(
            relabelled(row, label=f"{text} {row.id}", group=text, note=text),
            name=f"{text} {row.id}",
        )
        for row in model.rows
    )
    claims = tuple(replace(retold(claim, text), reason=text) for claim in model.claims)
    return replace(model, rows=rows, claims=claims, caption=text, title=text, note=text)


def test_no_format_lets_acting_characters_through() -> None:
    model = with_text(ACTING)
    document = build_report(model)
    for text in (
        html(document, picture=lambda _: b""),
        markdown(document, pictures="x"),
        latex(document),
        claims_csv(model),
        overview(model),
    ):
        assert "red" in text
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066]", text)


@pytest.mark.parametrize("text", ["=1+1", "+A1", "-A1", "@SUM(A1)"])
def test_no_text_of_a_csv_file_is_a_formula(text: str) -> None:
    lines = list(csv.DictReader(StringIO(claims_csv(with_text(text)))))
    assert {line["text"] for line in lines} == {f"'{text}"}
    assert float(lines[0]["margin"]) == -0.3


@pytest.mark.parametrize("text", ["=1+1", '-a, "b"', "x,y", "plain"])
def test_every_line_of_the_values_is_written_alike(text: str) -> None:
    """Those of what a training recorded, and of bits, are put together from parts."""
    model = small()
    row = model.rows[0]
    draws = tuple(
        Draw(seed=seed, value=80.0 + seed, run='r,"1"', images=16, right=b"\xfb\xff")
        for seed in range(2)
    )
    cells = tuple(replace(one, draws=draws if one.column == "acc" else ()) for one in row.cells)
    records = ({"epoch": 1.0, "val/top1": -2.5}, {"epoch": 2.0, "val/top1": 1e-7})
    run = FinishedRun(row=row.id, seed=1, records=records)
    row = replace(row, cells=cells)
    model = replace(model, table=text, rows=(row, *model.rows[1:]), runs=(run,))
    written = seeds_csv(model)
    reader = csv.reader(StringIO(written))
    lines = list(reader)
    stream = StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    assert stream.getvalue() == written
    assert {len(line) for line in lines} == {len(SEEDS)}
    found = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    assert {plain(line["table"]) for line in found} == {text}
    assert not any(line["table"].startswith(("=", "-")) for line in found)
    epochs = [line for line in found if line["state"] == "epoch"]
    of_run = [("acc", "1", "1.0", "-2.5", ""), ("acc", "1", "2.0", "1e-07", "")]
    names = ("column", "seed", "epoch", "value", "run")
    assert [tuple(line[name] for name in names) for line in epochs] == of_run
    images = list(csv.reader(StringIO(images_csv(model))))
    assert images[1:] == [[row.id, "acc", str(seed), 'r,"1"', "16", "+/8="] for seed in range(2)]


def test_words_from_right_to_left_stay_by_themselves_in_html() -> None:
    text = html(build_report(with_text("שלום − עולם")), picture=lambda _: b"")
    assert "<bdi>שלום</bdi> − <bdi>עולם</bdi>" in text


NASTY = (
    "[x] a", "* a", r"\end{document}", "100% #1 $x_1^2$ & ~ {", "a--b---c ''q'' ,,p ?` !`",
    "é ü Å ő ŵ ß Ł µ λ Ω ≠ → x² H₂O ½", "中文 😀 שלום", "long " * 60, "w" * 300, "`c_[d]`",
)  # fmt: skip


def test_every_character_has_commands_of_ascii_or_a_number_in_latex() -> None:
    for code in (*range(0x20, 0x3000), 0x4E2D, 0x1F600):
        made = in_tex(chr(code))
        assert made is None or made.isascii()
        if made is not None:
            assert made.count("{") - made.count(r"\{") == made.count("}") - made.count(r"\}")
    assert escape("中文 ok") == "[U+4E2D U+6587] ok"
    assert escape("a--b ''") == "a-{}-b '{}'"
    assert escape("é ő ï µ x² Ω") == r"\'{e} \H{o} \"{\i} $\mu$ x${}^{2}$ $\Omega$"
    text = latex(build_report(with_text("中文")))
    assert "no glyph for 2 different characters" in text
    assert text.isascii()


def test_labels_of_latex_tables_are_their_own() -> None:
    labels = re.findall(r"\\label{(.*?)}", latex(build_report(small())))
    assert labels[0] == "tab:demo-table1-paper-claims"
    other = re.findall(r"\\label{(.*?)}", latex(build_report(small(profile="cpu"))))
    assert not set(labels) & set(other)
    assert len(set(labels)) == len(labels) > 2


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="TeX is not installed")
def test_pdflatex_sets_any_text(tmp_path: Path) -> None:
    known = [c for c in map(chr, range(0x21, 0x3000)) if in_tex(c) is not None]
    texts = [*NASTY, *("".join(known[at : at + 25]) for at in range(0, len(known), 25))]
    model = small()
    claims = tuple(retold(model.claims[0], t) for i, t in enumerate(texts))
    rows = tuple(relabelled(model.rows[0], id=f"r{i}", label=t) for i, t in enumerate(texts))
    body = latex(build_report(without_figures(replace(model, claims=claims, rows=rows))))
    packages = r"\usepackage{amssymb,array,booktabs,longtable}"
    whole = rf"\documentclass{{article}}{packages}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "t.tex").write_text(whole, encoding="ascii")
    call = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="TeX is not installed")
def test_pdflatex_sets_results_and_figures_in_two_columns(tmp_path: Path) -> None:
    folders = Folders(results=tmp_path / "results", reports=tmp_path / "reports")
    files = publish(small(), ["tex"], folders).files
    table = next(path for path in files if path.name == "results.tex")
    figures = [path.name for path in files if path.suffix == ".pdf"]
    shown = "".join(rf"\includegraphics[width=\linewidth]{{{name}}}" for name in figures)
    whole = (
        r"\documentclass[twocolumn]{article}\usepackage{amssymb,array,booktabs,graphicx}"
        r"\begin{document}\begin{table*}\caption{Ours.}\input{results}\end{table*}"
        rf"\begin{{figure}}{shown}\end{{figure}}\end{{document}}"
    )
    (table.parent / "t.tex").write_text(whole, encoding="ascii")
    call = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(call, cwd=table.parent, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def pages(model: TableModel) -> list[str]:
    bare = without_figures(model)
    made = pdf(build_report(bare), picture=lambda _: empty_picture())
    return [page.extract_text() for page in PdfReader(BytesIO(made)).pages]


@pytest.mark.parametrize(
    "text", ["claim word " * 164, "claim word " * 1800, "x" * 1800, "`code words` " * 150]
)
def test_a_pdf_holds_claims_of_any_length(text: str) -> None:
    model = small()
    claims = (retold(model.claims[0], f"{text} the end"), *model.claims[1:])
    found = "".join("".join(pages(replace(model, claims=claims))).split())
    letters = "".join(text.replace("`", "").split())
    assert found.count(letters[:5]) >= len(letters) // len(letters[:5]) // 3
    assert "theend" in found


def test_a_pdf_says_what_it_cannot_set() -> None:
    model = small()
    claims = (retold(model.claims[0], "שלום ok \U0001fae8"), *model.claims[1:])
    text = " ".join(" ".join(pages(replace(model, claims=claims))).split())
    assert "[U+05E9 U+05DC U+05D5 U+05DD] ok" in text
    assert "has no glyph for" in text
    assert "has no glyph" not in " ".join(pages(model))


def test_plots_of_any_text_are_drawn_without_a_warning() -> None:
    model = with_text("中文 שלום $x_1 " + "long " * 40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("curves", "accuracy-cost"):
            assert draw(name, model, format="svg")
            assert draw(name, model, format="pdf")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_terminal_is_as_wide_as_it_is(width: int) -> None:
    model = small()
    rows = tuple(relabelled(row, label=f"{row.label} 中文 {'long ' * 20}") for row in model.rows)
    text = overview(replace(model, rows=rows), width)
    assert max(map(shown_width, text.splitlines())) <= width
    for value in ("75.00 ± 0.12", "75.15 ± 0.64", "3702", "1768", "not\N{NO-BREAK SPACE}comp"):
        assert value in text


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("maskedkd/table2", "maskedkd/table2.cpu"),
        ("/x", "x.cpu"),
        ("../../x", "x.cpu"),
        ("a b/c|d\n", "a b/c_d_.cpu"),
        (".../.x", "x.cpu"),
    ],
)
def test_files_stay_in_their_folder(table: str, name: str, tmp_path: Path) -> None:
    assert file_name(table, "cpu") == name
    folders = Folders.beside(tmp_path / "results")
    model = replace(small(), table=table, profile="cpu")
    for file in publish(model, ["csv", "tex"], folders).files:
        assert file.resolve().is_relative_to(tmp_path)


def test_two_results_folders_do_not_share_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARNESS_REPORTS", raising=False)
    places = {Folders.beside(tmp_path / name).reports for name in ("a", "b", "results")}
    assert places == {tmp_path / "a-reports", tmp_path / "b-reports", tmp_path / "reports"}
    monkeypatch.setenv("HARNESS_REPORTS", str(tmp_path / "here"))
    assert Folders.beside(tmp_path / "a").reports == tmp_path / "here"
    (tmp_path / "here").write_text("")
    with pytest.raises(HarnessError, match=r"^\$HARNESS_REPORTS is .*here, which is no folder"):
        Folders.beside(tmp_path / "a")
