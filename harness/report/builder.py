"""What a report says, in order: verdicts first, then the evidence, then how to repeat it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.evidence import Section
from harness.report.claim_tables import basis_table, claim_rows, claims_table
from harness.report.document import (
    Appendix,
    Block,
    Bullets,
    Commands,
    Document,
    GroupRow,
    Heading,
    Item,
    Paragraph,
    Picture,
    TableCell,
    TableColumn,
    TextTable,
)
from harness.report.format import HEADINGS, NOUNS, listed, marked, ranges
from harness.report.legend import INTERVALS, meaning
from harness.report.main_table import DOUBT, main_table, printed_table
from harness.report.model import TableModel, Untested, Verdict
from harness.report.preconditions import drawn_claims
from harness.report.scope import interval_scope
from harness.report.summary import (
    MOST_NAMED,
    TONES,
    collapse,
    findings,
    headline,
    said_of,
    together,
    untested,
)
from harness.spec.table import Published, is_smoke_test
from harness.text import count, duration, number

MOST_SEEDS_LISTED = 8


def build_report(model: TableModel) -> Document:
    """The report of `model`."""
    title = title_of_report(model)
    blocks: list[Block] = [
        Heading(text=title, level=1),
        Paragraph(text=_origin(model), tone="muted"),
    ]
    for section in SECTIONS:
        blocks.extend(section(model))
    subject = f"{model.table}, profile {model.profile}"
    return Document(title=title, subject=subject, blocks=tuple(blocks))


def title_of_report(model: TableModel) -> str:
    """Which table of which paper; where it is scaled down, the data set that it is about in place
    of the paper's caption, which may name what the paper trained on.
    """
    name = f"{model.short}, {_place(model)}" if model.short else _place(model)
    if model.as_published:
        return f"{name}: {model.caption}" if model.caption else name
    if not model.data:
        return f"{name}, profile {model.profile}"
    if is_smoke_test(model.profile):
        return f"{name}, a smoke test on {model.data}"
    if model.data == model.paper_data:
        return f"{name} scaled down, on {model.data}"
    return f"{name} at the scale of {model.data}"


def _place(model: TableModel) -> str:
    """Where it stands in the paper; the spec's name, if nowhere."""
    if model.number[:1].isdigit():
        return f"Table {model.number}"
    if model.number.startswith("Fig."):
        return model.number
    return model.table.rpartition("/")[2] if model.short else model.table


def _origin(model: TableModel) -> str:
    arxiv = f" (arXiv {model.arxiv})" if model.arxiv else ""
    about = f"Report of `{model.table}` at profile `{model.profile}`{_seeds(model)}."
    caption = "" if model.as_published else model.caption.rstrip(".")
    in_paper = f" In the paper: {caption}." if caption else ""
    return f"{model.title}{arxiv}.{in_paper} {about}"


def _seeds(model: TableModel) -> str:
    """The seeds that have run, and those that are planned."""
    finished = model.finished_seeds
    open_seeds = [seed for seed in model.seeds if seed not in finished]
    if not finished:
        return f", no seed has finished ({_numbers(open_seeds)} planned)" if open_seeds else ""
    planned = f" ({_numbers(open_seeds)} not finished)" if open_seeds else ""
    return f", {_numbers(finished)}{planned}"


def _numbers(seeds: Sequence[int]) -> str:
    word = "seed" if len(seeds) == 1 else "seeds"
    few = len(seeds) <= MOST_SEEDS_LISTED
    return (
        f"{word} {listed([str(seed) for seed in seeds], most=len(seeds)) if few else ranges(seeds)}"
    )


def _short(model: TableModel) -> list[Block]:
    """What came out, in a paragraph and a picture of the claims."""
    blocks: list[Block] = [Heading(text="In short"), Paragraph(text=headline(model))]
    items: list[Item] = []
    if model.unreadable:
        text = f"{'; '.join(model.unreadable)}."
        items.append(Item(lead="Damaged files, left out", tone="broken", text=text))
    if text := collapse(model):
        items.append(Item(lead="Collapsed", tone="bad", text=f"{text}."))
    blocks += [Bullets(items=tuple(items))] if items else []
    pictures = _pictures(model, "claims")
    blocks += pictures
    rest = findings(model, drawn={claim.claim.id for claim in drawn_claims(model)})
    if model.untested:
        text = f"{count(len(model.untested), 'claim')} of the table, {_where_listed(model)}."
        lead = "Cannot be tested at this profile"
        rest = (*rest, Item(lead=lead, tone="muted", text=text))
    blocks += [Bullets(items=rest)] if rest else []
    if text := interval_scope(model):
        blocks.append(Paragraph(text=text, tone="muted"))
    return blocks


def _claims(model: TableModel) -> list[Block]:
    """The paper's claims under one heading, our own checks under another."""
    blocks: list[Block] = []
    for source in NOUNS:
        if claims := model.claims_by(source):
            blocks += [Heading(text=HEADINGS[source]), claims_table(source, claim_rows(claims))]
    basis = basis_table([claim for claim in model.claims if model.is_trained(claim)])
    return [*blocks, Heading(text="What the verdicts rest on"), basis] if basis else blocks


def _where_listed(model: TableModel) -> str:
    """Where the claims stand that cannot be tested here."""
    if _lists_untested(model):
        return "listed at the end"
    return f"listed with all others by `harness report {model.table} --profile paper`"


def _lists_untested(model: TableModel) -> bool:
    """Whether this report does it: many would fill pages, and are claims at the paper's recipe."""
    return model.as_published or not model.paper_data or len(model.untested) <= MOST_NAMED


def _untested(model: TableModel) -> list[Block]:
    """The claims that have no rows here, in their own words: silence would read as agreement."""
    if not model.untested or not _lists_untested(model):
        return []
    items = tuple(_absent(alike) for alike in together(model.untested, _statement))
    blocks = (Paragraph(text=untested(model)), Bullets(items=items))
    return [Appendix(title="What this profile cannot test", blocks=blocks)]


def _statement(one: Untested) -> object:
    """What the claim says of one of several rows, and whether they are here."""
    says, of = said_of(one.claim.text)
    return (says, not one.missing_rows) if of else None


def _absent(claims: Sequence[Untested]) -> Item:
    first = claims[0]
    if len(claims) == 1:
        text = f"{first.claim.text} ({_absence(first)})."
        return Item(lead=first.claim.id, tone="muted", text=text)
    says, _ = said_of(first.claim.text)
    why = (
        "no rows of these"
        if first.missing_rows
        else "their rows are here, the profile leaves it out"
    )
    each = "; ".join(said_of(one.claim.text)[1] for one in claims)
    return Item(
        lead=f"{says} ({count(len(claims), 'claim')}, {why})", tone="muted", text=f"{each}."
    )


def _absence(untested_claim: Untested) -> str:
    rows = [f"`{row}`" for row in untested_claim.missing_rows]
    if not rows:
        return "its rows are here, the profile leaves it out"
    return f"no {'row' if len(rows) == 1 else 'rows'} {listed(rows)}"


def _results(model: TableModel) -> list[Block]:
    where = f" on {model.data}" if model.data and not model.as_published else ""
    return [Heading(text=f"Results{where}"), main_table(model)]


def _printed(model: TableModel) -> list[Block]:
    """The paper's numbers, away from those that are not to be held against them."""
    printed = printed_table(model)
    if printed is None:
        return []
    where = f", on {model.paper_data}" if model.paper_data else ", at its own scale"
    return [Appendix(title=f"What the paper prints{where}", blocks=(printed,))]


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
    table = TextTable(
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
    drawn = _pictures(model, "plots")
    return [Heading(text="Plots"), *drawn] if drawn else []


def _pictures(model: TableModel, section: Section) -> list[Picture]:
    from harness.report.figures import figures  # not above: it imports all that draws

    return [
        Picture(name=figure.name, caption=figure.caption(), alt=figure.alt())
        for figure in figures(model)
        if figure.section == section
    ]


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
    table = TextTable(
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
    if drawn_claims(model):
        items = (Item(lead="Intervals of claims", text=INTERVALS), *items)
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
        blocks.append(
            TextTable(name="environment", caption=caption, columns=columns, rows=tuple(rows))
        )
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
    return [Heading(text="How to repeat this"), Commands(text="\n".join(lines))]


SECTIONS = (
    _short,
    _claims,
    _results,
    _differences,
    _figures,
    _missing,
    _reading,
    _notes,
    _provenance,
    _repeat,
    _untested,
    _printed,
)
"""In the order of the report."""
