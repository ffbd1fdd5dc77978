"""The fonts of PDF files and plots: DejaVu, which matplotlib brings along, and for what it lacks
(Chinese, Japanese, Korean, most emoji) whatever TrueType font of this machine has it.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

from harness.report.plain_matplotlib import matplotlib as mpl  # before what reads its settings

# isort: split
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.ft2font import FT2Font
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont

FACES = {
    "DejaVu": "DejaVuSans.ttf",
    "DejaVu-Bold": "DejaVuSans-Bold.ttf",
    "DejaVu-Italic": "DejaVuSans-Oblique.ttf",
    "DejaVu-BoldItalic": "DejaVuSans-BoldOblique.ttf",
    "DejaVu-Mono": "DejaVuSansMono.ttf",
    "DejaVu-Plain": "DejaVuSans.ttf",  # where the bold or the mono one has no such glyph
}
RIGHT_TO_LEFT = ("R", "AL")
"""Neither library turns Hebrew or Arabic: set from the left it would read backwards."""


@cache
def register() -> None:
    """Make the faces known to reportlab; the ones built into PDF have no ≥ and no λ."""
    for name, file in FACES.items():
        pdfmetrics.registerFont(TTFont(name, str(_own(file))))
    pdfmetrics.registerFontFamily(
        "DejaVu",
        normal="DejaVu",
        bold="DejaVu-Bold",
        italic="DejaVu-Italic",
        boldItalic="DejaVu-BoldItalic",
    )
    _alone("DejaVu-Plain")


@cache
def face(character: str, *, mono: bool = False) -> str | None:
    """The face that has `character`; None if there is none."""
    register()
    if unicodedata.bidirectional(character) in RIGHT_TO_LEFT:
        return None
    code = ord(character)
    if mono and code in _glyphs(_own(FACES["DejaVu-Mono"])):
        return "DejaVu-Mono"
    if not mono and all(code in _glyphs(_own(FACES[name])) for name in ("DejaVu", "DejaVu-Bold")):
        return "DejaVu"
    if code in _glyphs(_own(FACES["DejaVu-Plain"])):
        return "DejaVu-Plain"
    return next((name for path, name in _others() if code in _glyphs(path)), None)


def family(character: str) -> str | None:
    """What matplotlib calls the font of `character`; None if there is none."""
    face_name = face(character)
    if face_name is None or face_name in FACES:
        return None if face_name is None else "DejaVu Sans"
    path = next(path for path, name in _others() if name == face_name)
    return FontProperties(fname=str(path)).get_name()


def _own(file: str) -> Path:
    return Path(mpl.get_data_path()) / "fonts" / "ttf" / file


@cache
def _glyphs(path: Path) -> frozenset[int]:
    return frozenset(FT2Font(str(path)).get_charmap())


@cache
def _others() -> tuple[tuple[Path, str], ...]:
    """Fonts of the machine that reportlab can embed, by path and by what it calls them."""
    fonts = []
    for path in sorted({Path(entry.fname) for entry in fontManager.ttflist}):
        if path.is_relative_to(mpl.get_data_path()) or "dejavu" in path.name.lower():
            continue
        name = f"other-{path.stem}"
        try:
            pdfmetrics.registerFont(TTFont(name, str(path)))
            _glyphs(path)
        except (TTFError, OSError, RuntimeError, ValueError):
            continue  # outlines of another kind, only bitmaps, or no longer there
        _alone(name)
        fonts.append((path, name))
    return tuple(fonts)


def _alone(name: str) -> None:
    """A face that has no bold and no italic one."""
    pdfmetrics.registerFontFamily(name, normal=name, bold=name, italic=name, boldItalic=name)
