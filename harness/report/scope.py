"""Over what the intervals of a report are: one sentence, so that nobody reads more into them."""

from __future__ import annotations

from harness.report.format import difference_unit, listed, with_unit
from harness.report.model import Cell, TableModel
from harness.spec.table import Column
from harness.text import count, number

DECIMALS = 2


def interval_scope(model: TableModel) -> str:
    """What varies and what is fixed, with the standard errors over images beside it; empty where
    nothing was trained.
    """
    trained = [
        (column, cell)
        for column in model.columns
        if column.evidence == "seeds"
        for row in model.rows
        if (cell := row.cell(column.id)).draws
    ]
    if not trained:
        return ""
    data = f" on {model.data}" if model.data else " on this data"
    sentence = f"Intervals are over seeds of training{data} and {_machines(trained)}; "
    judged = [(column, cell) for column, cell in trained if cell.se_images is not None]
    if not judged:
        return f"{sentence}the test images are fixed, and what others would give is not counted."
    images = {f"{cell.images:,}" for _, cell in judged}
    sentence += f"the {listed(sorted(images))} test images are fixed. Over images of the same kind "
    sentence += f"the standard error would be {_errors(judged)} for a row"
    differences = [
        claim.se_images
        for claim in model.claims
        if claim.se_images is not None and claim.claim.holds.right is not None
    ]
    if differences:
        unit = difference_unit(judged[0][0].unit)
        sentence += f", {_between(differences, unit)} for a claimed difference"
    seeds = [
        cell.summary.std / cell.summary.n**0.5
        for _, cell in judged
        if cell.summary is not None and cell.summary.std is not None
    ]
    if seeds:
        unit = difference_unit(judged[0][0].unit)
        sentence += f"; over seeds it is {_between(seeds, unit)} for a row"
    return f"{sentence}."


def _machines(trained: list[tuple[Column, Cell]]) -> str:
    machines = {draw.machine for _, cell in trained for draw in cell.draws}
    names = {
        machine.cpu if machine.device in ("", "cpu") else machine.device for machine in machines
    }
    known = sorted(name for name in names if name)
    if not known:
        return "this machine"
    return (
        f"this machine ({known[0]})"
        if len(known) == 1
        else (f"these {count(len(known), 'machine')} ({listed(known)})")
    )


def _errors(judged: list[tuple[Column, Cell]]) -> str:
    values = [cell.se_images for _, cell in judged if cell.se_images is not None]
    return _between(values, difference_unit(judged[0][0].unit))


def _between(values: list[float], unit: str) -> str:
    low, high = (number(value, DECIMALS) for value in (min(values), max(values)))
    return with_unit(low if low == high else f"{low} to {high}", unit)
