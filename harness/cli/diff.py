"""`harness diff`: your results against reference results, exit code 2 when something drifted; or
one run against another, to see why their numbers differ.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli._table import add_profile
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.report.compare import Difference
    from harness.store import RunRecord

SAME, DRIFTED = 0, 2


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = (
        "Compares the CSV files that `harness report` wrote, cell by cell. Exit code "
        "2: a computed cell differs, the same machine gave other bits, or trained cells differ by "
        "more than seeds explain (adjusted p < 0.01). With two runs: what differs in their "
        "configuration, code, packages and machine, and the metrics of both."
    )
    parser.add_argument(
        "table", metavar="TABLE|RUN", help="a table, or one of two runs: its name or its directory"
    )
    parser.add_argument(
        "other", metavar="RUN", nargs="?", help="the other run; `harness status TABLE` lists them"
    )
    add_profile(parser)
    parser.add_argument(
        "--reference",
        metavar="DIR",
        type=Path,
        help="a results folder to compare with (default: the one under results/reference/)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print every cell with its verdict, or what two runs do not have in common."""
    if arguments.other is not None:
        if arguments.profile is not None or arguments.reference is not None:
            raise HarnessError("two runs are compared: leave --profile and --reference out")
        print("\n".join(_of_runs(_run(arguments.table), _run(arguments.other))))
        return SAME
    from harness.report.compare import compare_cells, compare_claims
    from harness.report.publish import file_name
    from harness.spec.load import load_table
    from harness.store import Store

    table = load_table(arguments.table)
    profile = table.profile(arguments.profile or table.default_profile).name
    name = file_name(table.name, profile)
    results = Store().root
    if not (results / f"{name}.csv").is_file():
        raise HarnessError(
            f"{results / name}.csv does not exist: "
            f"`harness report {table.name} --profile {profile}` writes it"
        )
    reference = _reference(arguments.reference, table.name, profile)
    cells, notes = compare_cells(results / f"{name}.csv", reference / f"{name}.csv", table.columns)
    claims = compare_claims(results / f"{name}.claims.csv", reference / f"{name}.claims.csv")
    if all(one.status in ("new", "missing") for one in cells):
        raise HarnessError(f"{results / name}.csv and {reference / name}.csv share no value")
    print("\n".join([f"{name}: {results} against {reference}", *notes, ""]))
    print(_table([*cells, *claims]))
    print(f"\n{_conclusion([*cells, *claims])}")
    return DRIFTED if any(one.status == "drifted" for one in [*cells, *claims]) else SAME


def _reference(folder: Path | None, table: str, profile: str) -> Path:
    from harness.report.compare import references
    from harness.report.publish import file_name, reference_folder

    name = file_name(table, profile)
    if folder is not None:
        if not (folder / f"{name}.csv").is_file():
            raise HarnessError(f"--reference {folder}: there is no {name}.csv in it")
        return folder
    folders = references(table, profile)
    if not folders:
        raise HarnessError(
            f"no reference for {name} under {reference_folder()}: "
            "give a results folder with --reference DIR"
        )
    if len(folders) > 1:
        names = ", ".join(str(path) for path in folders)
        raise HarnessError(f"several references: say --reference DIR with one of {names}")
    return folders[0]


def _table(differences: Sequence[Difference]) -> str:
    rows = [
        (
            *difference.what,
            difference.reference,
            difference.result,
            difference.status,
            difference.why,
        )
        for difference in differences
    ]
    titles = ("row", "column", "reference", "mine", "status", "held against")
    return _arranged(titles, rows, right=("reference", "mine"))


def _arranged(
    titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()
) -> str:
    """A table as wide as the terminal; the columns `right` hold numbers."""
    from harness.report.document import TableColumn
    from harness.report.terminal import columns_in, terminal_width

    columns = [
        TableColumn(title=title, align="right" if title in right else "left") for title in titles
    ]
    return columns_in([("", title) for title in titles], rows, columns, terminal_width())


def _conclusion(differences: Sequence[Difference]) -> str:
    counts = Counter(difference.status for difference in differences)
    return ", ".join(f"{number} {status}" for status, number in counts.items())


def _run(name: str) -> RunRecord:
    """The run of that name or beginning, or that of a directory, of another store too."""
    from harness.cli.logs import find_run
    from harness.store import Store, read_record

    if not Path(name).is_dir():
        return find_run(Store(), name)
    record = read_record(Path(name).resolve())
    if record is None:
        raise HarnessError(f"{name} is no run directory: there is no run.json in it")
    return record


def _of_runs(first: RunRecord, second: RunRecord) -> Iterator[str]:
    """The keys that differ, by what they are of, and all metrics."""
    width = max(len(first.name), len(second.name))
    for place, record in (("first", first), ("second", second)):
        title = record.title
        of = f"{title.table} {title.profile}, row {title.row}"
        seed = "" if title.seed is None else f", seed {title.seed}"
        yield f"{place:<6}  {record.name:<{width}}  {record.task} of {of}{seed}: {record.state}"
    yield ""
    rows: list[tuple[str, ...]] = []
    for heading, one, other in (
        ("configuration", _configuration(first), _configuration(second)),
        ("code", _code(first), _code(second)),
        ("files of other runs", _used(first), _used(second)),
        ("packages and machine", first.environment, second.environment),
    ):
        rows += [(heading,), *_differing(one, other)]
    rows += [("metrics",), *_metrics(first.result or {}, second.result or {})]
    yield _arranged(("", "first", "second", "difference"), rows, right=("difference",))


def _configuration(record: RunRecord) -> Mapping[str, object]:
    return {"task": record.task, "version": record.version, **record.plain}


def _code(record: RunRecord) -> Mapping[str, str]:
    """By module the beginning of its checksum."""
    modules = {} if record.code is None else record.code.modules
    return {name: digest[:8] for name, digest in modules.items()}


def _used(record: RunRecord) -> Mapping[str, str]:
    """By run and file the beginning of its checksum."""
    return {
        f"{identity[:8]}/{name}": artifact.sha256[:8]
        for identity, artifacts in (record.used or {}).items()
        for name, artifact in artifacts.items()
    }


def _differing(one: Mapping[str, object], other: Mapping[str, object]) -> Iterator[tuple[str, ...]]:
    from harness.cli.plan import value_text
    from harness.plan import differences

    found = [
        (f"  {change.key}", value_text(change.old), value_text(change.new), "")
        for change in differences(one, other)
    ]
    yield from found or [("  no difference", "", "", "")]


def _metrics(
    one: Mapping[str, float], other: Mapping[str, float]
) -> Iterator[tuple[str, str, str, str]]:
    for name in dict.fromkeys([*one, *other]):
        both = one.get(name), other.get(name)
        texts = ["\N{EN DASH}" if value is None else f"{value:.6g}" for value in both]
        difference = "" if None in both else f"{other[name] - one[name]:+.6g}"
        yield (f"  {name}", texts[0], texts[1], difference)
