"""Writes docs/papers.md: of every table and figure of the papers whether it is here, and what of it
has been run. What there is stands below; what has been run is read from the specs under
`experiments/` and from `results/reference/`.

    python docs/write_papers.py
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.spec.table import Column

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/papers.md"
EXPERIMENTS, RESULTS, REPORTS = "experiments", "results/reference", "reports/reference"


@dataclass(frozen=True, kw_only=True)
class Item:
    """A table or a figure: the specs that are it, and what else is to be said; where there is no
    spec, why.
    """

    name: str
    what: str
    specs: tuple[str, ...] = ()
    note: str = ""
    costs: bool = True  # what its specs compute without training is of it


@dataclass(frozen=True, kw_only=True)
class Paper:
    """The tables and figures of one paper, in its order."""

    title: str
    arxiv: str
    source: str  # where what it has is known from
    items: tuple[Item, ...]


def item(name: str, what: str, *specs: str, note: str = "", costs: bool = True) -> Item:
    """An `Item`, shorter to write."""
    return Item(name=name, what=what, specs=specs, note=note, costs=costs)


DRAWING = "a drawing of the method: nothing to compute"
OTHER_TASKS = "no spec asks these tasks of networks that were trained without labels"
NO_NUMBERS = "its numbers could not be had"
FOUNDATION = "a foundation is here for the papers above"

PAPERS = (
    Paper(
        title="MaskedKD",
        arxiv="2302.10494",
        source="the authors' page, a scan of the text, and the released code",
        items=(
            item("Table 1", "not known", note="it could not be had, and nothing quotes it"),
            item("Table 2", "supervised distillation", "maskedkd/table2"),
            item("Table 3", "audio, ESC-50", "maskedkd/table3"),
            item("Table 4", "a masked teacher in DINO", "maskedkd/table4"),
            item("Table 5", "random patches late in training", "maskedkd/table5"),
            item("Table 6", "which attention, layer, patches", "maskedkd/table6"),
            item("Table 7", "teachers with another grid", "maskedkd/table7"),
            item("Table 8", "a frozen student", "maskedkd/table8"),
            item("Table 9", "light and strong augmentation", "maskedkd/table9"),
            item("Table 10", "cost by operation", "maskedkd/table10"),
            item("Table 11", "memory; measured on a GPU, else activations", "maskedkd/table11"),
            item("Table 12", "detection and segmentation", "maskedkd/table12-*"),
            item("Figure 1", "what supervision costs", "maskedkd/fig1"),
            item("Figure 2", "fewer and fewer patches", "maskedkd/fig2", note="its right panel"),
            item("Figure 3", "criteria over training", "maskedkd/fig3"),
            item("Figure 4", "use of patches by criterion", "maskedkd/fig4"),
            item("Figure 5", "use of patches over training", "maskedkd/fig4"),
            item("Figure 6", "masking and merging", "maskedkd/fig6"),
            item("Figure 7", "what random weights hide", "maskedkd/fig7"),
            item("Figure 8", "pipelining on two devices", "maskedkd/fig8"),
            item("Figure 9", "a small and a large teacher", "maskedkd/fig9"),
            item("beyond it", "training x1, x2, x4, x8", "maskedkd/budget", note="a curve of ours"),
        ),
    ),
    Paper(
        title="AttMask",
        arxiv="2203.12719",
        source="the authors' slides, which number no table, and the README of their code",
        items=(
            item("strategies", "masks of iBOT, 20 % of ImageNet", "attmask/strategies",
                 note="computed: that choosing needs no pass of its own"),
            item("strategies", "CIFAR-10 and CIFAR-100, fine-tuned", "attmask/finetune"),
            item("share of the data", "5, 10, 20 and 100 %", "attmask/share"),
            item("Table 3", "masks in DINO, no patch loss", "attmask/dino"),
            item("all of ImageNet", "k-NN, linear, few-shot", "attmask/full"),
            item("mask ratio", "four of 13 cells are known", "attmask/ratio"),
            item("speed of learning", "a curve over epochs", "attmask/strategies",
                 costs=False, note="k-NN every 25 epochs, with claims"),
            item("model zoo", "ViT-S/16, 300 epochs", note="README only: 100 epochs are in "
                 "attmask/full, and `recipe: {epochs: 300}` is the other"),
            item("dense tasks, retrieval, videos", "COCO, ADE20K, ROxford, RParis, DAVIS",
                 note=f"{OTHER_TASKS}, and most numbers could not be had"),
            item("background robustness", "ImageNet-9", note="the data set is not here"),
            item("ablations", "hint rate, layer, heads, probability", note=NO_NUMBERS),
            item("other figures", "pictures of masks and of the method", note=DRAWING),
        ),
    ),
    Paper(
        title="Asymmetric masking of DINO",
        arxiv="2506.10582",
        source="the abstract: nothing else could be had",
        items=(
            item("Tables 1 and 2", "DINO-Tiny on mini-ImageNet", "asymmetric/dino-tiny",
                 note="the arms are named in words alone, so published cells are empty"),
            item("Figure 1", "which views are masked", note=DRAWING),
            item("Figure 2", "attention maps, by the abstract", "asymmetric/dino-tiny",
                 note="the report draws the attention of every head"),
        ),
    ),
    Paper(
        title="LUT",
        arxiv="2310.13593",
        source="the README of the released code",
        items=(
            item("sizes", "ViT-S, ViT-B and ViT-L, fine-tuned", "lut/sizes",
                 note="rows of LUT, MAE, iBOT and DINO's public checkpoints; MoCo v3 is not here"),
            item("ablations", "the loss between views", "lut/views", note=NO_NUMBERS),
            item("segmentation", "ADE20K", "lut/segmentation",
                 note=f"Segmenter's decoder in UPerNet's place; {NO_NUMBERS}"),
            item("fine-grained", "iNaturalist", "lut/transfer", note=NO_NUMBERS),
            item("robustness", "ImageNet-V2, -A, -R and -Sketch", "lut/robustness",
                 note=f"which sets the paper has, and {NO_NUMBERS}"),
            item("figures", "the method, attention, spectra", "lut/sizes",
                 note="the report draws distance and entropy of attention by block, and spectra"),
        ),
    ),
    Paper(
        title="DINO (a foundation)",
        arxiv="2104.14294",
        source="the README of the released code; the numbering was not checked against the text",
        items=(
            item("Table 1", "the networks", note="of no run"),
            item("Table 2", "k-NN and linear", "attmask/full", "maskedkd/table4",
                 costs=False, note="ViT-S/16 for 100 epochs alone, as others quote it"),
            item("Tables 3 to 5", "retrieval, copies, videos", note=OTHER_TASKS),
            item("Table 6", "transfer by fine-tuning",
                 note="`attmask/finetune` shows how to write one"),
            item("Tables 7 and 9", "components, batch sizes",
                 note=FOUNDATION),
            item("Table 8", "time and memory on GPUs", note=FOUNDATION),
            item("Figures 1, 3 and 4", "attention maps", "asymmetric/dino-tiny",
                 note="of our own runs, by the task `attention`"),
            item("Figure 2", "the method", note=DRAWING),
            item("Figures 5 to 7", "patch size, teacher and student, collapse", note=""
                 "every run records what Figure 7 shows (`teacher_entropy`)"),
        ),
    ),
    Paper(
        title="iBOT (a foundation)",
        arxiv="2111.07832",
        source="the README of the released code",
        items=(
            item("ImageNet-1k", "k-NN and linear", "attmask/full", "attmask/strategies",
                 costs=False, note="ViT-S/16 for 100 epochs alone, as AttMask quotes it"),
            item("ImageNet-1k", "fine-tuning", "lut/sizes",
                 note="ViT-S, ViT-B and ViT-L, as LUT quotes them"),
            item("ImageNet-22k", "larger networks", note="the data set is not here"),
            item("other tables", "few labels, clusters, dense tasks, robustness, ablations",
                 note=FOUNDATION),
            item("figures", "the method, patches that look alike", note=FOUNDATION),
        ),
    ),
    Paper(
        title="DINOv2 (a foundation)",
        arxiv="2304.07193",
        source="the README of the released code",
        items=(
            item("Table 1", "from iBOT to DINOv2", "dinov2/ablation"),
            item("README", "ViT-L/16, the short recipe", "dinov2/short"),
            item("other tables", "frozen features of ViT-g and what was distilled from it",
                 note="LVD-142M, the data that they are trained on, is not public"),
            item("figures", "the data, scaling, principal components",
                 note="of networks that are trained on LVD-142M"),
        ),
    ),
    Paper(
        title="MAE (a foundation)",
        arxiv="2111.06377",
        source="the README of the released code; the numbering was not checked against the text",
        items=(
            item("Table 1", "decoder, targets, masks", "mae/ablation",
                 note="the spec's note says which parts are left out"),
            item("Table 2", "time of training", note="`benchmarks/mae_step.py` times a "
                 "step against an encoder that sees all patches"),
            item("Table 3", "ViT-B, ViT-L and ViT-H, fine-tuned", "mae/sizes",
                 note="without ViT-H at 448 px"),
            item("Tables 4 and 5", "COCO, ADE20K", note=OTHER_TASKS),
            item("Table 6", "transfer by fine-tuning", note="the data sets are not here"),
            item("Table 7", "pixels and tokens", note="no tokenizer is here"),
            item("Figures 1 and 6", "the method, kinds of masks", note=DRAWING),
            item("Figures 2 to 4", "reconstructions", "mae/sizes",
                 note="of our own runs, by the task `reconstruction`"),
            item("Figures 5, 7 to 9", "mask ratio, schedule, other losses, partial fine-tuning",
                 note="`mask_ratio` and `epochs` are options"),
        ),
    ),
)  # fmt: skip

INTRODUCTION = """\
# The tables and figures of the papers, one by one

Whether each is here, what of it has been run, and why not where it is not. `make docs` writes this
page from the specs under `experiments/` and the results under `results/reference/`; a test holds it
against them.

- **run at `PROFILE`**: trained and judged there; the link is the report. `paper` is the published
  recipe, all others are scaled down.
- **computed at `PROFILE`**: what needs no training, multiply-adds for the most part, or what is
  timed; no two trained rows of it are there to compare.
- **here, not run**: the spec is there with its profiles, and `harness run` computes it. No result
  of it is published here.
- **not here**: there is no spec, for the reason that is given.
"""


def found(spec: str, root: Path = ROOT) -> list[str]:
    """The specs of this name that there are; it may hold a `*`."""
    paths = sorted((root / EXPERIMENTS).glob(f"{spec}.yaml"))
    return [f"{path.parent.name}/{path.stem}" for path in paths]


@cache
def columns_of(path: Path) -> Mapping[str, Column]:
    """The columns of a spec."""
    from harness.spec.load import load_table

    return load_table(str(path)).columns


def measured(spec: str, root: Path = ROOT) -> dict[str, tuple[bool, str]]:
    """By profile with published results: whether two rows or more, which a claim can compare, have
    a trained cell that is measured; and the report, relative to this page.
    """
    results: dict[str, tuple[bool, str]] = {}
    for path in sorted((root / RESULTS).glob(f"*/{spec}.*.csv")):
        profile = path.name.removeprefix(f"{path.name.partition('.')[0]}.").removesuffix(".csv")
        if "." in profile:  # claims, seeds, images
            continue
        columns = columns_of(root / EXPERIMENTS / f"{spec}.yaml")
        with path.open(encoding="utf-8") as file:
            there = {(line["row"], line["column"]) for line in csv.DictReader(file) if line["mean"]}
        seeds = {name for name, column in columns.items() if column.evidence == "seeds"}
        trained = len({row for row, column in there if column in seeds}) > 1
        report = path.relative_to(root / RESULTS).with_suffix(".md")
        results[profile] = trained, f"../{REPORTS}/{report.as_posix()}"
    return results


def state(one: Item, root: Path = ROOT) -> str:
    """What of it is here, in the words of the introduction."""
    specs = [spec for name in one.specs for spec in found(name, root)]
    if not specs:
        return f"not here: {one.note}" if one.note else "not here yet"
    told = []
    for done, word in ((True, "run at"), (False, "computed at")):
        links = [
            f"[`{profile}`]({report})"
            for spec in specs
            for profile, (trained, report) in measured(spec, root).items()
            if trained is done and (trained or one.costs)
        ]
        if links:
            told.append(f"{word} {', '.join(links)}")
    said = "; ".join(told) or "here, not run"
    return f"{said} ({one.note})" if one.note else said


def page(root: Path = ROOT) -> str:
    """The page as Markdown."""
    parts = [INTRODUCTION]
    for paper in PAPERS:
        link = f"https://arxiv.org/abs/{paper.arxiv}"
        parts.append(
            f"## {paper.title}\n\n[arXiv {paper.arxiv}]({link}). Known from: {paper.source}.\n"
        )
        lines = ["| table or figure | what | spec | state |", "| --- | --- | --- | --- |"]
        for one in paper.items:
            specs = [spec for name in one.specs for spec in found(name, root)]
            links = ", ".join(f"[{spec}](../{EXPERIMENTS}/{spec}.yaml)" for spec in specs)
            lines.append(f"| {one.name} | {one.what} | {links} | {state(one, root)} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
