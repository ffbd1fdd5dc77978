"""What a reader sees of a report on paper and on a phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from pypdf import PdfReader
from pypdf.generic import DictionaryObject

from harness.report.builder import build_report
from harness.report.document import Document, TableCell, TableColumn, TextTable
from harness.report.render.html import html
from harness.report.render.pdf import pdf
from tests.report.models import empty_picture, every_verdict, without_figures

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
TALL = b'<svg xmlns="http://www.w3.org/2000/svg" width="500" height="300"/>'


def fonts(page: object) -> list[DictionaryObject]:
    assert isinstance(page, DictionaryObject)
    named = page["/Resources"].get_object()["/Font"].get_object()
    return [font.get_object() for font in named.values()]


def test_all_fonts_are_in_the_pdf_and_its_language_is_told() -> None:
    document = build_report(without_figures(every_verdict()))
    reader = PdfReader(BytesIO(pdf(document, picture=lambda _: empty_picture())))
    assert reader.trailer["/Root"].get_object()["/Lang"] == "en"
    for page in reader.pages:
        for font in fonts(page):
            assert "/FontFile2" in font["/FontDescriptor"].get_object(), font["/BaseFont"]


def test_a_pdf_breaks_no_number_of_the_claims() -> None:
    document = build_report(without_figures(every_verdict()))
    reader = PdfReader(BytesIO(pdf(document, picture=lambda _: empty_picture())))
    text = "\n".join(page.extract_text() for page in reader.pages)
    assert "−3.10 to −1.90" in text, text
    assert "−2.50 points" in text


def test_only_short_tables_stay_on_a_page_and_short_numbers_on_a_line() -> None:
    columns = (TableColumn(title="Row"), TableColumn(title="Value", align="right"))

    def page(words: int) -> str:
        cells = (TableCell(text="a " * words), TableCell(text="−0.80 to −0.29"))
        table = TextTable(name="t", caption="A table.", columns=columns, rows=(cells,) * 9)
        return html(Document(title="t", subject="t", blocks=(table,)), picture=lambda _: TALL)

    assert '<div class="scroll whole">' in page(9)
    assert '<div class="scroll">' in page(90)
    assert '<td class="right short" data-label="Value">' in page(9)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_on_a_phone_nothing_is_cut_and_the_first_cell_needs_no_label(tmp_path: Path) -> None:
    """In an inner page of 390 pixels, as wide as a phone."""
    inside = html(build_report(every_verdict()), picture=lambda _: TALL)
    script = """<pre id="found"></pre><script>
      const frame = document.querySelector("iframe");
      frame.onload = () => {
        const page = frame.contentDocument, look = frame.contentWindow.getComputedStyle;
        const cells = [...page.querySelectorAll("td:first-child[data-label]")];
        document.querySelector("#found").textContent = JSON.stringify({
          over: page.documentElement.scrollWidth - page.documentElement.clientWidth,
          labels: cells.filter(c => look(c, "::before").display !== "none").length,
          cells: cells.length,
        });
      };
    </script>"""
    (tmp_path / "inside.html").write_text(inside, encoding="utf-8")
    frame = '<iframe src="inside.html" style="width: 390px; height: 800px; border: 0"></iframe>'
    outer = tmp_path / "outer.html"
    outer.write_text(f"<!doctype html>{frame}{script}", encoding="utf-8")
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--allow-file-access-from-files", "--virtual-time-budget=5000"]
    command += [f"--user-data-dir={tmp_path / 'browser'}", outer.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    told = re.search(r'<pre id="found">(\{.*?\})</pre>', shown)
    assert told is not None, shown[-500:]
    found = json.loads(told[1])
    assert found["over"] == 0
    assert found["cells"] > 10
    assert found["labels"] == 0
