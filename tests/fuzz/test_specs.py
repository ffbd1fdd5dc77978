# ruff: noqa: E501
"""2,000 mutated specs from one seed: each is a table or a list of places and sentences, quickly."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import HarnessError, SpecError
from harness.spec.expand import expand
from harness.spec.load import load_table
from tests.conftest import Experiments
from tests.spec.specs import GOOD

CASES = 2_000
MOST_SECONDS = 5.0  # of processor time for one spec, on the slowest machine
PLACED = re.compile(r"\S+\.yaml:\d+:\d+: \S")
VALUES = """
null | true | no | 0 | -1 | -5 | 1e300 | 1e-300 | 1e999 | nan | .inf | 99999999999999999999 | 1_000
0x10 | 010 | "8" | '' | [] | {} | [[]] | {a: {b: c}} | *x | &x 1 | !!python/object:os.system x | <<
rand-m9-n99999999999 | ../../x | "é\\u202e\\0" | 2024-01-01 | 1:30 | ~ | 1e17 | [1, 2, 3] | '{keep}'
| 0.5% | "#logit" | logit | none | fashion-mnist | vit | distillation | {name: logit} | {from: light}
{run: "#none"} | {file: /dev/zero} | {hub: x} | {keep: 8, criterion: random} | -0 | 1. | .5 | "a: b"
"""
WORDS = [word.strip() for line in VALUES.splitlines() for word in line.split("|") if word.strip()]
PARTS = re.findall(r"[A-Za-z_]+(?=:)|\d[\d.e-]*|\S+", GOOD)
TOKEN = re.compile(r"\"[^\"]*\"|[A-Za-z_][\w.-]*|[\d.]+%?|[\[\]{},:\-#*&!|>]")


def other_value(text: str, draw: random.Random) -> str:
    """One token is another."""
    token = draw.choice(list(TOKEN.finditer(text)))
    return text[: token.start()] + draw.choice(WORDS + PARTS) + text[token.end() :]


def other_character(text: str, draw: random.Random) -> str:
    """Some characters are others."""
    letters = list(text)
    for _ in range(draw.choice([1, 1, 2, 10])):
        at = draw.randrange(len(letters))
        letters[at] = draw.choice([*" \t\n:-[]{}\"'&*!#|>%@`\\\0\x85é\u202e\ufeff", ""])
    return "".join(letters)


def moved_lines(text: str, draw: random.Random) -> str:
    """Lines are doubled, dropped, exchanged or indented otherwise."""
    lines = text.split("\n")
    at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    change = draw.randrange(4)
    if change == 0:
        lines.insert(at, lines[other])
    elif change == 1:
        del lines[at]
    elif change == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at] = " " * draw.randrange(6) + lines[at].lstrip()
    return "\n".join(lines)


def large(text: str, draw: random.Random) -> str:
    """Much of something."""
    some = draw.choice(
        [
            lambda: text.replace("seeds: [0, 1]", f"seeds: [{', '.join(map(str, range(200_000)))}]"),
            lambda: text.replace("id: none", "id: 'n{keep}{lr}{eps}'").replace(
                "set: {method: supervised}",
                "grid: {a.keep: &g [" + ", ".join(map(str, range(999))) + "], b.lr: *g, c.eps: *g}",
            ),
            lambda: (
                "x: &a0 [1, 2]\n" + "".join(f"x{i}: &a{i} [{f'*a{i - 1}, ' * 8}]\n" for i in range(1, 31))
                + text
            ),
            lambda: "".join(f"x{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 3000)) + text,
            lambda: text + "x: " + "[" * draw.randrange(1, 9000),
            lambda: text + f"note: '{'n' * draw.randrange(2_000_000)}'\n",
            lambda: text.replace("  - id: logit", "".join(
                f"  - {{id: r{i}, set: {{method: supervised, student: {{{'arch: vit_tiny_patch16_224'}, "
                f"weights: {{run: '#r{i + 1}'}}}}}}}}\n" for i in range(600)) + "  - id: logit"),
            lambda: text.replace("rows:", "rows:\n" + "  - {id: none}\n" * 3000, 1),
            lambda: "? " * draw.randrange(1, 3000) + text,
            lambda: text.replace("profiles:", "profiles:\n" + "".join(
                f"  p{i}: {{description: x}}\n" for i in range(300)), 1),
            lambda: text.replace("acc[logit]", "acc[" + "l" * draw.randrange(15_000) + "]"),
        ]
    )  # fmt: skip
    return some()


MUTATIONS: list[Callable[[str, random.Random], str]] = [
    other_value, other_value, other_value, other_character, moved_lines,
]  # fmt: skip


def mutated(case: int) -> bytes:
    draw = random.Random(case)
    text = GOOD
    if case % 40 == 0:
        text = large(text, draw)
    for _ in range(draw.choice([0, 1, 1, 2, 4]) if case % 40 == 0 else draw.choice([1, 1, 2, 4])):
        text = draw.choice(MUTATIONS)(text, draw)
    encoding = draw.choice(["utf-8"] * 20 + ["utf-16", "utf-8-sig", "latin-1"])
    content = text.encode(encoding, errors="replace")
    if draw.random() < 0.03:
        content = content.replace(b"\n", b"\r\n")
    return content if draw.random() > 0.02 else content[: draw.randrange(len(content))]


def problems_of(name: str) -> Iterator[str]:
    """What is said of a spec, line by line; nothing where it is right."""
    try:
        table = load_table(name)
        for profile in table.profiles:
            expand(table, profile)
    except SpecError as error:
        yield from str(error).split("\n")
    except HarnessError as error:
        yield f"{name}.yaml:1:1: {error}"


@pytest.mark.parametrize("part", range(4))
def test_mutated_specs_are_read_or_refused_with_places(part: int, experiments: Experiments) -> None:
    right = 0
    path = Path(experiments.root / "experiments" / "paper" / "good.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(GOOD, encoding="utf-8")
    for case in range(part, CASES, 4):
        path.write_bytes(mutated(case))
        before = time.process_time()
        said = list(problems_of("paper/good"))
        assert time.process_time() - before < MOST_SECONDS, case
        right += not said
        for line in said:
            assert PLACED.match(line), (case, line)
            assert len(line) < 8_000, (case, line)
    assert 0 < right < CASES / 8
