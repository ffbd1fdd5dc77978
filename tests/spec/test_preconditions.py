"""What must hold at a profile for its claims to mean what the paper means."""

from __future__ import annotations

from harness.spec.load import load_table
from tests.conftest import Experiments
from tests.spec.specs import GOOD, changed

PRECONDITIONS = """\
preconditions:
  trains: {text: '{right} learns', holds: '{column}[{right}] > 20', source: 'Table 2: 72.0'}
  helps: {text: It helps, holds: 'acc[logit] > acc[none] + 0.3', source: 'Table 2: 75.0 after 72.0'}
profiles:
  paper: {}
"""


def spec(claim: str, profile: str = "") -> str:
    text = changed("profiles:\n  paper: {}\n", PRECONDITIONS)
    text = changed('{id: helps, text: It helps, holds: "acc[logit] > acc[none]"}', claim, text)
    return changed("description: smaller", f"description: smaller\n{profile}", text)


def test_a_claim_fills_its_preconditions(experiments: Experiments) -> None:
    claim = "{id: free, text: t, holds: 'acc[logit] >= acc[none] - 0.3', given: [trains]}"
    table = load_table(experiments.table("paper/good", spec(claim)))
    (claim_there,) = table.profile("tiny").claims
    (found,) = claim_there.given
    assert (found.id, found.text, found.source) == (
        "trains",
        "No distillation learns",
        "Table 2: 72.0",
    )
    assert str(found.holds) == "acc[none] > 20"
    assert table.profile("paper").claims[0].given == ()  # it is what the paper speaks of


def test_at_paper_they_count_where_that_profile_gives_them(experiments: Experiments) -> None:
    claims = "{id: free, text: t, holds: 'acc[logit] >= acc[none] - 0.3'}"
    text = spec(claims).replace("  paper: {}\n", "  paper: {given: [helps]}\n")
    table = load_table(experiments.table("paper/good", text))
    assert [one.id for one in table.profile("paper").claims[0].given] == ["helps"]


def test_a_profile_gives_them_to_trained_claims_that_name_none(experiments: Experiments) -> None:
    claims = """{id: free, text: t, holds: 'acc[logit] >= acc[none] - 0.3'}
  - {id: cost, text: t, holds: 'pflops[logit] > 0'}
  - {id: own, text: t, holds: 'acc[logit] > 1', given: []}"""
    text = spec(claims, "    given: [trains, helps]")
    table = load_table(experiments.table("paper/good", text))
    given = {claim.id: [one.id for one in claim.given] for claim in table.profile("tiny").claims}
    assert given == {"free": ["trains", "helps"], "cost": [], "own": []}


def test_one_for_every_row_that_the_claim_compares(experiments: Experiments) -> None:
    claim = (
        "{id: free, text: t, holds: 'acc[logit] > acc[none] + acc[logit] - 75', given: [trains]}"
    )
    table = load_table(experiments.table("paper/good", spec(claim)))
    given = [str(one.holds) for one in table.profile("tiny").claims[0].given]
    assert given == ["acc[none] > 20", "acc[logit] > 20"]


def test_a_shared_profile_gives_them_to_all_tables(experiments: Experiments) -> None:
    shared = """\
description: smaller
given: [learns]
preconditions:
  learns: {text: t, holds: '{column}[{left}] > {column}[none]', source: s}
"""
    path = experiments.root / "experiments" / "profiles" / "small.yaml"
    path.parent.mkdir()
    path.write_text(shared, encoding="utf-8")
    text = changed("    description: smaller", "    from: small", GOOD)
    table = load_table(experiments.table("paper/good", text))
    (found,) = table.profile("tiny").claims[0].given
    assert str(found.holds) == "acc[logit] > acc[none]"


def test_an_assay_is_read(experiments: Experiments) -> None:
    holds, assay = "acc[logit] >= acc[none] - 0.3", "acc[logit] > acc[none]"
    claim = f"{{id: free, text: t, holds: '{holds}', assay: '{assay}'}}"
    table = load_table(experiments.table("paper/good", spec(claim)))
    assert str(table.claims[0].assay) == "acc[logit] > acc[none]"
    assert all(claim.assay for claim in table.profile("tiny").claims)


def test_texts_say_what_the_table_calls_rows_and_columns(experiments: Experiments) -> None:
    claim = """id: 'helps.{by}'
    text: 'More than [none], by [{by}]'
    holds: '{by}[logit] > {by}[none]'
    grid: {by: [acc]}
    given: [trains]"""
    text = spec(claim).replace("'{right} learns'", "'{right} learns, by {column}'")
    table = load_table(experiments.table("paper/good", text))
    (found,) = table.profile("tiny").claims
    assert found.text == "More than No distillation, by Top-1"
    assert [one.text for one in found.given] == ["No distillation learns, by Top-1"]


def test_names_of_rows_in_a_share_need_no_grid(experiments: Experiments) -> None:
    holds = "share(acc[{row}] > acc[none] - {by}) > 0.5"
    claim = f"{{id: 'most.{{by}}', text: t, grid: {{by: [0, 1]}}, holds: '{holds}'}}"
    table = load_table(experiments.table("paper/good", spec(claim)))
    one, two = table.claims
    assert [len(one.holds.members), two.holds.members[0].offset] == [2, -1.0]
    assert [str(cell) for cell in one.holds.cells] == ["acc[none]", "acc[logit]"]
