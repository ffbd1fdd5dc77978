"""The claims of all specs: what is put down as the paper's stands in the paper."""

from __future__ import annotations

import operator

import pytest

from harness.spec.claims import CellRef
from harness.spec.load import list_tables, load_table
from harness.spec.table import Claim, Profile

HOLDS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
IN_WORDS = {("asymmetric/dino-tiny", "masking-helps")}  # its numbers are not available


def printed(profile: Profile, cell: CellRef) -> float | None:
    row = next(row for row in profile.rows if row.id == cell.row)
    found = row.published.get(cell.column)
    return None if found is None else found.intended.value


def by_print(profile: Profile, claim: Claim) -> bool | None:
    """Whether the printed numbers bear a claim out; None where one of them is not printed."""
    check = claim.holds
    values = [printed(profile, cell) for cell in check.cells]
    if None in values:
        return None
    left, *others = (value for value in values if value is not None)
    right = check.offset + sum(check.factor * value for value in others)
    return bool(HOLDS[check.operator](left, right))


@pytest.mark.parametrize("name", [name for name in list_tables() if "teachers" not in name])
def test_printed_numbers_bear_out_every_claim_of_the_paper(name: str) -> None:
    profile = load_table(name).profile("paper")
    found = {claim.id: by_print(profile, claim) for claim in profile.claims}
    ours = {claim.id for claim in profile.claims if claim.added_by_us}
    in_words = {claim for table, claim in IN_WORDS if table == name}
    assert {claim for claim, held in found.items() if not held} <= ours | in_words


def test_checks_that_the_paper_has_no_bound_or_no_numbers_for_are_ours() -> None:
    def ours(name: str) -> set[str]:
        table = load_table(name)
        claims = {claim for profile in table.profiles.values() for claim in profile.claims}
        return {claim.id for claim in claims if claim.added_by_us}

    assert "half-the-patches-faster" in ours("maskedkd/table2")  # printed: 2.1 times
    assert {"equal-cost-1_17", "equal-cost-of16.low"} <= ours("maskedkd/fig6")
    arms = {"locals-stay-whole", "teacher-stays-whole"}
    assert ours("asymmetric/dino-tiny") == {*arms, "training-helps"}
    every = {claim.id for claim in load_table("maskedkd/table11").profile("fashion-mnist").claims}
    assert ours("maskedkd/table11") == every  # 0.6 and a tenth are not printed
    budget = load_table("maskedkd/budget").claims
    assert ours("maskedkd/budget") == {claim.id for claim in budget}


def test_a_claim_of_table_7_says_what_its_profile_runs() -> None:
    for profile in load_table("maskedkd/table7").profiles.values():
        text = " ".join(claim.text for claim in profile.claims)
        assert ("384 px" in text) == (profile.name == "paper"), profile.name


def test_small_profiles_ask_something_and_hide_nothing() -> None:
    for name in (name for name in list_tables() if name.startswith("maskedkd/")):
        table = load_table(name)
        every = {claim.id for claim in table.profile("paper").claims}
        cpu = table.profile("fashion-mnist")
        asked = {claim.id for claim in cpu.claims}
        for claim in cpu.claims:
            asked |= set(claim.scaled_down_version_of)
        assert cpu.claims, name
        assert {claim.id for claim in cpu.untested} == every - asked
    untested = {
        claim.id for claim in load_table("maskedkd/table2").profile("fashion-mnist").untested
    }
    assert {"quarter-deit3-s", "deit-b-half", "manifold", "attention"} <= untested
