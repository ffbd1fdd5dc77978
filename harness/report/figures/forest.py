"""The claims at a glance: a forest plot of those that training decides."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Transform, blended_transform_factory

from harness.evidence import Section
from harness.report.drawing import INK, SOFT, WIDTH
from harness.report.figures import FIGURES, Figure
from harness.report.format import HEADINGS, OPERATORS, listed, marked
from harness.report.inference import CONFIDENCE_TEXT
from harness.report.model import ClaimResult, PreconditionResult, TableModel, Verdict
from harness.report.preconditions import drawn_claims, guarded, outcome, values
from harness.report.statistics import Interval
from harness.report.summary import OUTCOMES, TONES
from harness.text import number

TONE_COLOURS = {
    "good": "#0a6b2d",
    "bad": "#b3261e",
    "warn": "#8a5a00",
    "muted": "#656d76",
    "broken": "#7b3fa0",
    "": INK,
}
MARKERS = {
    Verdict.SUPPORTED: "o",
    Verdict.CONTRADICTED: "X",
    Verdict.LEANING: "D",
    Verdict.OUT_OF_SCOPE: "s",
}
"""Filled for verdicts; hollow circles for the rest."""
NAMES = {"×": "ratios"}
"""What stands for a unit in a heading."""
LETTERS = 46  # of a line of the column of claims
LINE = 0.145  # inches, of a line of text
GAP = 0.12  # inches, above and below the text of an item
HEAD, FOOT = 0.32, 0.5  # inches, of a panel: its title, its axis
LEFT, RIGHT = 0.415, 0.77  # of the width: where the panel begins and ends
MOST_ITEMS = 18  # of a figure: more claims go on in one of their own
FIRST_ITEMS = 14  # of the first figure, above which a page has its title and what came out
LEAST_ITEMS = 4  # that a further panel of a figure has room for
MOST_LINES = 4  # of the text of an item
ROOM = 1.12  # of what fits whole, to each side
CERTAIN = 0.75  # of the intervals, by their reach, fit whole
FARTHEST = 3.0  # times the median reach: what lies beyond is an arrow, or the rest were dots


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Claims of one source whose quantities share a unit, in the order of the drawing."""

    title: str
    unit: str
    items: tuple[PreconditionResult | ClaimResult, ...]

    @property
    def claims(self) -> tuple[ClaimResult, ...]:
        """Its claims, without the preconditions that stand above them."""
        return tuple(item for item in self.items if isinstance(item, ClaimResult))

    @property
    def height(self) -> float:
        """In inches, with title and axis."""
        return HEAD + FOOT + sum(map(_height, self.items))


@FIGURES.register("forest")
class ForestPlot(Figure):
    """Per claim its estimate with both intervals, as distance from its margin."""

    section: ClassVar[Section] = "claims"
    place: ClassVar[int] = 0
    longest: ClassVar[int] = MOST_LINES * LETTERS

    def __init__(self, model: TableModel, name: str, page: int = 0) -> None:
        super().__init__(model, name if page == 0 else f"{name}-{page + 1}")
        self.page = page

    @classmethod
    def all_of(cls, model: TableModel, name: str) -> list[Self]:
        """One for each page of claims."""
        return [cls(model, name, page) for page in range(len(pages(panels(model))))]

    def select(self) -> list[Panel]:
        """The panels of its page."""
        return pages(panels(self.model))[self.page]

    def caption(self) -> str:
        """How to read it, on the first page; how many claims are not in it."""
        if self.page:
            return "The forest plot goes on."
        parts = [
            "Claims that training decides, as distance of the estimate from the claim's margin: to "
            "the right, in the shaded half, lies what is claimed. Thick: the interval of the claim "
            f"alone ({CONFIDENCE_TEXT}); thin: adjusted for the number of claims. A grey tick "
            "marks no difference."
        ]
        claims = [claim for panel in self.select() for claim in panel.claims]
        if any(_distance_of_own(claim) is not None for claim in claims):
            parts.append(
                "Dotted: the margin that the claim itself names, where half of the gain that can "
                "be lost is less; only beyond it is the claim contradicted."
            )
        if any(claim.preconditions for claim in claims):
            parts.append("Preconditions stand here where they do not hold or are not settled.")
        if any(_beyond(panel) for panel in self.select()):
            parts.append("Arrow: the interval goes on.")
        if any(_is_far(panel, claim) for panel in self.select() for claim in panel.claims):
            parts.append("An arrow without a mark: so does the estimate; its number is beside it.")
        drawn = {claim.claim.id for claim in drawn_claims(self.model)}
        rest = [claim for claim in self.model.claims if claim.claim.id not in drawn]
        without = sum(self.model.is_trained(claim) for claim in rest)
        others = ((without, "without a result"), (len(rest) - without, "computed or timed"))
        told = [f"{n} {what}" for n, what in others if n]
        if told:
            parts.append(f"Not drawn, but in the tables: {listed(told)}.")
        return " ".join(parts)

    def alt(self) -> str:
        """The tally of what it shows."""
        tally = Counter(claim.verdict for panel in self.select() for claim in panel.claims)
        counts = [f"{tally[verdict]} {verdict}" for verdict in OUTCOMES if tally[verdict]]
        return f"Forest plot of the claims: {listed(counts, most=len(counts))}"

    def draw(self) -> Drawing:
        """The panels from top to bottom."""
        shown = self.select()
        height = sum(panel.height for panel in shown)
        figure = Drawing(figsize=(WIDTH, height))
        figure.set_layout_engine("none")
        top = height
        for panel in shown:
            inside = panel.height - HEAD - FOOT
            bottom = top - HEAD - inside
            axes = figure.add_axes((LEFT, bottom / height, RIGHT - LEFT, inside / height))
            _draw_panel(axes, panel)
            top -= panel.height
        return figure


def panels(model: TableModel) -> list[Panel]:
    """The paper's claims before our own checks, a panel for each unit."""
    made = []
    for source, heading in HEADINGS.items():
        drawn = [claim for claim in drawn_claims(model) if claim.source == source]
        for unit in dict.fromkeys(claim.unit for claim in drawn):
            members = [claim for claim in drawn if claim.unit == unit]
            title = heading if unit in ("", "points") else f"{heading}, {NAMES.get(unit, unit)}"
            made.append(Panel(title=title, unit=unit, items=tuple(_items(members))))
    return made


def _items(claims: Iterable[ClaimResult]) -> Iterator[PreconditionResult | ClaimResult]:
    """Claims below what does not hold or is open; first those of which all holds, for the tables
    say so.
    """
    groups = [
        ([one for one in preconditions if one.verdict is not Verdict.SUPPORTED], members)
        for preconditions, members in guarded(claims)
    ]
    for preconditions, members in sorted(groups, key=lambda group: bool(group[0])):
        yield from preconditions
        yield from members


def pages(every: Sequence[Panel]) -> list[list[Panel]]:
    """The panels on pages of `MOST_ITEMS`; one that does not fit goes on on the next. By number,
    not by height, so that no change of a text moves a claim to another page.
    """
    made: list[list[Panel]] = []
    room = 0
    for panel in every:
        rest = list(panel.items)
        while rest:
            if room < min(LEAST_ITEMS, len(rest)):
                room = MOST_ITEMS if made else FIRST_ITEMS
                made.append([])
            part, rest = rest[:room], rest[room:]
            while rest and isinstance(part[-1], PreconditionResult) and len(part) > 1:
                rest.insert(0, part.pop())  # not without a claim below it
            begun = len(part) + len(rest) < len(panel.items)
            title = f"{panel.title}, continued" if begun else panel.title
            made[-1].append(Panel(title=title, unit=panel.unit, items=tuple(part)))
            room -= len(part) + 2  # its title and axis
    return made


def _lines(item: PreconditionResult | ClaimResult) -> list[str]:
    text = item.claim.text if isinstance(item, ClaimResult) else f"Given: {item.text}"
    lines = textwrap.wrap(text, LETTERS) or [""]
    return lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], "…"]


def _notes(item: PreconditionResult | ClaimResult) -> list[str]:
    """What stands to the right of an item, the verdict first."""
    if isinstance(item, PreconditionResult):
        return [outcome(item)]
    assert item.estimate is not None
    sign = "×" if item.unit == "×" else ""  # other units stand below the panel
    estimate, margin = (f"{number(x, item.decimals)}{sign}" for x in (item.estimate, item.margin))
    limit = f"{OPERATORS[item.claim.holds.operator]} {margin}"
    return [marked(item.verdict), f"{estimate}, claimed {limit}"]


def _height(item: PreconditionResult | ClaimResult) -> float:
    return GAP + LINE * max(len(_lines(item)), len(_notes(item)))


def _draw_panel(axes: Axes, panel: Panel) -> None:
    far = _limit(panel)
    axes.set_xlim(-far, far)
    axes.set_ylim(sum(map(_height, panel.items)), 0)
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.axvspan(0, far, color=TONE_COLOURS["good"], alpha=0.07, lw=0, zorder=0)
    axes.axvline(0, color=INK, lw=1, zorder=2)
    axes.text(
        0.012, 1, panel.title, transform=blended_transform_factory(_whole(axes), axes.transAxes),
        va="bottom", fontsize=9.5, fontweight="bold",
    )  # fmt: skip
    for x, side in ((0.0, "not as claimed"), (1.0, "as claimed")):
        align = "left" if x == 0 else "right"
        axes.text(x, 1, side, transform=axes.transAxes, va="bottom", ha=align, fontsize=7.5,
                  color="#5f5f5f")  # fmt: skip
    unit = f" ({panel.unit})" if panel.unit else ""
    far_from = "times beyond the margin" if panel.unit == "×" else f"distance from the margin{unit}"
    axes.set_xlabel(far_from, fontsize=7.5)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(_times if panel.unit == "×" else _plain))
    y = 0.0
    for before, item in zip((None, *panel.items), panel.items, strict=False):
        middle = y + _height(item) / 2
        if before is not None and not isinstance(before, PreconditionResult):
            axes.axhline(y, color="#e6e6e6", lw=0.6, zorder=0)
        _write(axes, item, middle)
        if isinstance(item, ClaimResult):
            _draw_claim(axes, item, middle, far)
        y += _height(item)


def _times(x: float, _: object) -> str:
    return f"{math.exp(x):.3g}×"


def _plain(x: float, _: object) -> str:
    return f"{x:g}".replace("-", "−")


def _whole(axes: Axes) -> Transform:
    figure = axes.get_figure()
    assert figure is not None
    return figure.transSubfigure


def _write(axes: Axes, item: PreconditionResult | ClaimResult, y: float) -> None:
    """The words to the left and to the right."""
    place = blended_transform_factory(_whole(axes), axes.transData)
    is_claim = isinstance(item, ClaimResult)
    colour = TONE_COLOURS[TONES[item.verdict]]
    axes.text(
        0.012 if is_claim else 0.025, y, "\n".join(_lines(item)), transform=place, va="center",
        fontsize=7.6 if is_claim else 7, color=INK if is_claim else "#5f5f5f", linespacing=1.25,
        style="normal" if is_claim else "italic",
    )  # fmt: skip
    first, *rest = _notes(item)
    lines = 1 + len(rest)
    for at, text in enumerate((first, *rest)):
        axes.text(
            RIGHT + 0.02, y + (at - (lines - 1) / 2) * LINE, text, transform=place, va="center",
            fontsize=7.6 if at == 0 and is_claim else 7, color=colour if at == 0 else INK,
            fontweight="bold" if at == 0 and is_claim else "normal",
        )  # fmt: skip
    if isinstance(item, PreconditionResult):
        axes.text(
            0, y, values(item, interval=False), ha="center", va="center", fontsize=7, zorder=6,
            color="#5f5f5f", style="italic",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip


def _draw_claim(axes: Axes, claim: ClaimResult, y: float, far: float) -> None:
    colour = TONE_COLOURS[TONES[claim.verdict]]
    for interval, width in ((claim.adjusted, 1.1), (claim.ci, 3.4)):
        if interval is None or claim.n < 2:
            continue
        low, high = _ends(claim, interval)
        if low > far or high < -far:  # all of it lies beyond
            continue
        axes.plot([max(low, -far), min(high, far)], [y, y], color=colour, lw=width, zorder=3,
                  solid_capstyle="butt", alpha=1 if width < 2 else 0.65)  # fmt: skip
        for end, beyond, arrow in ((-far, low < -far, "<"), (far, high > far, ">")):
            if beyond:
                axes.plot(end, y, arrow, color=colour, ms=6, mew=0, zorder=4, clip_on=False)
    filled = claim.verdict in MARKERS
    assert claim.estimate is not None
    at = _distance(claim, claim.estimate)
    if abs(at) > far:
        axes.plot(math.copysign(far, at), y, "<" if at < 0 else ">", color=colour, ms=6, mew=0,
                  zorder=4, clip_on=False)  # fmt: skip
    else:
        axes.plot(
            at, y, MARKERS.get(claim.verdict, "o"), ms=6, mec=colour,
            mfc=colour if filled else "white", mew=1.1, zorder=5,
        )  # fmt: skip
    none = _distance_of_none(claim)
    if none is not None and abs(none) < far:
        axes.plot([none, none], [y - 0.09, y + 0.09], color=SOFT, lw=1.2, zorder=2)
    own = _distance_of_own(claim)
    if own is not None and abs(own) < far:
        axes.plot([own, own], [y - 0.16, y + 0.16], color=INK, lw=1.2, ls=(0, (1, 1)), zorder=2)


def _distance_of_own(claim: ClaimResult) -> float | None:
    """Where the margin of the claim's own words lies, if an assay has made it stricter."""
    own = claim.claim.holds.offset
    if claim.claim.assay is None or _is_ratio(claim) or own == claim.margin:
        return None
    return _distance(claim, own)


def _is_ratio(claim: ClaimResult) -> bool:
    return claim.unit == "×" and claim.margin > 0


def _distance(claim: ClaimResult, value: float) -> float:
    """From the margin, towards the claimed side; on the scale of the logarithm for ratios."""
    towards = 1 if claim.claim.holds.operator in (">=", ">") else -1
    if _is_ratio(claim):
        return towards * (math.log(max(value, 1e-12)) - math.log(claim.margin))
    return towards * (value - claim.margin)


def _ends(claim: ClaimResult, interval: Interval) -> tuple[float, float]:
    low, high = sorted(_distance(claim, end) for end in (interval.low, interval.high))
    return low, high


def _distance_of_none(claim: ClaimResult) -> float | None:
    """Where no difference lies, if that is not the margin itself."""
    if " − " in claim.quantity and claim.margin:
        return _distance(claim, 0)
    return _distance(claim, 1) if _is_ratio(claim) and claim.margin != 1 else None


def _limit(panel: Panel) -> float:
    """How far the axis reaches: most intervals whole, and the estimates that are not far beyond."""
    estimates = [abs(_distance(c, c.estimate)) for c in panel.claims if c.estimate is not None]
    ends = sorted(max(map(abs, _ends(c, i))) for c in panel.claims for i in _intervals(c))
    if not ends:
        return ROOM * max(estimates, default=0.0) or 1.0
    most = FARTHEST * ends[(len(ends) - 1) // 2]
    usual = min(ends[math.ceil(CERTAIN * len(ends)) - 1], most)
    return ROOM * max([usual, *(x for x in estimates if x <= most)]) or 1.0


def _is_far(panel: Panel, claim: ClaimResult) -> bool:
    return claim.estimate is not None and abs(_distance(claim, claim.estimate)) > _limit(panel)


def _intervals(claim: ClaimResult) -> list[Interval]:
    return [i for i in (claim.ci, claim.adjusted) if i is not None and claim.n > 1]


def _beyond(panel: Panel) -> bool:
    far = _limit(panel)
    return any(max(map(abs, _ends(c, i))) > far for c in panel.claims for i in _intervals(c))
