"""What is said about wrong specs: the place, what is wrong, what is allowed, the nearest name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from harness.errors import Diagnostic, HarnessError, SpecError
from harness.spec.expand import expand
from harness.spec.load import load_table
from tests.conftest import TINY_VIT, Experiments
from tests.spec.specs import GOOD, changed

CASES = yaml.safe_load((Path(__file__).parent / "broken_specs.yaml").read_text(encoding="utf-8"))
WEIGHTS = f"      teacher: {{{TINY_VIT}}}\n"
REPLACING = f"data: {{name: cifar10}}, student: {{{TINY_VIT}}}"


def problems_of(name: str) -> tuple[Diagnostic, ...]:
    """Everything that is said about a spec."""
    try:
        table = load_table(name)
        for profile in table.profiles:
            expand(table, profile)
    except SpecError as error:
        return error.problems
    return ()


def place(text: str) -> tuple[int, int]:
    """Line and column of the mark."""
    before = text.partition("¦")[0]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


@pytest.mark.parametrize("case", CASES)
def test_each_mistake_has_its_place_and_its_words(case: str, experiments: Experiments) -> None:
    text, words = changed(CASES[case]["old"], CASES[case]["new"]), CASES[case]["says"]
    problems = problems_of(experiments.table("paper/good", text.replace("¦", "")))
    said = [problem for problem in problems if words in problem.what]
    assert said, [str(problem) for problem in problems]
    assert {problem.where.file for problem in said} == {"experiments/paper/good.yaml"}
    if "¦" in text:
        assert {(problem.where.line, problem.where.column) for problem in said} == {place(text)}


def test_the_spec_they_are_made_from_is_right(experiments: Experiments) -> None:
    table = load_table(experiments.table("paper/good", GOOD))
    assert [len(expand(table, profile).runs) for profile in table.profiles] == [5, 3]


def test_all_mistakes_of_a_file_are_said_at_once(experiments: Experiments) -> None:
    text = changed("{keep: 8}", "{keep: 99}")
    text = changed("better: lower", "better: lowr", text)
    text = changed("{acc: 72.0}", "{acd: 72.0}", text)
    text = changed("acc[none]", "acc[nine]", text)
    text = changed("recipe: light", "recipe: lite", text)
    problems = problems_of(experiments.table("paper/good", text))
    for words in ("'lowr'", "'acd'", "'nine'", "'lite'"):
        assert any(words in problem.what for problem in problems)
    lines = [problem.where.line for problem in problems]
    assert lines == sorted(lines)


def test_a_mistake_of_the_base_is_said_once(experiments: Experiments) -> None:
    text = changed("heads: 2}\nrows", "heads: two}\nrows")
    problems = problems_of(experiments.table("paper/good", text))
    assert [problem.what for problem in problems] == ["heads: must be a whole number, got 'two'"]


def test_a_mistake_of_one_profile_says_where_it_shows(experiments: Experiments) -> None:
    text = changed("recipe: {epochs: 2}", "recipe: {epochs: 0}")
    problems = problems_of(experiments.table("paper/good", text))
    assert [problem.what for problem in problems] == [
        "epochs: must be above 0, got 0.0 (row 'none' and 1 more at profile 'tiny')"
    ]


def test_a_mistake_in_a_recipe_is_placed_in_its_file(experiments: Experiments) -> None:
    experiments.recipe("light", "epochs: 1\nbatch_size: 64\nlr: fast\n")
    problems = problems_of(experiments.table("paper/good", GOOD))
    assert [str(problem) for problem in problems if "fast" in problem.what] == [
        "experiments/recipes/light.yaml:3:5: "
        "lr: must be a number, got 'fast' (row 'none' and 1 more)"
    ]


def test_recipes_that_are_made_from_one_another(experiments: Experiments) -> None:
    experiments.recipe("light", "from: heavy\n")
    experiments.recipe("heavy", "from: light\n")
    problems = problems_of(experiments.table("paper/good", GOOD))
    assert [str(problem) for problem in problems] == [
        "experiments/recipes/heavy.yaml:1:7: "
        "recipe 'light' is made from itself: light -> heavy -> light"
    ]


def test_a_circle_through_two_tables(experiments: Experiments) -> None:
    def needs(table: str) -> str:
        return changed(WEIGHTS, f"      teacher: {{{TINY_VIT}, weights: {{run: {table}#logit}}}}\n")

    experiments.table("paper/one", needs("paper/two"))
    experiments.table("paper/two", needs("paper/one"))
    words = "depends on itself: paper/two#logit -> paper/one#logit -> paper/two#logit"
    assert any(words in problem.what for problem in problems_of("paper/one"))


def test_a_broken_table_behind_a_dependency_is_said_with_its_own_place(
    experiments: Experiments,
) -> None:
    experiments.table("paper/two", changed("{keep: 8}", "{keep: 0}"))
    uses = changed(WEIGHTS, f"      teacher: {{{TINY_VIT}, weights: {{run: paper/two#logit}}}}\n")
    problems = problems_of(experiments.table("paper/one", uses))
    assert {problem.where.file for problem in problems} == {"experiments/paper/two.yaml"}


def test_unknown_tables_and_files(experiments: Experiments) -> None:
    experiments.table("paper/good", GOOD)
    with pytest.raises(
        HarnessError, match=r"unknown table 'paper/god'; did you mean 'paper/good'\?"
    ):
        load_table("paper/god")
    with pytest.raises(HarnessError, match=r"did you mean 'paper/good'\?"):
        load_table("PAPER/GOOD")
    with pytest.raises(HarnessError, match=r"there is no spec x\.yaml$"):
        load_table("x.yaml")
    with pytest.raises(HarnessError, match="table is called without an ending: paper/good"):
        load_table("paper/good.yaml")


def test_a_spec_that_is_a_list(experiments: Experiments) -> None:
    with pytest.raises(SpecError, match="1:1: a spec must be a mapping"):
        load_table(experiments.table("paper/good", "- a\n"))


def test_a_table_by_its_path(experiments: Experiments, tmp_path: Path) -> None:
    experiments.table("paper/good", GOOD)
    by_path = load_table(str(tmp_path / "experiments" / "paper" / "good.yaml"))
    assert by_path.name == load_table("paper/good").name == "paper/good"


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("{name: fashion-mnist}", "{name: fashion-minst}", "8:16", "unknown data set"),
        (f"student: {{{TINY_VIT}}}", "student: {arch: vitt}", "9:19", "unknown architecture"),
    ],
)
def test_a_name_that_every_row_replaces_is_checked(
    old: str, new: str, place: str, words: str, experiments: Experiments
) -> None:
    text = changed("paper: {}", f"paper: {{base: {{{REPLACING}}}}}", changed(old, new))
    text = changed("base: {recipe: {epochs: 2}}", f"base: {{{REPLACING}}}", text)
    problems = problems_of(experiments.table("paper/good", text))
    assert [str(problem.where) for problem in problems] == [f"experiments/paper/good.yaml:{place}"]
    assert words in problems[0].what


@pytest.mark.parametrize("key", ["paper", "columns", "rows", "profiles"])
def test_a_section_that_is_null_is_missing(key: str, experiments: Experiments) -> None:
    sections = re.split(r"(?m)^(?=\w)", GOOD)
    text = "".join(f"{key}: null\n" if one.startswith(key) else one for one in sections)
    line = text[: text.index("null")].count("\n") + 1
    problems = problems_of(experiments.table("paper/good", text))
    assert (line, f"{key}: must be given, it has no default to reset to") in [
        (problem.where.line, problem.what) for problem in problems
    ]


def test_rows_that_cannot_be_read_are_not_missed(experiments: Experiments) -> None:
    also = "also: [{id: more, set: {method: supervised}}]"
    text = changed("paper: {}", f"paper: {{{also}}}", changed("\nrows:", "\n~:"))
    problems = problems_of(experiments.table("paper/good", text))
    assert {problem.where.file for problem in problems} == {"experiments/paper/good.yaml"}
