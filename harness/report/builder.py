"""What a report says, in order: verdicts first, then the evidence, then how to repeat it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.report.document import (
    Block,
    Bullets,
    Code,
    Document,
    Figure,
    GroupRow,
    Heading,
    Item,
    Paragraph,
    Table,
    TableCell,
    TableColumn,
)
from harness.report.format import HEADINGS, NOUNS, OPERATORS, interval_text, listed, with_unit
from harness.report.legend import meaning
from harness.report.main_table import DOUBT, main_table, printed_table
from harness.report.model import ClaimResult, Source, TableModel, Untested, Verdict
from harness.report.scope import interval_scope
from harness.report.statistics import CONFIDENCE
from harness.report.summary import TONES, collapse, findings, headline, marked, untested
from harness.spec.table import Published
from harness.text import count, duration, number


def build_report(model: TableModel) -> Document:
    """The report of `model`."""
    name = f"{_place(model)}, profile {model.profile}"
    title = f"{name}: {model.caption}" if model.caption else name
    if model.data and not model.as_published:  # a caption may name what the paper trained on
        title = f"{name}, on {model.data}"
        title += f" (in the paper: {model.caption})" if model.caption else ""
    blocks: list[Block] = [
        Heading(text=title, level=1),
        Paragraph(text=_origin(model), tone="muted"),
    ]
    for section in SECTIONS:
        blocks.extend(section(model))
    subject = f"{model.table}, profile {model.profile}"
    return Document(title=title, subject=subject, blocks=tuple(blocks))


def _place(model: TableModel) -> str:
    """Where it stands in the paper; the spec's name, if nowhere."""
    if model.number[:1].isdigit():
        return f"Table {model.number}"
    return model.number if model.number.startswith("Fig.") else model.table


def _origin(model: TableModel) -> str:
    arxiv = f" (arXiv {model.arxiv})" if model.arxiv else ""
    numbers = [str(seed) for seed in model.seeds]
    word = "seed" if len(numbers) == 1 else "seeds"
    seeds = f", {word} {listed(numbers, most=8)}" if numbers else ""
    return f"{model.title}{arxiv}. Report of `{model.table}` at profile `{model.profile}`{seeds}."


def _short(model: TableModel) -> list[Block]:
    blocks: list[Block] = [Heading(text="In short"), Paragraph(text=headline(model))]
    if scope := interval_scope(model):
        blocks.append(Paragraph(text=scope))
    items = findings(model)
    if text := collapse(model):
        items = (Item(lead="Collapsed", tone="bad", text=f"{text}."), *items)
    if model.unreadable:
        text = f"{'; '.join(model.unreadable)}."
        items = (Item(lead="Damaged files, left out", tone="bad", text=text), *items)
    if model.untested:
        text = f"{count(len(model.untested), 'claim')} of the table, listed below."
        items = (*items, Item(lead="Cannot be tested at this profile", tone="muted", text=text))
    return [*blocks, Bullets(items=items)] if items else blocks


def _claims(model: TableModel) -> list[Block]:
    """The paper's claims under one heading, our own checks under another."""
    blocks: list[Block] = []
    for source in NOUNS:
        if claims := model.claims_by(source):
            table = claims_table(source, [claim_row(claim) for claim in claims])
            blocks += [Heading(text=HEADINGS[source]), table]
    return blocks


def _untested(model: TableModel) -> list[Block]:
    """The claims that have no rows here, in their own words: silence would read as agreement."""
    if not model.untested:
        return []
    items = tuple(
        Item(lead=one.claim.id, tone="muted", text=f"{one.claim.text} ({_absence(one)}).")
        for one in model.untested
    )
    heading = Heading(text="What this profile cannot test")
    return [heading, Paragraph(text=untested(model)), Bullets(items=items)]


def _absence(untested_claim: Untested) -> str:
    rows = [f"`{row}`" for row in untested_claim.missing_rows]
    if not rows:
        return "its rows are here, the profile leaves it out"
    return f"no {'row' if len(rows) == 1 else 'rows'} {listed(rows)}"


CAPTIONS: dict[Source, str] = {
    "paper": "Claims of the paper, in words or by its printed numbers.",
    "ours": "Our own checks: bounds that the paper does not print, how rows were paired, rows or "
    "quantities that it does not have.",
}


def claims_table(source: Source, rows: Sequence[GroupRow | tuple[TableCell, ...]]) -> Table:
    """What the paper claims, or our own checks, with verdicts and reasons; of one table or more."""
    return Table(
        name="claims" if source == "paper" else "checks",
        caption=(
            f"{CAPTIONS[source]} Trained results are judged by {100 * CONFIDENCE:.0f} % "
            "confidence intervals of differences paired by seed, computed and timed ones by their "
            "value."
        ),
        columns=(
            TableColumn(title="Claim" if source == "paper" else "Check", weight=2.4),
            TableColumn(title="Verdict", weight=1.75),
            TableColumn(title="Estimate", align="right", weight=1.45),
            TableColumn(title="95 % CI", align="right", weight=1.75),
            TableColumn(title="Claimed", align="right", weight=1.1),
            TableColumn(title="n", align="right", weight=0.4),
            TableColumn(title="Why", weight=4.2),
        ),
        rows=tuple(rows),
    )


def claim_row(claim: ClaimResult) -> tuple[TableCell, ...]:
    """A line of `claims_table`."""
    verdict, decimals = claim.verdict, claim.decimals
    estimate = (
        "–" if claim.estimate is None else with_unit(number(claim.estimate, decimals), claim.unit)
    )
    margin = f"{OPERATORS[claim.claim.holds.operator]} {number(claim.margin, decimals)}"
    return (
        TableCell(text=claim.claim.text),
        TableCell(text=marked(verdict), tone=TONES[verdict]),
        TableCell(text=estimate),
        TableCell(text=_interval(claim)),
        TableCell(text=margin),
        TableCell(text=str(claim.n)),
        TableCell(text=claim.reason),
    )


def _interval(claim: ClaimResult) -> str:
    if claim.ci is None:
        return "–"
    return "exact" if claim.n == 1 else interval_text(claim.ci, claim.decimals)


def _results(model: TableModel) -> list[Block]:
    where = f" on {model.data}" if model.data and not model.as_published else ""
    blocks: list[Block] = [Heading(text=f"Results{where}"), main_table(model)]
    printed = printed_table(model)
    if printed is not None:
        where = f", on {model.paper_data}" if model.paper_data else ""
        blocks += [Heading(text=f"The paper's numbers{where}"), printed]
    return blocks


def _differences(model: TableModel) -> list[Block]:
    """Every cell that a reader would ask about: why it is not simply reproduced."""
    asked = {Verdict.MISPRINT, Verdict.ABOVE, Verdict.BELOW, Verdict.INDICATIVE, Verdict.FAILED}
    rows = [
        (
            TableCell(text=model.full_name(row.id)),
            TableCell(text=column.label),
            TableCell(text=marked(judgement.verdict), tone=TONES[judgement.verdict]),
            TableCell(text=judgement.reason),
        )
        for column in model.columns
        for row in model.rows
        if (judgement := row.cell(column.id).judgement) is not None and judgement.verdict in asked
    ]
    if not rows:
        return []
    table = Table(
        name="differences",
        caption="Cells that are not plainly reproduced.",
        columns=(
            TableColumn(title="Row", weight=2.4),
            TableColumn(title="Column", weight=1.2),
            TableColumn(title="Verdict", weight=1.2),
            TableColumn(title="Why", weight=4.5),
        ),
        rows=tuple(rows),
    )
    return [Heading(text="Where the numbers differ"), table]


def _figures(model: TableModel) -> list[Block]:
    from harness.report.figures import figures  # not above: it imports all that draws

    drawn = [Figure(name=f.name, caption=f.caption(), alt=f.alt()) for f in figures(model)]
    return [Heading(text="Plots"), *drawn] if drawn else []


def _missing(model: TableModel) -> list[Block]:
    """Missing cells by what they need, because forty rows often wait for the same thing."""
    by_need: dict[str, dict[str, list[str]]] = {}
    for column in model.columns:
        for row in model.rows:
            cell = row.cell(column.id)
            if cell.judgement is None or cell.judgement.verdict is not Verdict.MISSING:
                continue
            for need in cell.needs or (cell.judgement.reason,):
                by_need.setdefault(need, {}).setdefault(column.label, []).append(row.id)
    if not by_need:
        return []
    rows = tuple(
        (TableCell(text=need), TableCell(text=_places(places, model)))
        for need, places in by_need.items()
    )
    table = Table(
        name="missing",
        caption="Cells without a measured value, by what they need.",
        columns=(
            TableColumn(title="What is needed", weight=5.0),
            TableColumn(title="For", weight=5.0),
        ),
        rows=rows,
    )
    blocks: list[Block] = [Heading(text="What is missing"), table]
    if model.gpu_hours:
        blocks.append(
            Paragraph(text=f"Training everything that is missing would take {model.gpu_hours}.")
        )
    return blocks


def _places(rows_by_column: dict[str, list[str]], model: TableModel) -> str:
    """Rows by column; columns that lack the same rows together."""
    together: dict[tuple[str, ...], list[str]] = {}
    for column, rows in rows_by_column.items():
        together.setdefault(tuple(rows), []).append(column)
    return "; ".join(_cells_of(columns, rows, model) for rows, columns in together.items())


def _cells_of(columns: list[str], rows: Sequence[str], model: TableModel) -> str:
    groups = Counter(model.row(row).group or model.row(row).name for row in rows)
    places = [group if n == 1 else f"{group} ({n} rows)" for group, n in groups.items()]
    return f"{', '.join(columns)}: {listed(places, most=5)}"


def _reading(model: TableModel) -> list[Block]:
    shown = {claim.verdict for claim in model.claims}
    shown |= {cell.judgement.verdict for row in model.rows for cell in row.cells if cell.judgement}
    items = tuple(
        Item(lead=marked(verdict), tone=TONES[verdict], text=meaning(verdict, model.columns))
        for verdict in Verdict
        if verdict in shown
    )
    return [Heading(text="How to read this"), Bullets(items=items)] if items else []


def _notes(model: TableModel) -> list[Block]:
    items = [Item(text=" ".join(part.split())) for part in model.note.split("\n\n") if part.strip()]
    items += [
        Item(lead=model.full_name(row.id), text=" ".join(row.spec.note.split()))
        for row in model.rows
        if row.spec.note
    ]
    items += _reading_notes(model)
    return [Heading(text="Notes"), Bullets(items=tuple(items))] if items else []


def _reading_notes(model: TableModel) -> list[Item]:
    """Notes and doubts about printed numbers, and where they were read."""
    notes: list[Item] = []
    alike, sources = Counter[str](), Counter[str]()
    for row in model.rows:
        for column in model.columns:
            published = row.cell(column.id).published
            if published is None:
                continue
            if published.source:
                sources[published.source] += 1
            about = _about(published)
            if published.confidence != "exact" and not about:
                alike[published.confidence] += 1
            elif about:
                lead = f"{model.full_name(row.id)}, {column.label} {published}"
                notes.append(Item(lead=lead, text=about))
    read = [f"the reading of {count(n, 'number')} is {how} ({DOUBT})" for how, n in alike.items()]
    read += [f"{count(n, 'number')} from {source}" for source, n in sources.items()]
    return notes + [Item(lead="Printed numbers", text=text) for text in read]


def _about(published: Published) -> str:
    """What is to be said of this one number alone; a doubt without a word on it is not."""
    note, meant = " ".join(published.note.split()), published.corrected
    misprint = "" if meant is None else f"misprint for {number(meant.value, meant.decimals)}"
    doubt = f"reading of the paper is {published.confidence}"
    doubt = "" if published.confidence == "exact" or not (note or misprint) else doubt
    return "; ".join(part for part in (doubt, misprint, note) if part)


def _provenance(model: TableModel) -> list[Block]:
    origin = model.provenance
    if not origin.environments:
        return [Heading(text="Provenance"), Paragraph(text="No run has finished yet.")]
    runs = [
        f"{origin.finished} finished",
        *([f"{origin.failed} failed"] if origin.failed else []),
        *([f"{origin.unfinished} not finished"] if origin.unfinished else []),
    ]
    when = f" The last one ended {origin.latest}." if origin.latest else ""
    text = f"Runs: {', '.join(runs)}; {duration(origin.seconds)} of computing in all.{when}"
    blocks: list[Block] = [Heading(text="Provenance"), Paragraph(text=text)]
    blocks += [Paragraph(text=note) for note in origin.notes]
    for environment in origin.environments:
        rows: list[GroupRow | tuple[TableCell, ...]] = [
            (TableCell(text=what), TableCell(text=value)) for what, value in environment.facts
        ]
        columns = (TableColumn(title="What", weight=1.0), TableColumn(title="Value", weight=5.0))
        caption = f"Environment of {count(environment.runs, 'run')}."
        blocks.append(Table(name="environment", caption=caption, columns=columns, rows=tuple(rows)))
    return blocks


def _repeat(model: TableModel) -> list[Block]:
    seeds = f" --seeds {','.join(str(seed) for seed in model.seeds)}" if model.seeds else ""
    target = f"{model.table} --profile {model.profile}"
    lines = [
        f"harness plan {target}      # what would run, and what it needs",
        f"harness run {target}{seeds}",
        f"harness report {target} --format md,csv,html,pdf,tex",
    ]
    if model.reference:
        lines.append(f"harness diff {target}      # your numbers against the reference run")
    return [Heading(text="How to repeat this"), Code(text="\n".join(lines))]


SECTIONS = (
    _short,
    _claims,
    _untested,
    _results,
    _differences,
    _figures,
    _missing,
    _reading,
    _notes,
    _provenance,
    _repeat,
)
"""In the order of the report."""
