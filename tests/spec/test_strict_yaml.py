"""Strict YAML: what scalars mean, and where things stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.errors import Diagnostic, HarnessError, SpecError
from harness.spec.nodes import ListNode, MapNode, ScalarNode
from harness.spec.strict_yaml import parse_yaml, read_yaml


def value(text: str) -> object:
    """What the scalar `text` is read as."""
    node, problems = parse_yaml(f"key: {text}\n", "f.yaml")
    assert not problems
    assert isinstance(node, MapNode)
    child = node.entries["key"]
    assert isinstance(child, ScalarNode)
    return child.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("1e-4", 1e-4), ("1E-4", 1e-4), ("-1e3", -1000.0), ("1.5e+3", 1500.0), (".5", 0.5)],
        *[("0", 0), ("-3", -3), ("+3", 3), ("72.0", 72.0), ("1.", 1.0)],
        *[("true", True), ("false", False), ("null", None)],
        *[('"1e-4"', "1e-4"), ("'null'", "null"), ('".inf"', ".inf")],
        *[(text, text) for text in ("no", "yes", "on", "off", "y", "~", "True", "NULL")],
        *[(text, text) for text in ("10:30", "1:2:3", "010", "0o10", "0x1f", "1_000")],
        *[(text, text) for text in ("2024-01-02", "1e", "e4", "0.5%", "info", "nano")],
    ],
)
def test_scalars_mean_what_they_look_like(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_the_text_of_a_number_is_kept() -> None:
    node, _ = parse_yaml("a: 72.00", "f.yaml")
    assert isinstance(node, MapNode)
    assert isinstance(node.entries["a"], ScalarNode)
    assert node.entries["a"].text == "72.00"


# `¦` marks where the problem is expected
BROKEN = {
    "not a number": ("a: ¦nan", "'nan' is not a finite number"),
    "YAML's infinity": ("a: ¦-.inf", "'-.inf' is not a finite number"),
    "a number too large": ("a: [1, ¦1e999]", "'1e999' is not a finite number"),
    "more digits than Python converts": (f"a: ¦{'9' * 5000}", "is not a finite number"),
    "duplicate key": ("a: 1\nb: 2\n¦a: 3", "key 'a' is given twice (first at 1:1)"),
    "nested duplicate key": ("a: {b: 1, ¦b: 1}", "key 'b' is given twice (first at 1:5)"),
    "no value": ("a:¦\nb: 1", "has no value: write null"),
    "tab": ("a:\n¦\tb: 1", "a tab cannot indent YAML: use spaces"),
    "open bracket": ("a: [1, 2\nb¦: 3", "while parsing a flow sequence that begins at 1:4"),
    "open quote": ('a: "b\nc: d\n¦', "found unexpected end of stream"),
    "quote closed by the next one": (
        'a: {b: "c}\nd: {e: 1, f: "¦%"}',
        "a quote that began at 1:8 ends here",
    ),
    "single quote closed by the next one": (
        "a: 'b\nc: d\ne: '¦f'",
        "a quote that began at 1:4 ends here",
    ),
    "curly quotes": ("a: {b: ¦“c[d] > e”}", "“ is no quote in YAML: write \" or '"),
    "curly quotes around a colon": ("- a: ¦‘b: c’", "‘ is no quote in YAML"),
    "colon in text": ("says: half¦: free", "quote a text that holds ': '"),
    "bad indentation": ("a: 1\n b¦: 2", "check the indentation"),
    "two documents": ("a: 1\n¦---\nb: 2", "a second document begins"),
    "unknown alias": ("a: ¦*b", "there is no anchor &b above"),
    "alias in its anchor": ("a: &x [¦*x]", "&x cannot hold its own alias"),
    "tag": ("a: ¦!!python/object:os.system x", "tags are not part of this format"),
    "a tag that YAML knows": ("a: ¦!!str 1", "tags are not part of this format"),
    "merge key": ("a: &x {b: 1}\nc: {¦<<: *x}", "merge keys are not part of this format"),
    "key that is a list": ("? ¦[a, b]\n: 1", "a key must be a plain word"),
    "reserved sign": ("a: ¦@b", "a value cannot start with"),
    "bad escape": ('a: "¦\\q"', "unknown escape character"),
    "control character": ("a: b\nc: ¦\x07", "control characters are not allowed"),
    "nested too deeply": (f"a: {'[' * 49}¦{'[' * 100_000}", "is nested too deeply"),
    "empty": ("¦", "is empty"),
    "only a comment": ("¦# nothing\n", "is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_yaml_is_said_with_its_place(case: str) -> None:
    text, words = BROKEN[case]
    before = text.partition("¦")[0]
    place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
    problems = broken(text.replace("¦", ""))
    assert [(problem.where.line, problem.where.column) for problem in problems] == [place]
    assert words in problems[0].what


def broken(text: str) -> Sequence[Diagnostic]:
    """The problems of a text, whether it can be read to its end or not."""
    try:
        return parse_yaml(text, "f.yaml")[1]
    except SpecError as error:
        return error.problems


def test_curly_quotes_may_stand_in_a_text() -> None:
    assert value("“half”") == "“half”"
    assert value("'a: “half”'") == "a: “half”"


def test_all_problems_of_a_file_are_found_at_once() -> None:
    _, problems = parse_yaml("a: nan\nb: inf\na: 1\nc:\n", "f.yaml")
    assert [str(problem.where) for problem in problems] == [
        "f.yaml:1:4", "f.yaml:2:4", "f.yaml:3:1", "f.yaml:4:3",
    ]  # fmt: skip


def test_an_alias_is_the_node_of_its_anchor() -> None:
    node, problems = parse_yaml("a: &x {b: 1}\nc: [*x, *x]", "f.yaml")
    assert not problems
    assert isinstance(node, MapNode)
    assert isinstance(node.entries["c"], ListNode)
    assert node.entries["c"].items == (node.entries["a"], node.entries["a"])


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"a: 1\nb: \xff\xfe")
    with pytest.raises(SpecError, match=r"f\.yaml:2:4: is not UTF-8 text"):
        read_yaml(path)
    with pytest.raises(HarnessError, match="cannot read"):
        read_yaml(tmp_path)


def test_windows_line_ends_and_a_byte_order_mark_change_nothing() -> None:
    node, problems = parse_yaml("\ufeffa: 1\r\nb: x\r\n", "f.yaml")
    assert not problems
    assert isinstance(node, MapNode)
    assert {key: child.value for key, _, child in node if isinstance(child, ScalarNode)} == {
        "a": 1,
        "b": "x",
    }


def test_who_reads_a_text_again_has_its_problems_for_himself() -> None:
    problems = parse_yaml("a: nan\n", "again.yaml")[1]
    told = list(problems)
    problems.clear()
    assert parse_yaml("a: nan\n", "again.yaml")[1] == told
    assert parse_yaml("a: nan\n", "other.yaml")[1][0].where.file == "other.yaml"
