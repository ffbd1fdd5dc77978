"""LaTeX: the tables of a report, for a paper's appendix."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.report.document import Document, GroupRow, TextTable
from harness.report.format import header_spans, in_pieces, marked_up, title_of
from harness.report.render.tex_characters import in_tex
from harness.report.render.unset import explained, numbered

WIDE = 30  # characters: cells longer than this get a column that breaks lines
GAP = 0.035  # of the line, between columns
TIGHT_GAP = 0.014  # the same in a table that is set small
USUAL, SMALL = r"\small", r"\scriptsize\setlength{\tabcolsep}{2pt}"
SMALLER = 1.25  # as many letters on its lines
LEAST, MOST = 0.3, 0.9  # of the line, shared by the columns that break lines
LINES = 20  # of a row, about: a `longtable` breaks pages between rows alone
LETTERS = 75  # of a line, about
LONGEST_WORD = 20  # characters: longer ones may be broken anywhere

ONE_PAGE = r"\usepackage{amssymb,array,booktabs}"
HEADER = """\
% {subject}
% For the preamble: \\usepackage{{amssymb,array,booktabs,longtable}}
"""


def latex(document: Document) -> str:
    """Every table as a `longtable` with booktabs rules, to be `\\input`; ASCII alone, so that it
    does not depend on the encoding of the document around it.
    """
    tables = [block for block in document.unfolded() if isinstance(block, TextTable)]
    names = ("results", "printed", "claims", "checks", "basis", "differences")
    wanted = [table for table in tables if table.name in names]
    subject = escape(document.subject).replace("\n", " ")
    label = re.sub(r"[^A-Za-z0-9]+", "-", document.subject.replace(", profile ", "-")).strip("-")
    head = HEADER.format(subject=subject)
    return head + "\n".join(_table(table, label) for table in wanted) + _unset(wanted)


def tabular(document: Document) -> str:
    """The table of results alone, without a caption and on one page, to be `\\input` into a `table`
    or `table*`, also in two columns; its third line is what a caption would have to say.
    """
    table = next(
        block
        for block in document.unfolded()
        if isinstance(block, TextTable) and block.name == "results"
    )
    lines = [
        f"% {escape(document.subject)}",
        f"% For the preamble: {ONE_PAGE}",
        f"% {escape(table.caption)}",
        rf"\begin{{tabular}}{{{_specification(table)}}}",
        *_head(table),
        *_rows(table),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _unset(tables: list[TextTable]) -> str:
    """The line on characters that are written by their numbers."""
    texts = [text for table in tables for text in _texts(table)]
    unset = {character for text in texts for character in text if in_tex(character) is None}
    if not unset:
        return ""
    return f"\n\\par\\noindent{{\\small {escape(explained(len(unset), 'pdfLaTeX'))}\\par}}\n"


def _texts(table: TextTable) -> Iterator[str]:
    yield table.caption
    for column in table.columns:
        yield from (column.span, column.title)
    for row in table.rows:
        yield from [row.text] if isinstance(row, GroupRow) else [cell.text for cell in row]


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    text = numbered(text, lambda character: in_tex(character) is not None)
    return marked_up(
        re.sub(r"[ \n\t]+", " ", text).strip(" "),
        plain=_plain,
        code=lambda part: f"\\texttt{{{_plain(part)}}}",
    )


def _plain(text: str) -> str:
    return " ".join(_word(word) for word in text.split(" "))


def _word(word: str) -> str:
    """Without what TeX would draw together (`--`, `''`), breakable where it is long."""
    made, before = [], ""
    for place, character in enumerate(word):
        if len(word) > LONGEST_WORD and place and place % LONGEST_WORD == 0:
            made.append(r"\allowbreak{}")
        elif character == before and character in "-',":
            made.append("{}")
        made.append(in_tex(character) or "")
        before = character
    return "".join(made)


def _table(table: TextTable, label: str) -> str:
    size = SMALL if _is_small(table) else USUAL
    lines = [
        rf"\begingroup{size}\setlength{{\LTcapwidth}}{{\linewidth}}",
        rf"\begin{{longtable}}{{{_specification(table)}}}",
        rf"\caption{{{escape(table.caption)}}}\label{{tab:{label}-{table.name}}}\\",
        *_head(table),
        r"\endfirsthead",
        *_head(table),
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *_rows(table),
        r"\end{longtable}",
        r"\endgroup",
    ]
    return "\n".join(lines) + "\n"


def _specification(table: TextTable) -> str:
    """Plain columns for short cells, paragraphs in proportion to their weights for long ones."""
    return "".join(
        column.align[0]
        if share is None
        else rf">{{\raggedright\arraybackslash}}p{{{share:.3f}\linewidth}}"
        for column, share in zip(table.columns, _shares(table), strict=True)
    )


def _shares(table: TextTable) -> list[float | None]:
    """Of the line, for columns that break lines."""
    wide = _wide(table)
    total = sum(c.weight for c, is_wide in zip(table.columns, wide, strict=True) if is_wide)
    share = min(MOST, max(LEAST, 1 - _taken(table, small=_is_small(table))))
    return [
        share * column.weight / total if is_wide else None
        for column, is_wide in zip(table.columns, wide, strict=True)
    ]


def _wide(table: TextTable) -> list[bool]:
    """Which columns break lines."""
    cells = [row for row in table.rows if not isinstance(row, GroupRow)]
    return [any(len(row[at].text) > WIDE for row in cells) for at in range(len(table.columns))]


def _taken(table: TextTable, *, small: bool) -> float:
    """Of the line, about: by columns that do not break lines, and between all."""
    cells = [row for row in table.rows if not isinstance(row, GroupRow)]
    letters = sum(
        max([len(column.title), *(len(row[index].text) for row in cells)])
        for index, (column, wide) in enumerate(zip(table.columns, _wide(table), strict=True))
        if not wide
    )
    gaps = (TIGHT_GAP if small else GAP) * len(table.columns)
    return letters / (LETTERS * SMALLER if small else LETTERS) + gaps


def _is_small(table: TextTable) -> bool:
    """Whether the usual size would leave too little of the line to the columns that break."""
    return _taken(table, small=False) > 1 - (LEAST if any(_wide(table)) else 0)


def _head(table: TextTable) -> list[str]:
    return [r"\toprule", *_header(table), r"\midrule"]


def _header(table: TextTable) -> Iterator[str]:
    """Headings over several columns, then those of each, unless `measured` is all they say."""
    if any(column.span for column in table.columns):
        spans, rules, start = [], [], 1
        for span, width in header_spans(table):
            spans.append(
                rf"\multicolumn{{{width}}}{{c}}{{{escape(title_of(span))}}}" if span else ""
            )
            if span:
                rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
            start += width
        yield " & ".join(map(_guarded, spans)) + r" \\"
        if {column.title for column in table.columns} == {"", "measured"}:
            return
        yield "".join(rules)
    titles = (_guarded(escape(title_of(column.title))) for column in table.columns)
    yield " & ".join(titles) + r" \\"


def _rows(table: TextTable) -> Iterator[str]:
    width = len(table.columns)
    for row in in_pieces(table, _limits(table)):
        if isinstance(row, GroupRow):
            column = "l" if len(row.text) <= LETTERS else r"p{0.9\linewidth}"
            text = escape(row.text)
            yield rf"\multicolumn{{{width}}}{{{column}}}{{\textit{{{text}}}}} \\*"
        else:
            yield " & ".join(_guarded(escape(cell.text)) for cell in row) + r" \\"


def _limits(table: TextTable) -> list[int]:
    """How many characters of each column make a row of LINES lines."""
    return [
        WIDE if share is None else max(WIDE, int(LINES * LETTERS * share))
        for share in _shares(table)
    ]


def _guarded(text: str) -> str:
    """Not an option, or a star, of the line break or the rule before it."""
    return f"{{}}{text}" if text.startswith(("[", "*")) else text
