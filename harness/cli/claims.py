"""`harness claims`: the claims of all tables, and which of them hold."""

from __future__ import annotations

import argparse
import json
import sys

from harness.cli._table import in_short
from harness.cli.report import add_pool, add_reference
from harness.errors import HarnessError
from harness.spec.load import load_table
from harness.spec.paths import list_tables
from harness.spec.table import TableSpec


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = (
        "Reads the runs of all tables at a profile and writes one page about their "
        "claims, `claims.<profile>.md` in `reports` beside the results. Runs nothing."
    )
    parser.add_argument(
        "--profile", metavar="P", default="fashion-mnist", help="the scale (default: fashion-mnist)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON in place of the page; see docs/json.md"
    )
    add_reference(parser)
    add_pool(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the page and print it."""
    from harness.report.claims_json import claims_json
    from harness.report.claims_page import build_claims_page
    from harness.report.collect import collect_finished
    from harness.report.pools import having
    from harness.report.publish import Folders, file_name, reference_reports, write
    from harness.report.render.markdown import markdown
    from harness.store import Store

    profile = arguments.profile
    broken: dict[str, str] = {}
    every = [table for name in list_tables(broken) for table in _loaded(name, broken)]
    tables = [table for table in every if profile in table.profiles]
    if not tables and not broken:
        names = sorted({name for table in every for name in table.profiles})
        raise HarnessError(f"no table has a profile '{profile}' (there are: {', '.join(names)})")
    for folder in arguments.pool:
        if not any(having([folder], file_name(table.name, profile)) for table in every):
            raise HarnessError(
                f"--pool {folder}: there are no per-seed values of any table at profile "
                f"'{profile}' in it; give a results folder in which `harness report` has kept some"
            )
    store = Store()
    records = store.records()
    models = []
    for table in tables:
        try:
            pools = having(arguments.pool, file_name(table.name, profile))
            models.append(collect_finished(table, profile, store, pools=pools, records=records))
        except HarnessError as error:
            broken[table.name] = in_short(error, table.name)
    if not models:
        raise HarnessError("; ".join(f"{name}: {why}" for name, why in broken.items()))
    page = markdown(build_claims_page(models, profile), pictures="")
    paths = [Folders.beside(store.root).reports / f"claims.{profile}.md"]
    if arguments.reference is not None:
        paths.append(reference_reports(arguments.reference) / f"claims.{profile}.md")
    for path in paths:
        write(path, page.encode())
    if arguments.json:
        print(json.dumps(claims_json(models, profile), indent=2, ensure_ascii=False))
    else:
        print(page)
        print("\n".join(map(str, paths)))
    for name, why in broken.items():
        print(f"error: {name} is left out: {why}", file=sys.stderr)
    damaged = list(dict.fromkeys(line for model in models for line in model.unreadable))
    for line in damaged:
        print(f"error: {line}; left out", file=sys.stderr)
    return int(bool(broken or damaged))


def _loaded(name: str, broken: dict[str, str]) -> list[TableSpec]:
    """The table, or none, with what is wrong in `broken`."""
    try:
        return [load_table(name)]
    except HarnessError as error:
        broken[name] = in_short(error, name)
        return []
