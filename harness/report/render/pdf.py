"""PDF, by reportlab: A4, upright or sideways as the tables need, with all glyphs in use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from itertools import groupby, pairwise
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    Image,
    KeepTogether,
    ListFlowable,
    ListItem,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Preformatted,
)
from reportlab.platypus import Paragraph as Text
from reportlab.platypus import Table as Grid

from harness.report.document import (
    Bullets,
    Commands,
    Document,
    GroupRow,
    Heading,
    Item,
    Paragraph,
    Part,
    Picture,
    TableCell,
    TextTable,
    Tone,
)
from harness.report.figures import DPI
from harness.report.fonts import face, register
from harness.report.format import header_spans, in_pieces, is_short, marked_up, title_of
from harness.report.inert import with_texts
from harness.report.render.unset import explained, numbered

COLOURS: dict[Tone, str] = {
    "": "#1f2328",
    "good": "#0a6b2d",
    "bad": "#b3261e",
    "broken": "#7b3fa0",
    "warn": "#8a5a00",
    "muted": "#656d76",
}
LINE, BAND = colors.HexColor("#d8dee4"), colors.HexColor("#f3f5f7")
MARGIN = 16 * mm
HEAD = 4 * mm
COLUMNS_UPRIGHT = 7  # more of them need a page on its side
BEGINNING = 75 * mm  # of a table, about: heading, caption, names of the columns, a row
BREAKS = re.compile(r"[^\S\N{NO-BREAK SPACE}]+")
TALLEST = 225 * mm  # of a picture
MOST_LINES = 14  # of a row, about: one that is taller than its page cannot be set
LETTER = 4.3  # points, about
LONGEST_HEAD, LONGEST_COMMAND = 110, 105  # characters
LONGEST_WORD = 80  # points: longer words may be broken

BODY = ParagraphStyle("body", fontName="DejaVu", fontSize=9, leading=13, spaceAfter=5)
SMALL = ParagraphStyle("small", parent=BODY, fontSize=7.3, leading=9.6, spaceAfter=0)
RIGHT = ParagraphStyle("right", parent=SMALL, alignment=TA_RIGHT)
CAPTION = ParagraphStyle("caption", parent=SMALL, textColor="#656d76", spaceBefore=3, spaceAfter=4)
BELOW = ParagraphStyle("below", parent=CAPTION, spaceAfter=4 + 2 * mm)  # a figure
MONO = ParagraphStyle("mono", parent=SMALL, fontName="DejaVu-Mono", leading=11, backColor=BAND)
HEADINGS = {
    1: ParagraphStyle("h1", fontName="DejaVu-Bold", fontSize=15, leading=20, spaceAfter=4),
    2: ParagraphStyle(
        "h2", fontName="DejaVu-Bold", fontSize=11, leading=15, spaceBefore=10, spaceAfter=4
    ),
}


def pdf(document: Document, *, picture: Callable[[str], bytes]) -> bytes:
    """The report; `picture` gives the PNG of a figure by its name. The same report gives the same
    bytes.
    """
    register()
    stream = BytesIO()
    template = BaseDocTemplate(
        stream,
        pagesize=A4,
        title=document.title,
        subject=document.subject,
        author="harness",
        lang="en",
        initialFontName="DejaVu",  # the usual one, Helvetica, is named in the file and not in it
        pageTemplates=[_page("upright", A4), _page("sideways", landscape(A4))],
        invariant=1,
    )
    subject = numbered(document.subject, _has_glyph)
    if len(subject) > LONGEST_HEAD:
        subject = f"{subject[: LONGEST_HEAD - 1]}…"
    blocks = (*document.unfolded(), *_unset(document))
    template.build(
        list(_flow(blocks, picture)),
        canvasmaker=partial(_Numbered, subject=subject),
    )
    return stream.getvalue()


def _has_glyph(character: str) -> bool:
    return face(character) is not None


def _unset(document: Document) -> list[Part]:
    """The line on characters that are written by their numbers."""
    unset: set[str] = set()

    def note(text: str) -> str:
        if not text.isascii():
            unset.update(character for character in text if not _has_glyph(character))
        return text

    with_texts(document.unfolded(), note, but=frozenset())
    return [Paragraph(text=explained(len(unset), "This PDF"), tone="muted")] if unset else []


def _page(name: str, size: tuple[float, float]) -> PageTemplate:
    frame = Frame(MARGIN, MARGIN, _width(size), size[1] - 2 * MARGIN - HEAD, 0, 0, 0, 0)
    return PageTemplate(id=name, frames=[frame], pagesize=size)


def _width(size: tuple[float, float]) -> float:
    return size[0] - float(2 * MARGIN)


def _flow(blocks: Sequence[Part], picture: Callable[[str], bytes]) -> Iterator[Flowable]:
    """The blocks in order; a heading stays with what follows, a wide table gets pages on their
    side.
    """
    sideways = False
    for before, block, following in zip(
        [None, *blocks[:-1]], blocks, [*blocks[1:], None], strict=True
    ):
        wide = any(isinstance(b, TextTable) and _is_wide(b) for b in (block, following))
        turn = (
            wide if isinstance(block, Heading) else isinstance(block, TextTable) and _is_wide(block)
        )
        if turn != sideways:
            sideways = turn
            yield NextPageTemplate("sideways" if turn else "upright")
            yield PageBreak()
        width = _width(landscape(A4) if sideways else A4)
        if isinstance(block, Heading) and _stays_whole(following):
            continue  # drawn together with that
        if isinstance(block, Heading) and isinstance(following, TextTable):
            yield CondPageBreak(BEGINNING)
        parts = list(_block(block, picture, width))
        if not _stays_whole(block):
            yield from parts
        elif isinstance(before, Heading):
            yield KeepTogether([Text(_text(before.text), HEADINGS[before.level]), *parts])
        else:
            yield KeepTogether(parts)


def _stays_whole(block: Part | None) -> bool:
    return isinstance(block, Picture) or (isinstance(block, TextTable) and is_short(block))


def _is_wide(table: TextTable) -> bool:
    return len(table.columns) > COLUMNS_UPRIGHT


class _Numbered(Canvas):  # type: ignore[misc]
    """Draws running head and foot once the number of pages is known."""

    def __init__(self, *args: object, subject: str, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._subject = subject
        self._pages: list[dict[str, object]] = []

    def showPage(self) -> None:  # noqa: N802
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        for number, page in enumerate(self._pages, start=1):
            self.__dict__.update(page)
            self._decorate(number)
            super().showPage()
        super().save()

    def _decorate(self, number: int) -> None:
        width, height = self._pagesize
        self.setFont("DejaVu", 7)
        self.setFillColor(colors.HexColor(COLOURS["muted"]))
        if number > 1:
            self.drawString(MARGIN, height - MARGIN + 2 * mm, self._subject)
        self.drawRightString(width - MARGIN, MARGIN - 6 * mm, f"{number} / {len(self._pages)}")


def _block(block: Part, picture: Callable[[str], bytes], width: float) -> Iterator[Flowable]:
    match block:
        case Heading():
            yield CondPageBreak(32 * mm)
            yield Text(_text(block.text), HEADINGS[block.level])
        case Paragraph():
            yield Text(_toned(_text(block.text), block.tone), BODY)
        case Bullets():
            yield _bullets(block)
        case TextTable():
            yield Text(_text(block.caption), CAPTION)
            yield _grid(block, width)
        case Picture():
            yield _image(picture(block.name), width)
            yield Text(_text(block.caption), BELOW)
        case Commands():
            text = numbered(block.text, _has_glyph)
            yield Preformatted(text, MONO, maxLineLength=LONGEST_COMMAND, newLineChars="  ")


def _text(text: str) -> str:
    text = BREAKS.sub(" ", text).strip(" ")
    return marked_up(text, plain=_words, code=_code)


def _words(text: str) -> str:
    """Each run of characters in the face that has them."""
    if text.isascii():
        return escape(text)
    return _in_faces(text, mono=False)


def _code(text: str) -> str:
    return f'<font face="DejaVu-Mono" size="-0.6">{_in_faces(text, mono=True)}</font>'


def _in_faces(text: str, *, mono: bool) -> str:
    usual = "DejaVu-Mono" if mono else "DejaVu"
    parts = []
    for name, run in groupby(numbered(text, _has_glyph), partial(face, mono=mono)):
        part = escape("".join(run))
        parts.append(part if name == usual else f'<font face="{name}">{part}</font>')
    return "".join(parts)


def _toned(markup: str, tone: Tone, *, bold: bool = False) -> str:
    coloured = f'<font color="{COLOURS[tone]}">{markup}</font>' if tone else markup
    return f"<b>{coloured}</b>" if bold else coloured


def _bullets(block: Bullets) -> ListFlowable:
    items = [ListItem(Text(_item(item), BODY), leftIndent=12) for item in block.items]
    return ListFlowable(
        items,
        bulletType="bullet",
        start="•",
        leftIndent=12,
        bulletFontName="DejaVu",
        bulletFontSize=9,
    )


def _item(item: Item) -> str:
    lead = f"{_toned(_text(item.lead), item.tone, bold=True)}: " if item.lead else ""
    return lead + _text(item.text)


def _image(data: bytes, width: float) -> Image:
    """In its own size, unless the page is smaller."""
    across, down = ImageReader(BytesIO(data)).getSize()
    scale = min(72 / DPI, width / across, TALLEST / down)
    return Image(BytesIO(data), across * scale, down * scale, hAlign="LEFT")


def _grid(table: TextTable, width: float) -> Grid:
    head = _head(table)
    widths = _widths(table, width)
    body: list[list[object]] = []
    style: list[tuple[object, ...]] = [
        ("FONTNAME", (0, 0), (-1, -1), "DejaVu"),  # of cells without text
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 3),
        ("RIGHTPADDING", (0, 0), (-1, -1), 3),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
        ("LINEABOVE", (0, 0), (-1, 0), 0.9, colors.black),
        ("LINEBELOW", (0, len(head) - 1), (-1, len(head) - 1), 0.6, colors.black),
        ("LINEBELOW", (0, len(head)), (-1, -2), 0.25, LINE),
        ("LINEBELOW", (0, -1), (-1, -1), 0.9, colors.black),
        *_span_style(table, len(head)),
        *_apart(table),
    ]
    most = [max(1, int(MOST_LINES * column / LETTER)) for column in widths]
    for row in in_pieces(table, most):
        line = len(head) + len(body)
        if isinstance(row, GroupRow):
            body.append(
                [Text(f"<b>{_text(row.text)}</b>", SMALL), *[""] * (len(table.columns) - 1)]
            )
            style += [
                ("SPAN", (0, line), (-1, line)),
                ("BACKGROUND", (0, line), (-1, line), BAND),
                ("NOSPLIT", (0, line), (-1, line + 1)),
            ]
        else:
            body.append([_cell(cell, c.align) for cell, c in zip(row, table.columns, strict=True)])
    return Grid(
        [*head, *body],
        colWidths=widths,
        repeatRows=len(head),
        style=style,
        spaceAfter=3 * mm,  # a spacer that no longer fits would begin a page of its own
    )


def _widths(table: TextTable, width: float) -> list[float]:
    """In proportion to the weights; what a column lacks for its longest number, or at least for its
    longest word, the others give.
    """
    total = sum(column.weight for column in table.columns)
    shares = [width * column.weight / total for column in table.columns]
    padding = dict.fromkeys(_after_numbers(table), 8 + 3)
    for whole in (True, False):
        least = [
            min(LONGEST_WORD, _longest(table, index, whole)) + padding.get(index, 3 + 3) + 0.5
            for index in range(len(shares))
        ]
        short = sum(max(0.0, need - share) for need, share in zip(least, shares, strict=True))
        spare = sum(max(0.0, share - need) for need, share in zip(least, shares, strict=True))
        if spare >= short and spare:
            return [
                need if share < need else share - (share - need) * short / spare
                for need, share in zip(least, shares, strict=True)
            ]
    return shares


def _longest(table: TextTable, column: int, whole: bool) -> float:
    """Of its words, or of its numbers as a `whole`, in points."""
    cells = {row[column].text for row in table.rows if not isinstance(row, GroupRow)}
    words = {word for text in (table.columns[column].title, *cells) for word in text.split(" ")}
    if whole and table.columns[column].align == "right":
        words |= cells
    return max(float(stringWidth(word, "DejaVu-Bold", SMALL.fontSize)) for word in words)


def _after_numbers(table: TextTable) -> list[int]:
    """Columns whose words begin where the numbers before them end."""
    pairs = enumerate(pairwise(table.columns), start=1)
    return [at for at, (left, right) in pairs if (left.align, right.align) == ("right", "left")]


def _apart(table: TextTable) -> Iterator[tuple[object, ...]]:
    """Room between those numbers and words."""
    for index in _after_numbers(table):
        yield ("LEFTPADDING", (index, 0), (index, -1), 8)


def _head(table: TextTable) -> list[list[object]]:
    """It stands on every page, so it must not fill one."""
    titles: list[object] = [
        Text(f"<b>{_text(title_of(column.title))}</b>", RIGHT if column.align == "right" else SMALL)
        for column in table.columns
    ]
    if not any(column.span for column in table.columns):
        return [titles]
    spans: list[object] = []
    for span, columns in header_spans(table):
        spans += [Text(f"<b>{_text(title_of(span))}</b>", _CENTRED), *[""] * (columns - 1)]
    return [spans, titles]


_CENTRED = ParagraphStyle("centred", parent=SMALL, alignment=1)


def _span_style(table: TextTable, head: int) -> Iterator[tuple[object, ...]]:
    if head == 1:
        return
    start = 0
    for span, columns in header_spans(table):
        if span:
            yield ("SPAN", (start, 0), (start + columns - 1, 0))
            yield ("LINEBELOW", (start, 0), (start + columns - 1, 0), 0.4, LINE)
        start += columns


def _cell(cell: TableCell, align: str) -> Text:
    bold = cell.tone in ("good", "bad", "warn", "broken")
    return Text(
        _toned(_text(cell.text), cell.tone, bold=bold), RIGHT if align == "right" else SMALL
    )
