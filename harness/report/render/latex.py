"""LaTeX: the tables of a report, for a paper's appendix."""

from __future__ import annotations

from collections.abc import Iterator

from harness.report.document import Document, GroupRow, Table, TableCell
from harness.report.render.text import marked_up

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "≈": r"$\approx$",
    "–": "--",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "λ": r"$\lambda$",
    "✓": r"\checkmark{}",
    "✗": r"$\times$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "○": r"$\circ$",
}
WIDE = 30  # characters: cells longer than this get a column that breaks lines
TEXT_WIDTH = 0.9  # of the line, shared by the columns that break lines

HEADER = """\
% {subject}
% \\usepackage{{amssymb,array,booktabs,longtable}}
"""


def latex(document: Document) -> str:
    """Every table as a `longtable` with booktabs rules, to be `\\input`."""
    tables = [block for block in document.blocks if isinstance(block, Table)]
    names = ("results", "claims", "checks", "differences")
    wanted = [table for table in tables if table.name in names]
    subject = " ".join(document.subject.split())
    return HEADER.format(subject=subject) + "\n".join(_table(table) for table in wanted)


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""

    def plain(part: str) -> str:
        return "".join(_ESCAPED.get(character, character) for character in part)

    return marked_up(
        " ".join(text.split()), plain=plain, code=lambda part: f"\\texttt{{{plain(part)}}}"
    )


def _table(table: Table) -> str:
    head = "\n".join([r"\toprule", *_header(table), r"\midrule"])
    lines = [
        r"\begingroup\small\setlength{\LTcapwidth}{\linewidth}",
        rf"\begin{{longtable}}{{{_specification(table)}}}",
        rf"\caption{{{escape(table.caption)}}}\label{{tab:{table.name}}}\\",
        head,
        r"\endfirsthead",
        head,
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *_rows(table),
        r"\end{longtable}",
        r"\endgroup",
    ]
    return "\n".join(lines) + "\n"


def _specification(table: Table) -> str:
    """Plain columns for short cells, paragraphs in proportion to their weights for long ones."""
    cells = [row for row in table.rows if not isinstance(row, GroupRow)]
    wide = [
        any(len(row[index].text) > WIDE for row in cells) for index in range(len(table.columns))
    ]
    total = sum(c.weight for c, is_wide in zip(table.columns, wide, strict=True) if is_wide)
    share = TEXT_WIDTH if all(wide) else 0.6
    return "".join(
        rf">{{\raggedright\arraybackslash}}p{{{share * column.weight / total:.3f}\linewidth}}"
        if is_wide
        else column.align[0]
        for column, is_wide in zip(table.columns, wide, strict=True)
    )


def _header(table: Table) -> Iterator[str]:
    if any(column.span for column in table.columns):
        spans, rules, start = [], [], 1
        for span, width in spanned(table):
            spans.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(span)}}}" if span else "")
            if span:
                rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
            start += width
        yield " & ".join(spans) + r" \\"
        yield "".join(rules)
    yield " & ".join(escape(column.title) for column in table.columns) + r" \\"


def spanned(table: Table) -> list[tuple[str, int]]:
    """Headings that stand over several columns: (text, number of columns)."""
    spans: list[tuple[str, int]] = []
    for column in table.columns:
        if spans and column.span and spans[-1][0] == column.span:
            spans[-1] = (column.span, spans[-1][1] + 1)
        else:
            spans.append((column.span, 1))
    return spans


def _rows(table: Table) -> Iterator[str]:
    for row in table.rows:
        if isinstance(row, GroupRow):
            width = len(table.columns)
            yield rf"\multicolumn{{{width}}}{{l}}{{\textit{{{escape(row.text)}}}}} \\*"
        else:
            yield " & ".join(_cell(cell) for cell in row) + r" \\"


def _cell(cell: TableCell) -> str:
    text = escape(cell.text)
    return f"{{{text}}}" if text.startswith("[") else text  # else an option of the line before
