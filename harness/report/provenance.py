"""Where the numbers of a report come from: commit, packages, hardware, time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from harness.data.content import OF_A_COPY
from harness.report.format import listed
from harness.report.model import Environment, Provenance
from harness.report.results import RunResults
from harness.store import DONE, FAILED, RunRecord
from harness.store.result import OF_THE_HUB
from harness.text import count

UNKNOWN = "Environment"
MOST_PARTS = 4
"""Changed modules and libraries that are named."""
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "pillow")


def provenance(results: RunResults) -> Provenance:
    """The environments of all finished runs, the same ones together, whatever their commits."""
    records = [planned.record for planned in results.runs.values()]
    done = [record for record in records if record is not None and record.state == DONE]
    failed = sum(record is not None and record.state == FAILED for record in records)
    groups: dict[tuple[tuple[str, str], ...], Counter[str]] = {}
    for record in done:
        facts = tuple(_facts(record.environment, record))
        groups.setdefault(facts, Counter())[_commit(record.environment)] += 1
    largest = sorted(groups.items(), key=lambda group: -group[1].total())
    return Provenance(
        environments=tuple(_environment(facts, commits) for facts, commits in largest),
        finished=len(done),
        failed=failed,
        unfinished=len(records) - len(done) - failed,
        seconds=sum(record.seconds or 0.0 for record in done),
        latest=_when(done),
        notes=(*_data(done), *_weights(done), *_notes(results)),
    )


def _data(records: Sequence[RunRecord]) -> Iterator[str]:
    """The data sets, by the versions that are part of the runs' identity."""
    found = sorted(_data_sets([record.plain for record in records]))
    if found:
        copy = any(version.startswith(OF_A_COPY) for _, version in found)
        yield f"Data: {listed([f'{name} (version {version})' for name, version in found])}." + (
            f" A version that begins with {OF_A_COPY} is known by the files of the copy that was "
            "given: with another copy, runs are other runs."
            if copy
            else ""
        )


def _weights(records: Sequence[RunRecord]) -> Iterator[str]:
    """The published weights, by their checksums, which are no part of the runs' identity."""
    found = sorted(
        {
            (key.removeprefix(OF_THE_HUB), artifact.sha256[:12])
            for record in records
            for key, artifacts in (record.used or {}).items()
            if key.startswith(OF_THE_HUB)
            for artifact in artifacts.values()
        }
    )
    if found:
        names = listed([f"{name} (SHA-256 {checksum})" for name, checksum in found])
        yield f"Weights of the model hub: {names}."


def _data_sets(configs: Sequence[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Names and versions, wherever in the configurations, which are as JSON gave them."""
    found, open_ = set(), list(configs)
    while open_:
        config = open_.pop()
        data = config.get("data")
        if isinstance(data, dict) and "name" in data and "version" in data:
            found.add((str(data["name"]), str(data["version"])))
        open_ += [value for value in config.values() if isinstance(value, dict)]
    return found


def _notes(results: RunResults) -> Iterator[str]:
    """What is to be known of runs whose numbers are shown, or cannot be."""
    runs = results.runs.values()
    changed = [planned for planned in runs if planned.other_code]
    parts = dict.fromkeys(name for planned in changed for name in planned.other_code or ())
    if changed:
        shown = listed([*list(parts)[:MOST_PARTS], *["others"] * (len(parts) > MOST_PARTS)])
        yield f"{count(len(changed), 'run')} computed by other code than the present: {shown}."
    unknown = sum(planned.other_code is None for planned in runs)
    if unknown:
        yield f"{count(unknown, 'run')} without a note of the code that computed them."


def _environment(facts: tuple[tuple[str, str], ...], commits: Counter[str]) -> Environment:
    counted = [f"{commit} ({count(n, 'run')})" for commit, n in commits.most_common()]
    text = listed(counted) if len(counted) > 1 else next(iter(commits))
    commit_fact = (("Commit", text),) if facts[0][0] != UNKNOWN else ()
    return Environment(runs=commits.total(), facts=(*commit_fact, *facts))


def _facts(environment: Mapping[str, Any], record: RunRecord) -> Iterator[tuple[str, str]]:
    if not environment:
        yield UNKNOWN, "not recorded"
        return
    yield "Computed on", _hardware(environment, record)
    packages = environment.get("packages")
    packages = packages if isinstance(packages, Mapping) else {}
    versions = [f"{name} {packages[name]}" for name in PACKAGES if name in packages]
    yield "Software", ", ".join([f"Python {environment.get('python', '?')}", *versions])
    yield "System", str(environment.get("platform", "?"))


def _commit(environment: Mapping[str, Any]) -> str:
    commit, dirty = environment.get("commit"), environment.get("dirty")
    if not commit:
        return f"none: installed package, version {environment.get('harness', '?')}"
    return f"{str(commit)[:12]}{f' with local changes ({str(dirty)[:8]})' if dirty else ''}"


def _hardware(environment: Mapping[str, Any], record: RunRecord) -> str:
    cpu = f"{environment.get('cpu', '?')}, {environment.get('cores', '?')} cores"
    names = environment.get("gpus")
    gpus = [str(name) for name in names] if isinstance(names, list) else []
    if record.device == "cuda" and gpus:
        kinds = Counter(gpus)
        return f"{listed([f'{n} x {name}' for name, n in kinds.items()])}; {cpu}"
    return f"{cpu}, {environment.get('threads', '?')} used by each run"


def _when(records: Sequence[RunRecord]) -> str:
    latest = max((record.updated for record in records if record.updated), default=None)
    if latest is None:
        return ""
    return datetime.fromtimestamp(latest, UTC).strftime("%Y-%m-%d %H:%M UTC")
