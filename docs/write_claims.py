"""Writes the page of all claims of each small profile of the reference results, out of their
per-seed values: `reports/reference/NAME/claims.PROFILE.md`, as `harness claims` does from runs.

    python docs/write_claims.py
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
NAME = "amd-epyc-2-cores"
RESULTS = ROOT / "results/reference" / NAME
REPORTS = ROOT / "reports/reference" / NAME
PROFILES = ("fashion-mnist", "cifar10-small")


def page(profile: str) -> str:
    """With the tables of the profile that have no results, by name."""
    from harness.report.claims_page import build_claims_page
    from harness.report.collect import collect_finished
    from harness.report.publish import file_name
    from harness.report.render.markdown import markdown
    from harness.report.seeds_file import read_seeds_file
    from harness.spec.load import list_tables, load_table
    from harness.store import Store

    nothing = Store(ROOT / "no-such-store")
    models = []
    for table in map(load_table, list_tables()):
        if profile not in table.profiles:
            continue
        if (RESULTS / f"{file_name(table.name, profile)}.seeds.csv").is_file():
            models.append(read_seeds_file(table, profile, RESULTS))
        else:
            models.append(collect_finished(table, profile, nothing))
    return markdown(build_claims_page(models, profile), pictures="")


if __name__ == "__main__":
    for profile in PROFILES:
        (REPORTS / f"claims.{profile}.md").write_text(page(profile), encoding="utf-8")
