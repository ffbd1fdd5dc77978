"""What a spec becomes: columns, cells, rows, grids, profiles."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.report.collect import collect
from harness.spec.expand import expand
from harness.spec.load import list_tables, load_table
from harness.spec.table import Published, TableSpec, Tolerance
from harness.store import Store
from tests.conftest import TINY_VIT, Experiments
from tests.spec.specs import GOOD, changed


@pytest.fixture
def good(experiments: Experiments) -> TableSpec:
    """The good spec, loaded."""
    return load_table(experiments.table("paper/good", GOOD))


def test_what_stands_in_the_file_is_in_the_table(good: TableSpec) -> None:
    assert good.paper.arxiv == "2302.10494"
    assert list(good.columns) == ["acc", "pflops"]
    assert (good.columns["acc"].label, good.columns["pflops"].label) == ("Top-1", "pflops")
    assert good.columns["pflops"].task.name == "cost"
    assert good.columns["acc"].tolerance == Tolerance(value=0.3)
    assert good.columns["pflops"].tolerance == Tolerance(value=0.005, relative=True)
    assert [row.label for row in good.rows] == ["No distillation", "logit"]
    assert good.rows[1].published["pflops"].note == "scanned"
    assert good.default_profile == "paper"


def test_an_arxiv_number_needs_no_quotes(experiments: Experiments) -> None:
    text = changed('arxiv: "2302.10494", table: "2"', "arxiv: 2302.10490, table: 2")
    paper = load_table(experiments.table("paper/good", text)).paper
    assert (paper.arxiv, paper.table) == ("2302.10490", "2")


@pytest.mark.parametrize(
    ("text", "value", "decimals"),
    [("72.0", 72.0, 1), ("72", 72.0, 0), ("1770", 1770.0, 0), ("0.50", 0.5, 2), ("-1.25", -1.25, 2),
     ("7.5e1", 75.0, 0), ("7.52e1", 75.2, 1), ("5e-4", 5e-4, 4), ("12.", 12.0, 0)],
)  # fmt: skip
def test_decimals_come_from_the_text_of_a_number(
    text: str, value: float, decimals: int, experiments: Experiments
) -> None:
    bare = changed("{acc: 72.0}", f"{{pflops: {text}}}")
    full = changed("{acc: 72.0}", f"{{pflops: {{value: {text}, source: x}}}}")
    for spec in (bare, full):
        cell = load_table(experiments.table("paper/good", spec)).rows[0].published["pflops"]
        assert (cell.value, cell.decimals) == (value, decimals)


def test_a_cell_that_the_paper_does_not_print(experiments: Experiments) -> None:
    table = load_table(
        experiments.table("paper/good", changed("{acc: 72.0}", "{acc: 72.0, pflops: null}"))
    )
    assert list(table.rows[0].published) == ["acc"]
    assert str(table.rows[0].published["acc"]) == "72.0"
    assert isinstance(table.rows[0].published["acc"], Published)


def test_rows_of_a_profile_come_in_its_order(experiments: Experiments) -> None:
    rows = "rows: [logit, '*']"
    text = changed("rows: [none, {id: logit, set: {recipe: {lr: 1e-2}}}]", rows)
    profile = load_table(experiments.table("paper/good", text)).profiles["tiny"]
    assert [row.id for row in profile.rows] == ["logit", "none"]


def test_layers_win_in_their_order(experiments: Experiments) -> None:
    text = f"""
        paper: {{title: A paper}}
        columns: {{acc: {{from: train, metric: val/top1}}}}
        base:
          data: fashion-mnist
          student: {{{TINY_VIT}}}
          method: supervised
          recipe: {{from: light, lr: 9, min_lr: 1, warmup_lr: 1, weight_decay: 1, eps: 1}}
        rows: [{{id: a, set: {{recipe: {{min_lr: 2, warmup_lr: 2, weight_decay: 2, eps: 2}}}}}}]
        profiles:
          p:
            description: layers
            base: {{recipe: {{warmup_lr: 3, weight_decay: 3, eps: 3}}}}
            rows:
              - {{id: a, set: {{recipe: {{weight_decay: 4, eps: 4}}}}}}
              - {{id: "*", set: {{recipe: {{eps: 5}}}}}}
              - {{id: b, set: {{recipe: {{eps: 6}}}}}}
              - {{id: c, set: {{recipe: light}}}}
        """
    table = load_table(experiments.table("paper/layers", text))
    rows = {row.row.id: row.config for row in expand(table, "p").rows}
    assert rows.keys() == {"a", "b", "c"}
    recipes = {key: config.recipe for key, config in rows.items()}
    a, b, c = recipes["a"], recipes["b"], recipes["c"]
    assert (a.lr, a.min_lr, a.warmup_lr, a.weight_decay, a.eps) == (9, 2, 3, 4, 5)
    assert (b.lr, b.min_lr, b.warmup_lr, b.weight_decay, b.eps) == (9, 1, 3, 3, 6)
    assert (c.lr, c.min_lr, c.warmup_lr, c.weight_decay, c.eps) == (1e-3, 0, 0, 0.05, 1e-8)


def test_an_override_changes_what_it_gives_and_keeps_the_rest(experiments: Experiments) -> None:
    text = changed("{id: logit, set: ", "{id: logit, label: other, group: g, set: ")
    row = load_table(experiments.table("paper/good", text)).profiles["tiny"].rows[1]
    assert (row.id, row.label, row.group) == ("logit", "other", "g")
    assert row.published["acc"].value == 75.0


def test_claims_follow_the_rows_of_a_profile(experiments: Experiments) -> None:
    text = changed("rows: [none, {id: logit, set: {recipe: {lr: 1e-2}}}]", "rows: [none]")
    table = load_table(experiments.table("paper/good", text))
    assert [claim.id for claim in table.profiles["paper"].claims] == ["helps"]
    assert table.profiles["tiny"].claims == ()


def test_a_column_may_belong_to_some_profiles(experiments: Experiments) -> None:
    """Elsewhere it has no runs, no claims and no plots."""
    text = changed("decimals: 0, better: lower", "decimals: 0, profiles: [paper], better: lower")
    cheap = '  - {id: cheap, text: It is cheap, holds: "pflops[logit] < 2000"}\nprofiles:'
    text = changed("profiles:\n  paper", f"{cheap}\n  paper", text)
    plot = "plots:\n  - {id: over-cost, x: pflops, y: [acc]}\nprofiles:"
    text = changed("profiles:\n  paper", f"{plot}\n  paper", text)
    table = load_table(experiments.table("paper/good", text))
    paper, tiny = expand(table, "paper"), expand(table, "tiny")
    assert {run.task for run in paper.runs} == {"train", "cost"}
    assert {run.task for run in tiny.runs} == {"train"}
    assert [tuple(row.runs) for row in tiny.rows] == [("acc",)] * 2
    assert [claim.id for claim in paper.profile.claims] == ["helps", "cheap"]
    assert [claim.id for claim in tiny.profile.claims] == ["helps"]
    assert [claim.id for claim in tiny.profile.untested] == ["cheap"]
    assert [len(profile.plots) for profile in (paper.profile, tiny.profile)] == [1, 0]
    assert [column.id for column in collect(tiny, Store()).columns] == ["acc"]

    late = 'tiny:\n    claims: [{id: late, text: x, holds: "pflops[logit] < 3"}]\n'
    late += "    description: smaller"
    with pytest.raises(SpecError, match="holds: unknown column 'pflops'"):
        load_table(
            experiments.table("paper/late", changed("tiny:\n    description: smaller", late, text))
        )


def test_a_profile_knows_which_claims_of_the_table_it_asks_in_no_form(
    experiments: Experiments,
) -> None:
    own = 'claims: [{id: high, text: x, holds: "acc[none] > 1", scaled_down_version_of: [low]}]'
    low = 'claims: [{id: low, text: x, holds: "acc[none] < 99", added_by_us: true}]'
    text = changed(
        "rows: [none, {id: logit, set: {recipe: {lr: 1e-2}}}]", f"rows: [none]\n    {own}"
    )
    table = load_table(experiments.table("paper/good", changed("{}", f"{{{low}}}", text)))
    found = {
        name: [claim.id for claim in profile.untested] for name, profile in table.profiles.items()
    }
    assert found == {"paper": [], "tiny": ["helps"]}  # `high` asks what `low` asks
    assert [claim.added_by_us for claim in table.profiles["paper"].claims] == [False, True]


def test_recipes_build_on_recipes(experiments: Experiments) -> None:
    experiments.recipe("longer", "from: light\nepochs: 7\naugment: {mixup: 0.5}\n")
    text = changed("  recipe: light\n", "  recipe: {from: longer, augment: {cutmix: 1.0}}\n")
    row = expand(load_table(experiments.table("paper/good", text)), "paper").rows[0]
    recipe = row.config.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.augment.mixup, recipe.augment.cutmix) == (
        7,
        64,
        0.5,
        1.0,
    )


AXES = {
    "method.mask.keep": st.integers(1, 16),
    "method.weight": st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    "recipe.epochs": st.integers(1, 50),
    "student.depth": st.integers(1, 6),
}
GRIDS = st.fixed_dictionaries(
    {},
    optional={
        path: st.lists(values, min_size=1, max_size=3, unique=True) for path, values in AXES.items()
    },
)


@given(grid=GRIDS.filter(bool))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_grid_is_the_product_of_its_values(
    grid: dict[str, list[float]], experiments: Experiments
) -> None:
    names = [path.rpartition(".")[2] for path in grid]
    identifier = "-".join(f"{{{name}}}" for name in names)
    text = changed(
        "- id: logit\n", f"- id: {json.dumps(identifier)}\n    grid: {json.dumps(grid)}\n"
    )
    text = changed("    published: {acc: 75.0, pflops: {value: 1770, note: scanned}}\n", "", text)
    text = changed(
        '  - {id: helps, text: It helps, holds: "acc[logit] > acc[none]"}\n', "  []\n", text
    )
    text = text.partition("  tiny:")[0]
    table = load_table(experiments.table("paper/grid", text))
    points = list(product(*grid.values()))
    assert [row.id for row in table.rows] == [
        "none",
        *("-".join(map(str, point)) for point in points),
    ]
    for row, point in zip(expand(table, "paper").rows[1:], points, strict=True):
        for path, expected in zip(grid, point, strict=True):
            found: object = row.config
            for part in path.split("."):
                found = getattr(found, part)
            assert found == expected


def test_tables_are_found_by_their_folder_and_name(experiments: Experiments) -> None:
    for name in ("paper/b", "other/a", "paper/a"):
        experiments.table(name, GOOD)
    assert list_tables() == ["other/a", "paper/a", "paper/b"]


def test_texts_call_a_row_by_its_full_name(experiments: Experiments) -> None:
    """A text stands without its table: `+half` alone would not say half of what."""
    claim = """- {id: helps, text: '[logit] beats [none]', holds: "acc[logit] > acc[none]"}"""
    text = changed('- {id: helps, text: It helps, holds: "acc[logit] > acc[none]"}', claim)
    text = changed("  - id: logit\n", "  - id: logit\n    label: +half\n", text)
    (named,) = load_table(experiments.table("paper/good", text)).claims
    assert named.text == "No distillation +half beats No distillation"


def test_a_misprinted_share_may_stand_as_it_is_printed(experiments: Experiments) -> None:
    cell = "{value: 720, corrected: 72.0}"
    table = load_table(experiments.table("paper/good", changed("{acc: 72.0}", f"{{acc: {cell}}}")))
    assert table.rows[0].published["acc"].intended.value == 72.0
