"""Small damage to bytes and text, drawn from a seeded generator."""

from __future__ import annotations

import random
import re

VALUES = (
    *(
        "null",
        "true",
        "[]",
        "{}",
        "''",
        "~",
        "-1",
        "0",
        "1",
        "1e3",
        "1e308",
        "1e999",
        ".nan",
        ".inf",
    ),
    *("-.inf", "99999999999999999999", "0x7f", "0o17", "1_000", "1:30", "2020-01-01", "yes", "'1'"),
    *("[1, 2]", "{a: 1}", "[[[[]]]]", "{cpus: 1}", "!!python/name:os.system", "!!binary x", "&a 1"),
    *(
        "*a",
        "<<: *a",
        "'\\0'",
        '"\\0"',
        '"\\x1b[31m"',
        "\u202eabc",
        "\U0001f600",
        "\ufeff",
        "|",
        ">",
    ),
    *("${HOME}", "$(touch x)", "`x`", "a;b", "a\tb", "%j", "-", "?", ":", "@", "x" * 5000),
)


def damaged(content: bytes, draws: random.Random) -> bytes:
    """One to four of: bits flipped, cut short, bytes gone, doubled, zeroed, set to extremes."""
    found = bytearray(content)
    for _ in range(draws.randint(1, 4)):
        at = draws.randrange(len(found) + 1) if draws.random() < 0.5 else draws.randrange(64)
        at = min(at, len(found))
        length = draws.choice((1, 2, 4, 8, 64))
        match draws.randrange(7):
            case 0 if found:
                found[min(at, len(found) - 1)] ^= 1 << draws.randrange(8)
            case 1:
                del found[at:]
            case 2:
                del found[at : at + length]
            case 3:
                found[at:at] = found[at : at + length]
            case 4:
                found[at : at + length] = bytes(len(found[at : at + length]))
            case 5:
                found[at : at + length] = b"\xff" * len(found[at : at + length])
            case _:
                found[at : at + length] = draws.randbytes(len(found[at : at + length]))
    return bytes(found)


def rewritten(text: str, draws: random.Random) -> str:
    """YAML with one to three of: a value, key, indentation or line changed, or bare damage."""
    for _ in range(draws.randint(1, 3)):
        lines = text.splitlines() or [""]
        at = draws.randrange(len(lines))
        line = lines[at]
        match draws.randrange(9):
            case 0 | 1 | 2:
                keys = [one.end() for one in re.finditer(r"[:\[{,] ?", line)]
                start = draws.choice(keys) if keys else 0
                end = next((i for i in range(start, len(line)) if line[i] in ",]}#"), len(line))
                lines[at] = line[:start] + " " + draws.choice(VALUES) + line[end:]
            case 3:
                lines[at] = re.sub(
                    r"\w+(?=:)", draws.choice(("cpu", "x", "", "node", "a b")), line, count=1
                )
            case 4:
                lines[at] = " " * draws.randint(0, 4) + line.strip()
            case 5:
                lines.insert(at, line)
            case 6:
                del lines[at]
            case 7:
                lines[at] = line[: draws.randrange(len(line) + 1)]
            case _:
                cut = draws.randrange(len(line) + 1)
                lines[at] = line[:cut] + draws.choice("{}[],:#&*!|>'\"%@`\t\x07\x00é") + line[cut:]
        text = "\n".join(lines) + "\n"
    return text
