"""How pdfLaTeX writes a character: nothing but ASCII, with the packages that `latex` names and the
fonts that every installation has (no text companion font: so no euro).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_TEXT = {
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
    "`": r"\`{}",
    "\N{NO-BREAK SPACE}": "~",
    "–": "--",
    "—": "---",
    "‐": "-",
    "‑": "-",
    "…": r"\dots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "„": ",,",
    "‚": ",",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "¶": r"\P{}",
    "©": r"\copyright{}",
    "®": r"\textregistered{}",
    "™": r"\texttrademark{}",
    "£": r"\pounds{}",
    "¡": "!`",
    "¿": "?`",
    "ª": r"\textsuperscript{a}",
    "º": r"\textsuperscript{o}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "ȷ": r"\j{}",
    "✓": r"\checkmark{}",
    "✔": r"\checkmark{}",
    "«": r"$\ll$",
    "»": r"$\gg$",
}
_MATHS = {
    "−": "-",
    "±": r"\pm",
    "∓": r"\mp",
    "×": r"\times",
    "÷": r"\div",
    "·": r"\cdot",
    "∗": r"\ast",
    "•": r"\bullet",
    "¥": r"\yen",
    "≥": r"\geq",
    "≤": r"\leq",
    "≠": r"\neq",
    "≈": r"\approx",
    "≡": r"\equiv",
    "≪": r"\ll",
    "≫": r"\gg",
    "∼": r"\sim",
    "∝": r"\propto",
    "∞": r"\infty",
    "√": r"\surd",
    "∑": r"\sum",
    "∏": r"\prod",
    "∫": r"\int",
    "∂": r"\partial",
    "∇": r"\nabla",
    "∈": r"\in",
    "∉": r"\notin",
    "∀": r"\forall",
    "∃": r"\exists",
    "∅": r"\emptyset",
    "∩": r"\cap",
    "∪": r"\cup",
    "⊂": r"\subset",
    "⊆": r"\subseteq",
    "∧": r"\wedge",
    "∨": r"\vee",
    "¬": r"\neg",
    "⊕": r"\oplus",
    "⊗": r"\otimes",
    "⊘": r"\oslash",
    "⊙": r"\odot",
    "←": r"\leftarrow",
    "→": r"\rightarrow",
    "↑": r"\uparrow",
    "↓": r"\downarrow",
    "↔": r"\leftrightarrow",
    "⇐": r"\Leftarrow",
    "⇒": r"\Rightarrow",
    "⇔": r"\Leftrightarrow",
    "↦": r"\mapsto",
    "°": r"{}^{\circ}",
    "′": r"{}^{\prime}",
    "⟨": r"\langle",
    "⟩": r"\rangle",
    "‖": r"\Vert",
    "ℓ": r"\ell",
    "ℝ": r"\mathbb{R}",
    "✗": r"\times",
    "✘": r"\times",
    "▲": r"\blacktriangle",
    "▼": r"\blacktriangledown",
    "△": r"\triangle",
    "▽": r"\triangledown",
    "○": r"\circ",
    "●": r"\bullet",
    "□": r"\square",
    "■": r"\blacksquare",
    "★": r"\bigstar",
    "◇": r"\diamond",
}
_GREEK = re.compile(
    "(alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau|"
    "upsilon|phi|chi|psi|omega)"
)
_GREEK_CAPITALS = re.compile("(Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega)")
_LIKE_LATIN = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEZHIKMNOPTXo", strict=True))
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0323": "d",
    "\u0327": "c",
    "\u0331": "b",
}


@lru_cache(maxsize=4096)
def in_tex(character: str) -> str | None:
    """The commands that print `character`; None where pdfLaTeX has nothing for it."""
    if character in _TEXT:
        return _TEXT[character]
    if " " <= character <= "~":
        return character
    maths = _MATHS.get(character) or _greek(character)
    if maths:
        return f"${maths}$"
    if character in _LIKE_LATIN:
        return _LIKE_LATIN[character]
    if character.isspace():
        return " "
    return _composed(character)


def _greek(character: str) -> str | None:
    if character in "ςϵϑϕ":
        return {"ς": r"\varsigma", "ϵ": r"\epsilon", "ϑ": r"\vartheta", "ϕ": r"\phi"}[character]
    name = unicodedata.name(character, "")
    for case, letters in (("SMALL", _GREEK), ("CAPITAL", _GREEK_CAPITALS)):
        word = name.removeprefix(f"GREEK {case} LETTER ").lower().replace("lamda", "lambda")
        word = word if case == "SMALL" else word.capitalize()
        if name.startswith(f"GREEK {case} LETTER ") and letters.fullmatch(word):
            return f"\\{word}"
    return r"\mu" if character == "\N{MICRO SIGN}" else None


def _composed(character: str) -> str | None:
    """A Latin letter with its accents; digits and letters set high or low, and fractions."""
    parts = unicodedata.decomposition(character).split()
    if parts[:1] in (["<super>"], ["<sub>"]) and len(parts) == 2:
        inner = in_tex(chr(int(parts[1], 16)))
        kind = "^" if parts[0] == "<super>" else "_"
        plain = inner is not None and len(inner) == 1 and inner.isalnum()
        return f"${{}}{kind}{{{inner}}}$" if plain else None
    if parts[:1] == ["<fraction>"]:
        return "".join("/" if part == "2044" else chr(int(part, 16)) for part in parts[1:])
    letter, *marks = list(unicodedata.normalize("NFD", character))
    if not marks or not letter.isascii() or not letter.isalpha():
        return None
    if any(mark not in _ACCENTS for mark in marks):
        return None
    made = {"i": r"\i", "j": r"\j"}.get(letter, letter)
    for mark in marks:
        made = f"\\{_ACCENTS[mark]}{{{made}}}"
    return made
