"""The same table on several machines: per-seed values that other results folders keep.

On another CPU the same seeds are new draws, so a claim has one group of values for each machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from harness.errors import HarnessError
from harness.report.compare import Key, read_draws
from harness.report.format import interval_text, signed, with_unit
from harness.report.inference import CONFIDENCE_TEXT
from harness.report.model import ClaimResult, Draw, Machine, RowResult
from harness.report.pooling import pool
from harness.report.read_csv import quoted
from harness.report.results import SHORT
from harness.report.statistics import paired
from harness.spec.claims import CellRef
from harness.spec.expand import Expansion, expand
from harness.text import count, number

Draws: TypeAlias = Mapping[Key, Sequence[Draw]]
"""By (row, column)."""


def read_pools(folders: Sequence[Path], name: str) -> list[Draws]:
    """The per-seed values of `name`, a table at a profile, in each of these results folders.
    HarnessError where one has none.
    """
    pools: list[Draws] = []
    for folder in folders:
        path = folder / f"{name}.seeds.csv"
        if not path.is_file():
            raise HarnessError(
                f"--pool {folder}: there is no {name}.seeds.csv in it; give a results folder in "
                "which `harness report` has kept per-seed values"
            )
        pools.append({key: tuple(by.values()) for key, by in read_draws(path, name).items()})
    return pools


def check_same_runs(folders: Sequence[Path], pools: Sequence[Draws], expansion: Expansion) -> None:
    """HarnessError where a trained value is not of the run that this table asks for: with another
    recipe, or other images, it is no further draw of the same.
    """
    table, profile = expansion.table, expansion.profile
    columns = table.columns_at(profile.name)
    trained = {name for name, column in columns.items() if column.evidence == "seeds"}
    seeds = {
        draw.seed
        for draws in pools
        for (_, column), every in draws.items()
        for draw in every
        if column in trained
    }
    if not seeds:
        return
    rows = expand(table, profile, seeds=sorted(seeds)).rows
    here = {
        (row.row.id, column): {identity[:SHORT] for identity in row.runs[column]}
        for row in rows
        for column in trained
    }
    for folder, draws in zip(folders, pools, strict=True):
        for (row, column), every in draws.items():
            for draw in every:
                if (row, column) in here and draw.run and draw.run not in here[row, column]:
                    raise HarnessError(
                        f"--pool {folder}: row '{row}', column '{column}', seed {draw.seed} is of "
                        f"run {quoted(draw.run)}, which is configured in another way than this "
                        "table is now: compute it again there, or leave the folder out"
                    )


def having(folders: Sequence[Path], name: str) -> list[Path]:
    """Those that have this table: of all tables another machine need not have each."""
    return [folder for folder in folders if (folder / f"{name}.seeds.csv").is_file()]


def on_machines(
    result: ClaimResult, rows: Sequence[RowResult], pools: Sequence[Draws]
) -> ClaimResult:
    """The result with the deciding quantity on every machine, told in its sentence; as it is where
    there is one machine, or the claim is not of a value or a difference.
    """
    holds = result.claim.holds
    refs = [side for side in (holds.left, holds.right) if side is not None]
    if not all(isinstance(ref, CellRef) for ref in refs) or result.unit == "×":
        return result
    if not result.look_seeds:  # computed, timed, or without a result here
        return result
    by_machine: dict[Machine, list[dict[int, float]]] = {}
    cells = [next(row for row in rows if row.id == ref.row).cell(ref.column) for ref in refs]
    for index, (ref, cell) in enumerate(zip(refs, cells, strict=True)):
        for draw in [
            *([] if cell.seedless else cell.draws),  # this machine goes first
            *(draw for other in pools for draw in other.get((ref.row, ref.column), ())),
        ]:
            if not cell.seedless:
                sides = by_machine.setdefault(draw.machine, [{} for _ in refs])
                sides[index].setdefault(draw.seed, draw.value)
    for index, cell in enumerate(cells):
        if cell.seedless:  # the same beside every seed, on every machine
            for sides in by_machine.values():
                sides[index] = dict.fromkeys(sides[1 - index], cell.draws[0].value)
    groups = {
        machine: list(sides[0].values())
        if len(sides) == 1
        else paired(sides[0], sides[1], factor=holds.factor)
        for machine, sides in by_machine.items()
    }
    named = _named({machine: values for machine, values in groups.items() if values})
    if len(named) < 2:
        return result
    write = number if len(refs) == 1 else signed
    means = [
        f"{with_unit(write(sum(values) / len(values), result.decimals), result.unit)} on {name} "
        f"({count(len(values), 'seed')})"
        for name, values in named
    ]
    told = f"machines: {', '.join(means)}"
    groups_of_seeds = [values for _, values in named]
    if sum(map(len, groups_of_seeds)) > len(named):
        pooled = pool(groups_of_seeds)
        mean = with_unit(write(pooled.mean, result.decimals), result.unit)
        ci = interval_text(pooled.ci, result.decimals, sign=len(refs) > 1)
        told += f"; of machines like these {mean} ({CONFIDENCE_TEXT} CI {ci})"
    return replace(result, machines=named, reason=f"{result.reason}; {told}")


def _named(
    groups: Mapping[Machine, Sequence[float]],
) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """By the CPU, or the GPU; with more where two have the same."""
    short = {machine: machine.cpu or machine.device for machine in groups}
    long = {
        machine: ", ".join(filter(None, (machine.cpu, machine.instructions, machine.device)))
        for machine in groups
    }
    names = [short[machine] for machine in groups]
    return tuple(
        (short[machine] if names.count(short[machine]) == 1 else long[machine], tuple(values))
        for machine, values in groups.items()
    )
