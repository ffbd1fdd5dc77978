"""Groups of rows, networks and profiles that are named once, stand-ins, claims over a grid."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.bounds import KeptCount
from harness.errors import HarnessError, SpecError
from harness.methods import Method
from harness.methods.masked_student import MaskedStudent
from harness.spec.expand import expand
from harness.spec.fields import paths_to
from harness.spec.load import load_table
from harness.spec.table import TableSpec
from harness.train.config import TrainConfig
from tests.conftest import TINY_VIT, Experiments

NETWORKS = f"""
large: {{from: small, heads: 4}}
larger: {{from: large, depth: 3}}
small: {{{TINY_VIT}}}
"""

SMALL = """
    description: scaled down
    seeds: [3, 4]
    resources: {threads: 2}
    stand_ins:
      networks: {large: small, larger: {from: small, depth: 1}}
      recipes: {heavy: light}
      keep: {12: 5}
    base: {recipe: {epochs: 4}}
    also:
      - {id: extra, set: {student: small, method: supervised}}
"""

SPEC = """
    paper: {title: A paper, arxiv: "2302.10494"}
    columns:
      acc: {from: train, metric: val/top1, better: higher}
    base: {recipe: heavy, data: {name: fashion-mnist}}
    rows:
      - {id: none, label: Alone, group: Student, set: {student: large, method: supervised}}
      - group: Distilled
        note: of both
        confidence: reconstructed
        set: {student: large, teacher: larger, method: {name: distillation}}
        rows:
          - {id: all, label: All, published: {acc: 75.0}}
          - id: part
            label: Part
            set: {method: {mask: {keep: 12}}}
            published: {acc: {value: 74.0, confidence: uncertain}}
          - {id: wide, note: its own, from: part, set: {student: {heads: 1}}}
    claims:
      - id: "{row}-helps"
        text: "{row} helps"
        holds: "acc[{row}] > acc[none]"
        grid: {row: [all, part]}
    profiles:
      paper: {}
      tiny:
        from: small
        description: and tiny
        resources: {workers: 1}
        rows: [none, part]
"""


@pytest.fixture
def project(experiments: Experiments) -> Experiments:
    """Shared recipes, networks and a profile."""
    experiments.recipe("heavy", "epochs: 9\nbatch_size: 16\nlr: 1e-2\n")
    folder = experiments.root / "experiments"
    (folder / "networks.yaml").write_text(NETWORKS, encoding="utf-8")
    (folder / "profiles").mkdir()
    (folder / "profiles" / "small.yaml").write_text(SMALL, encoding="utf-8")
    return experiments


@pytest.fixture
def table(project: Experiments) -> TableSpec:
    """The spec, loaded."""
    return load_table(project.table("paper/pieces", SPEC))


def config_of(table: TableSpec, profile: str, row: str) -> TrainConfig:
    """The complete configuration of a row."""
    return expand(table, profile, rows=row).rows[0].config


def said(project: Experiments, old: str, new: str) -> str:
    """What is wrong with the spec once `old` reads `new`."""
    assert SPEC.count(old) == 1
    with pytest.raises(SpecError) as error:
        load_table(project.table("paper/pieces", SPEC.replace(old, new)))
    return str(error.value)


def test_a_group_gives_its_rows_heading_note_settings_and_confidence(table: TableSpec) -> None:
    rows = {row.id: row for row in table.rows}
    assert [row.group for row in rows.values()] == ["Student", *["Distilled"] * 3]
    assert [row.note for row in rows.values()] == ["", "of both", "of both", "its own"]
    published = [rows[row].published["acc"].confidence for row in ("all", "part")]
    assert published == ["reconstructed", "uncertain"]
    assert config_of(table, "paper", "part").method.mask.keep == 12  # type: ignore[attr-defined]


def test_a_row_may_start_from_another(table: TableSpec) -> None:
    config = config_of(table, "paper", "wide")
    assert (config.student.heads, config.student.depth) == (1, 2)
    assert config.method.mask.keep == 12  # type: ignore[attr-defined]
    assert not table.rows[-1].published


def test_networks_are_named_once_and_made_of_each_other(table: TableSpec) -> None:
    config = config_of(table, "paper", "all")
    assert config.teacher is not None
    assert (config.student.heads, config.student.depth) == (4, 2)
    assert (config.teacher.heads, config.teacher.depth) == (4, 3)


def test_a_profile_starts_from_a_shared_one(table: TableSpec) -> None:
    tiny = table.profile("tiny")
    assert tiny.description == "scaled down; and tiny"
    assert tiny.seeds == (3, 4)
    assert (tiny.resources.threads, tiny.resources.workers) == (2, 1)
    assert [row.id for row in tiny.rows] == ["none", "part", "extra"]
    assert [claim.id for claim in tiny.claims] == ["part-helps"]


def test_what_stands_in_takes_the_place_of_what_the_table_names(table: TableSpec) -> None:
    config = config_of(table, "tiny", "part")
    assert config.teacher is not None
    assert (config.student.heads, config.teacher.heads, config.teacher.depth) == (2, 2, 1)
    assert (config.recipe.epochs, config.recipe.batch_size) == (4, 64)
    assert config.method.mask.keep == 5  # type: ignore[attr-defined]


def test_a_claim_over_a_grid_is_one_for_every_point(table: TableSpec) -> None:
    assert [(claim.id, claim.text, str(claim.holds)) for claim in table.claims] == [
        ("all-helps", "all helps", "acc[all] > acc[none]"),
        ("part-helps", "part helps", "acc[part] > acc[none]"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("teacher: larger,", "teacher: larget,", "unknown network 'larget'; did you mean 'large"),
        ("from: small\n", "from: smal\n", "unknown profile 'smal'; did you mean 'small'?"),
        ("from: part,", "from: prt,", "from: unknown row 'prt'; did you mean 'part'?"),
        ('id: "{row}-helps"', "id: helps", "the id of a grid must hold its values"),
        ("[none, part]", "[]", "rows: a profile needs at least one"),
        ('id: "{row}-helps"', "source: ours", "key 'source' is now written as `added_by_us: true`"),
        (
            "[none, part]",
            "none, part",
            "rows: must be a list, got 'none, part'; write it in brackets: [none, part]",
        ),
        ('arxiv: "2302.10494"', "arxiv: @x", "a value cannot start with '@': write it in quotes"),
        ('        text: "', '       text: "', "check the indentation of both"),
        ("tiny:\n", "cpu:\n", "profile 'cpu' is now called 'fashion-mnist'"),
        ("[none, part]", "[none, {id: part, from: all}]", "from: only new rows can have one"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, words: str, project: Experiments) -> None:
    assert words in said(project, old, new)


def test_a_folder_without_what_specs_share_says_where_to_get_it(project: Experiments) -> None:
    shared = project.root / "experiments"
    for piece in ("networks.yaml", "recipes", "profiles"):
        (shared / piece).rename(project.root / piece)
    with pytest.raises(SpecError) as error:
        load_table(project.table("paper/pieces", SPEC))
    for piece in ("networks.yaml", "recipes/", "profiles/"):
        assert f"{shared} has no {piece}: copy it from the harness's own" in str(error.value)


def test_a_stand_in_for_kept_patches_serves_every_method_that_keeps_some(
    project: Experiments,
) -> None:
    other = "{method: {name: masked-student, keep: 12}}"
    text = SPEC.replace("{method: {mask: {keep: 12}}}", other)
    table = load_table(project.table("paper/pieces", text))
    method = expand(table, "tiny", rows="part").rows[0].config.method
    assert isinstance(method, MaskedStudent)
    assert method.keep == 5
    assert paths_to(Method, KeptCount) == {("mask", "keep"), ("keep",)}


def test_a_small_network_stands_in_for_itself(project: Experiments) -> None:
    text = SPEC.replace("student: large, teacher", "student: small, teacher")
    with pytest.raises(SpecError, match="no stand-in for the network 'small'"):
        expand(load_table(project.table("paper/pieces", text)), "tiny")
    own = "        stand_ins: {networks: {small: small}}\n        from: small\n"
    table = load_table(project.table("paper/pieces", text.replace("        from: small\n", own)))
    assert expand(table, "tiny", rows="part").rows[0].config.student.width == 16


def test_a_network_without_a_stand_in_is_told(project: Experiments) -> None:
    file = project.root / "experiments" / "profiles" / "small.yaml"
    file.write_text(SMALL.replace("large: small, larger: {from: small, depth: 1}", "large: small"))
    with pytest.raises(SpecError, match="no stand-in for the network 'larger'"):
        expand(load_table(project.table("paper/pieces", SPEC)), "tiny")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("heavy: light", "light: light", "no stand-in for the recipe 'heavy' at "),
        ("12: 5", "13: 5", "no stand-in for 12 kept patches at "),
        (
            "heavy: light",
            "hevy: light, heavy: light",
            "unknown recipe 'hevy'; did you mean 'heavy'",
        ),
        (
            "large: small,",
            "large: small, lrge: small,",
            "unknown network 'lrge'; did you mean 'lar",
        ),
        ("12: 5", "12: 5, 50%: 8", "keep: must be a whole number of patches, got '50%'"),
    ],
)
def test_a_slip_in_a_stand_in_is_told(old: str, new: str, words: str, project: Experiments) -> None:
    assert SMALL.count(old) == 1
    file = project.root / "experiments" / "profiles" / "small.yaml"
    file.write_text(SMALL.replace(old, new))
    with pytest.raises(SpecError, match=words):
        expand(load_table(project.table("paper/pieces", SPEC)), "tiny")


def test_a_number_without_a_stand_in_says_what_to_do(project: Experiments) -> None:
    fewer = "          - {id: fewer, set: {method: {mask: {keep: 9}}}}\n"
    text = SPEC.replace("          - {id: all", f"{fewer}          - {{id: all")
    table = load_table(project.table("paper/pieces", text.replace("[none, part]", "[fewer]")))
    with pytest.raises(SpecError) as error:
        expand(table, "tiny")
    assert str(error.value) == (
        "experiments/paper/pieces.yaml:13:49: no stand-in for 9 kept patches at "
        "experiments/profiles/small.yaml:8:13 (there are: 12: 5); add `stand_ins: {keep: {9: "
        "...}}` to the table's profile, or change the row there, `{id: ROW, set: {...}}` (row "
        "'fewer' at profile 'tiny')"
    )
    assert expand(table, "paper", rows="fewer").rows  # no other profile asks for it
    added = "[fewer]\n        stand_ins: {keep: {9: 4}}"
    table = load_table(project.table("paper/pieces", text.replace("[none, part]", added)))
    assert config_of(table, "tiny", "fewer").method.mask.keep == 4  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("old", "new", "row"),
    [
        ("mask: {keep: 12}", "mask: {keep: 9}", "{id: part, set: {method: {mask: {keep: 3}}}}"),
        ("recipe: heavy", "recipe: light", "{id: part, set: {recipe: light}}"),
        (
            "{student: large, teacher",
            "{student: small, teacher",
            "{id: part, set: {student: small}}",
        ),
        (
            "{student: large, teacher",
            "{student: small, teacher",
            f"{{id: part, set: {{student: {{{TINY_VIT}}}}}}}",
        ),
    ],
)
def test_what_the_row_of_a_profile_sets_needs_no_stand_in(
    old: str, new: str, row: str, project: Experiments
) -> None:
    assert SPEC.count(old) == 1
    text = SPEC.replace(old, new)
    table = load_table(project.table("paper/pieces", text))
    with pytest.raises(SpecError, match="no stand-in for "):
        expand(table, "tiny", rows="part")
    table = load_table(project.table("paper/pieces", text.replace("[none, part]", f"[{row}]")))
    assert config_of(table, "tiny", "part")


def test_a_profile_that_cannot_be_read_is_one_problem(project: Experiments) -> None:
    (project.root / "experiments" / "profiles" / "small.yaml").write_text("")
    text = said(project, "    description: and tiny\n", "    seeds: [1]\n")
    assert text.splitlines() == ["experiments/profiles/small.yaml:1:1: is empty"]


@pytest.mark.parametrize("content", ["", "small: [", "- small"])
def test_networks_that_cannot_be_read_are_one_problem(project: Experiments, content: str) -> None:
    """Not an unknown name wherever a table asks for one of them."""
    (project.root / "experiments" / "networks.yaml").write_text(content)
    with pytest.raises(SpecError) as caught:
        load_table(project.table("paper/pieces", SPEC))
    (problem,) = caught.value.problems
    assert problem.where.file.endswith("experiments/networks.yaml")


def test_a_network_cannot_be_made_of_itself(project: Experiments) -> None:
    (project.root / "experiments" / "networks.yaml").write_text(
        f"large: {{from: larger}}\nlarger: {{from: large}}\nsmall: {{{TINY_VIT}}}\n"
    )
    with pytest.raises(SpecError, match="is made from itself: large -> larger -> large"):
        load_table(project.table("paper/pieces", SPEC))


def test_a_run_of_another_table_is_taken_at_the_shared_profile(project: Experiments) -> None:
    project.table(
        "paper/teachers",
        f"""
        paper: {{title: Teachers}}
        columns: {{acc: {{from: train, metric: val/top1}}}}
        base: {{recipe: light, data: fashion-mnist, method: supervised, student: {{{TINY_VIT}}}}}
        rows: [{{id: big}}]
        profiles:
          paper: {{}}
          small: {{description: smaller, base: {{recipe: {{epochs: 1}}}}}}
        """,
    )
    taught = SMALL.replace("larger: {from: small,", "larger: {from: small, weights: *taught,")
    taught = taught.replace("*taught", '{run: "paper/teachers#big"}').replace(
        "depth: 1", "depth: 2"
    )
    (project.root / "experiments" / "profiles" / "small.yaml").write_text(taught)
    found = expand(load_table(project.table("paper/pieces", SPEC)), "tiny", rows="part")
    (teacher,) = (run for run in found.runs if run.title.table == "paper/teachers")
    assert (teacher.title.profile, teacher.plain["train"]["recipe"]["epochs"]) == ("small", 1.0)


def test_a_description_in_the_old_key_is_not_missing(project: Experiments) -> None:
    text = SPEC.replace("        from: small\n", "").replace("description:", "says:")
    with pytest.raises(SpecError) as error:
        load_table(project.table("paper/pieces", text))
    assert "key 'says' is now called 'description'" in str(error.value)
    assert "is missing" not in str(error.value)


UPPER = """
    from: small
    description: smaller still
    seeds: [5]
    stand_ins: {networks: {large: {from: small, depth: 1}}, keep: {11: 4}}
    base: {recipe: {lr: 3e-3}}
    preconditions:
      helps: {text: It helps, holds: "acc[all] > acc[none]", source: Figure 1}
    also:
      - {id: other, set: {student: small, method: supervised}}
"""


def shared(project: Experiments, **profiles: str) -> None:
    """Shared profiles beside `small`."""
    folder = project.root / "experiments" / "profiles"
    for name, text in profiles.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def test_a_shared_profile_starts_from_another(project: Experiments) -> None:
    shared(project, upper=UPPER, top="from: upper\nresources: {threads: 3}\n")
    text = SPEC.replace("from: small\n", "from: top\n        given: [helps]\n")
    table = load_table(project.table("paper/pieces", text.replace("[none, part]", "[none, all]")))
    tiny = table.profile("tiny")
    assert tiny.starts_from == ("top", "upper", "small")
    assert tiny.description == "smaller still; and tiny"
    assert tiny.seeds == (5,)
    assert (tiny.resources.threads, tiny.resources.workers) == (3, 1)
    assert [row.id for row in tiny.rows] == ["none", "all", "extra", "other"]
    assert [one.text for one in tiny.claims[0].given] == ["It helps"]
    config = config_of(table, "tiny", "all")
    assert config.teacher is not None
    # of `upper` the student, of `small` the teacher, the epochs and the recipe that stands in
    assert (config.student.depth, config.teacher.depth) == (1, 1)
    assert (config.student.heads, config.teacher.heads) == (2, 2)
    assert (config.recipe.epochs, config.recipe.lr) == (4, 3e-3)


@pytest.mark.parametrize(
    ("upper", "problem"),
    [
        ("\nfrom: upper\n", "2:7: profile 'upper' is made from itself: upper -> upper"),
        ("from: smal\n", "1:7: unknown profile 'smal'; did you mean 'small'?"),
        ("from: {a: b}\n", "1:7: from: must be a text, got a mapping"),
        ("from: 3\n", "1:7: from: must be the name of a profile"),
    ],
)
def test_what_a_shared_profile_cannot_start_from(
    project: Experiments, upper: str, problem: str
) -> None:
    shared(project, upper=upper)
    lines = said(project, "from: small\n", "from: upper\n").splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"experiments/profiles/upper.yaml:{problem}"), lines


def test_shared_profiles_that_start_from_each_other(project: Experiments) -> None:
    shared(project, upper="from: other\n", other="from: upper\n")
    text = said(project, "from: small\n", "from: upper\n")
    circle = "profile 'upper' is made from itself: upper -> other -> upper"
    assert text == f"experiments/profiles/other.yaml:1:7: {circle}"


def test_the_old_name_of_a_profile_is_told(project: Experiments) -> None:
    text = SPEC.replace("tiny:\n", "fashion-mnist:\n")
    table = load_table(project.table("paper/pieces", text))
    with pytest.raises(HarnessError, match="profile 'cpu' is now called 'fashion-mnist'"):
        table.profile("cpu")


def test_shared_pieces_are_no_tables(project: Experiments, table: TableSpec) -> None:
    from harness.spec.load import list_tables

    assert list_tables() == ["paper/pieces"]
    assert Path(table.path).name == "pieces.yaml"
