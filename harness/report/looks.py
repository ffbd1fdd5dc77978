"""How often a claim was judged, and with how many seeds each time.

Who looks, adds seeds where the answer is not liked, and looks again finds false verdicts more often
than one interval promises. So looks are planned: with 3, 6 and 12 seeds, added to all rows of a
claim. The per-seed values of a report note with how many values each was first shown, also of those
that are gone since; from that follow the looks of every claim, and its sentence tells them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from harness.errors import HarnessError
from harness.report.cell_values import right_of, se_over_images
from harness.report.format import ranges
from harness.report.inference import STAGES
from harness.report.model import Cell, ClaimResult, Draw, RowResult
from harness.report.read_csv import Line, read_lines, require_table
from harness.report.render.csv import SEEDS
from harness.report.results import SHORT
from harness.spec.claims import CellRef
from harness.spec.table import Column

Looks: TypeAlias = Mapping[tuple[str, str], Mapping[int, tuple[str, int]]]
"""By row and column, for every seed that was ever shown: its run, and how many values there were by
then.
"""


def read_looks(path: Path, table: str, profile: str) -> Looks:
    """Those that the report before this one has noted; none where there was none. HarnessError
    where the file is not as a report writes it: a look at seeds that are not there, or of another
    table.
    """
    if not path.is_file():
        return {}
    needed = ("table", "profile", "row", "column", "seed", "look", "run")
    return looks_of(read_lines(path, SEEDS, needed, with_field="look"), table, profile)


def looks_of(lines: Sequence[Line], table: str, profile: str) -> Looks:
    """What the lines of per-seed values note."""
    noted = [line for line in lines if line.get("look")]
    require_table(noted, table, profile)
    counts = Counter((line["row"], line["column"]) for line in noted)
    looks: dict[tuple[str, str], dict[int, tuple[str, int]]] = {}
    for line in noted:
        key, seed, look = (line["row"], line["column"]), line.whole("seed"), line.whole("look")
        of_cell = looks.setdefault(key, {})
        if seed in of_cell:
            raise HarnessError(f"{line.place}: seed {seed} of this row and column is there twice")
        if not 1 <= look <= counts[key]:
            most = f"{counts[key]} values of this row and column"
            raise HarnessError(f"{line.place}: look: {look} is no number from 1 to the {most}")
        of_cell[seed] = line["run"], look
    return looks


def looks_before(path: Path, cells: Path, table: str, profile: str) -> tuple[Looks, str]:
    """Those that the report before this one has noted; and a sentence where they are not known,
    because it was written without its per-seed values, or these are gone or damaged.
    """
    unknown = f"how often the claims of {cells.name} were judged before is not known, so their "
    unknown += "looks begin anew"
    try:
        looks = read_looks(path, table, profile)
    except HarnessError as error:
        return {}, f"{error}; {unknown}"
    if path.is_file() or not cells.is_file():
        return looks, ""
    return looks, f"{path} is missing: {unknown}"


def with_looks(
    draws: Sequence[Draw], noted: Mapping[int, tuple[str, int]], identities: Sequence[str]
) -> tuple[tuple[Draw, ...], tuple[tuple[int, str, int], ...]]:
    """The values of a cell, each with the look that it was first part of, the new ones now; and
    (seed, run, look) of values that were shown before and are gone: those looks have happened.

    What is noted of runs that are none of the cell's own, those of `identities`, is of another
    configuration, and forgotten.
    """
    own = {identity[:SHORT] for identity in identities} | {draw.run for draw in draws}
    if own.isdisjoint(run for run, _ in noted.values()):
        noted = {}
    now = len(noted.keys() | {draw.seed for draw in draws})
    lost = noted.keys() - {draw.seed for draw in draws}
    return (
        tuple(replace(draw, look=noted.get(draw.seed, ("", now))[1]) for draw in draws),
        tuple((seed, *noted[seed]) for seed in sorted(lost)),
    )


def looked_at(
    result: ClaimResult, columns: Sequence[Column], rows: Sequence[RowResult]
) -> ClaimResult:
    """The result with its looks, told in its sentence, and with the standard error over images."""
    refs = result.claim.holds.cells
    compared = [next(row for row in rows if row.id == ref.row) for ref in refs]
    all_cells = [row.cell(ref.column) for row, ref in zip(compared, refs, strict=True)]
    evidence = {column.id: column.evidence for column in columns}
    trained = any(evidence[ref.column] == "seeds" for ref in refs)
    seeded = [index for index, cell in enumerate(all_cells) if not cell.seedless]
    if not trained or not seeded or not result.n:
        return result
    compared, cells = [compared[index] for index in seeded], [all_cells[index] for index in seeded]
    looks = _looks(cells)
    told = _told(looks, failed=len(result.failed_seeds))
    names = dict.fromkeys(row.name for row in compared)
    more = {
        row.name: text
        for row, cell in zip(compared, cells, strict=True)
        if (text := _surplus(row.name, cell, looks, result.failed_seeds))
    }
    told += [more[name] for name in names if name in more]
    counts = {cell.images for cell in cells}
    return replace(
        result,
        looks=tuple(map(len, looks)),
        look_seeds=looks,
        reason="; ".join([result.reason, *told]),
        images=counts.pop() if len(counts) == 1 else 0,
        se_images=_se_over_images(result, all_cells),
    )


def _looks(cells: Sequence[Cell]) -> tuple[tuple[int, ...], ...]:
    """Each time that seeds were judged which all cells had, and last those that all have now; a
    single one shows no interval, so it is no look.
    """
    by_cell = [
        {seed: look for seed, _, look in cell.lost} | {draw.seed: draw.look for draw in cell.draws}
        for cell in cells
    ]
    common = set.intersection(*(set(looks) for looks in by_cell))
    first = {seed: max(looks[seed] for looks in by_cell) for seed in common}
    looks = [
        tuple(sorted(seed for seed in common if first[seed] <= at))
        for at in sorted(set(first.values()))
    ]
    now = set.intersection(*({draw.seed for draw in cell.draws} for cell in cells))
    if now != common:
        looks.append(tuple(sorted(now)))
    return tuple(seeds for seeds in looks if len(seeds) > 1 or seeds is looks[-1])


def _told(looks: Sequence[Sequence[int]], *, failed: int) -> list[str]:
    """Earlier looks, and numbers of seeds that are not planned; nothing of one that is, or would be
    without `failed` seeds, and nothing of a single seed, which is no look.
    """
    if not looks or len(looks[-1]) == 1:
        return []
    *before, now = looks
    text = f"seeds {ranges(now)}"
    if before:
        text += f", judged before with {', '.join(str(len(seeds)) for seeds in before)}"
    unplanned = [
        str(len(seeds)) for seeds in looks if not {len(seeds), len(seeds) + failed} & {*STAGES}
    ]
    if not before and not unplanned:
        return []
    if unplanned:
        planned = ", ".join(map(str, STAGES))
        text += f" ({', '.join(unplanned)} {'is' if len(unplanned) == 1 else 'are'} no planned "
        text += f"number: {planned})"
    return [text]


def _surplus(name: str, cell: Cell, looks: Sequence[Sequence[int]], failed: Sequence[int]) -> str:
    """Seeds of one row that the others do not have, but for those that have `failed` there."""
    counted = set(looks[-1]) if looks else set()
    more = sorted({seed for seed, _ in cell.values} - counted - set(failed))
    if not more or not counted:
        return ""
    who, do = ("seed", "does") if len(more) == 1 else ("seeds", "do")
    return f"{who} {ranges(more)} of {name} alone {do} not count"


def _se_over_images(result: ClaimResult, cells: Sequence[Cell]) -> float | None:
    """Of a value, or of a difference of two."""
    holds = result.claim.holds
    refs = [side for side in (holds.left, holds.right) if side is not None]
    if len(refs) != len(cells) or not all(isinstance(ref, CellRef) for ref in refs):
        return None
    if len(refs) == 2 and holds.factor != 1:
        return None  # a ratio, or a multiple: its own scale
    bits = [right_of(cell.draws) for cell in cells]
    if any(len(right) != len(cell.draws) for right, cell in zip(bits, cells, strict=True)):
        return None
    seeds = [
        seed for right, cell in zip(bits, cells, strict=True) if not cell.seedless for seed in right
    ]
    bits = [
        dict.fromkeys(seeds, next(iter(right.values()))) if cell.seedless and right else right
        for right, cell in zip(bits, cells, strict=True)
    ]
    return se_over_images(bits[0], bits[1] if len(bits) == 2 else None)
