"""What the documentation shows works as it stands there."""

from __future__ import annotations

import csv
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import timm
import torch
from scipy.optimize import brentq

from harness import api
from harness.estimate import UNKNOWN_RATE
from harness.evaluate.flops import counted_macs
from harness.masking import CRITERIA, CriterionInput
from harness.masking.keep import top_k
from harness.masking.views import MASK_SAMPLERS, MaskInput
from harness.methods.losses import LOSSES
from harness.models.cost import efficient_macs
from harness.models.families import FAMILIES
from harness.models.interface import ForwardOutput
from harness.models.vit import VisionTransformer
from harness.plan import gpu_hours
from harness.registry import Registry
from harness.report.collect import data_of
from harness.report.inference import LEVEL
from harness.report.power import POWER, power, seeds_needed
from harness.run import TASKS
from harness.spec.expand import expand
from harness.spec.load import load_table
from tests.data.conftest import write_images

ROOT = Path(__file__).parents[1]


COMPLETE = re.compile(r"`(harness/[\w/]+\.py)`, complete:\n\n```python\n(.*?)```", re.DOTALL)


def examples() -> dict[str, str]:
    """The files of the docs' new components."""
    return dict(COMPLETE.findall((ROOT / "docs/extending.md").read_text()))


def run_example(module: str, registry: Registry[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Import the docs' code for the new file `module`; it is in `registry` until the test ends."""
    registry.names()  # the package's own first
    others = {name: item for name, item in registry._items.items() if item.__module__ != module}
    monkeypatch.setattr(registry, "_items", others)  # it may be there: somebody followed the docs
    code = examples()[f"{module.replace('.', '/')}.py"]
    loaded = ModuleType(module)
    monkeypatch.setitem(sys.modules, module, loaded)
    exec(compile(code, "docs/extending.md", "exec"), loaded.__dict__)


def test_all_components_of_the_docs_make_a_table_together(tmp_path: Path) -> None:
    page = (ROOT / "docs/extending.md").read_text()
    (tmp_path / "mine").mkdir()
    for file, code in examples().items():
        (tmp_path / "mine" / Path(file).name).write_text(code)
    spec = re.search(r"`(experiments/[\w/]+\.yaml)`:\n\n```yaml\n(.*?)```", page, re.DOTALL)
    assert spec is not None
    (tmp_path / spec[1]).parent.mkdir(parents=True)
    (tmp_path / spec[1]).write_text(spec[2])
    plugins = {
        "HARNESS_PLUGINS": "mine",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
    }
    words = ["reproduce", "example/own", "--profile", "small", "--format", "csv,md"]
    shown = run([sys.executable, "-m", "harness", *words], tmp_path, **plugins)
    assert "warning" not in shown
    with (tmp_path / "results/example/own.small.csv").open() as file:
        cells = {(line["row"], line["column"]): line for line in csv.DictReader(file)}
    assert all(cell["n"] == "1" for cell in cells.values()), cells
    assert float(cells["labels", "acc"]["mean"]) > 90  # stripes are easy
    with (tmp_path / "results/example/own.small.claims.csv").open() as file:
        assert float(next(csv.DictReader(file))["estimate"]) < 0
    (report,) = (tmp_path / "reports").rglob("own.small.md")
    (figure,) = re.findall(r"!\[Overconfidence over accuracy\]\((.*?)\)", report.read_text())
    assert (report.parent / figure).read_bytes().startswith(b"\x89PNG")


def test_the_criterion_of_the_docs_works_and_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    run_example("harness.masking.center", CRITERIA, monkeypatch)
    inputs = CriterionInput(
        attention=None,
        batch=2,
        patches=16,
        keep=4,
        device=torch.device("cpu"),
        generator=torch.Generator(),
    )
    assert top_k(CRITERIA.get("center")().scores(inputs), 4).tolist() == [[5, 6, 9, 10]] * 2


def test_the_mask_of_the_docs_works_and_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    run_example("harness.masking.views.top", MASK_SAMPLERS, monkeypatch)
    inputs = MaskInput(
        views=2,
        rows=3,
        columns=4,
        attention=None,
        step_draws=(0.0, 0.0),
        generator=torch.Generator(),
        device=torch.device("cpu"),
    )
    hidden = MASK_SAMPLERS.get("top")(hidden_rows=1).sample(inputs)
    assert hidden.flags().tolist() == [[True] * 4 + [False] * 8] * 2


def test_the_loss_of_the_docs_works_and_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    run_example("harness.methods.losses.scores", LOSSES, monkeypatch)
    student, teacher = torch.tensor([[1.0, 2.0, 6.0]]), torch.tensor([[0.0, 0.0, 0.0]])
    outputs = [ForwardOutput(logits=logits, saliency=None) for logits in (student, teacher)]
    loss = LOSSES.get("scores")
    assert float(loss()(*outputs, None)) == pytest.approx((4 + 1 + 9) / 2)
    assert float(loss(centred=False)(*outputs, None)) == pytest.approx((1 + 4 + 36) / 2)


def test_the_family_of_the_docs_works_and_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    run_example("harness.models.families.medium", FAMILIES, monkeypatch)
    (arch,) = FAMILIES.get("medium").architectures.values()
    with torch.device("meta"):
        model = VisionTransformer(timm.create_model(arch.timm), arch)
    for keep in (196, 98):
        closed = efficient_macs(arch, keep=keep, classes=1000).total
        assert counted_macs(model, keep=keep, efficient=True) == closed


@pytest.mark.parametrize(
    ("page", "heading", "added"),
    [
        ("docs/tutorial.md", "## 4. Add a row", "deit_ti.deit_s.logit.random50"),
        ("docs/extending.md", "## A masking criterion", "deit_ti.deit_s.logit.center50"),
    ],
)
def test_the_rows_of_the_docs_add_their_runs_and_no_others(
    page: str, heading: str, added: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_example("harness.masking.center", CRITERIA, monkeypatch)
    section = (ROOT / page).read_text().split(heading)[1]
    row = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert row is not None
    table = (ROOT / "experiments/maskedkd/table2.yaml").read_text().replace(row[1], "")
    before_this = "      - {id: deit_ti.deit_s.logit.keep25, label"
    assert before_this in table
    path = tmp_path / "experiments/maskedkd/table2.yaml"
    path.parent.mkdir(parents=True)
    for shared in ("recipes", "profiles", "networks.yaml"):
        (tmp_path / "experiments" / shared).symlink_to(ROOT / "experiments" / shared)
    path.write_text(table)
    before = {run.identity for run in expand(load_table(str(path)), "fashion-mnist").runs}
    path.write_text(table.replace(before_this, f"{row[1]}{before_this}", 1))
    after = {
        run.identity: run.title.row for run in expand(load_table(str(path)), "fashion-mnist").runs
    }
    assert before < after.keys()
    new = [after[identity] for identity in after if identity not in before]
    assert set(new) == {added}
    # a seed each, and what its choice costs; its speed is that of any 8 patches
    assert len(new) == 4


def test_another_number_of_patches_of_the_tutorial_stands_at_both_scales(tmp_path: Path) -> None:
    section = (ROOT / "docs/tutorial.md").read_text().split("## 4. Add a row")[1]
    _, of_table, of_profile = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)[:3]
    table = (ROOT / "experiments/maskedkd/table2.yaml").read_text()
    for before, row in (
        ("      - {id: deit_ti.deit_s.logit.keep50, label", of_table),
        ("      - {id: deit_ti.deit_s.logit.keep25, label", of_profile),
    ):
        table = table.replace(before, row + before, 1)
    path = tmp_path / "table2.yaml"
    path.write_text(table)
    for profile, keep in (("paper", 60), ("fashion-mnist", 5)):
        (row,) = expand(load_table(path), profile, rows="deit_ti.deit_s.logit.keep30").rows
        assert row.config.method.mask.keep == keep


def test_the_metrics_of_the_docs_are_those_that_kinds_declare() -> None:
    listed: dict[str, set[str]] = {}
    kind = ""
    page = (ROOT / "docs/metrics.md").read_text()
    for first, second in re.findall(
        r"^\| (`[a-z0-9-]+`)? ?\| (`[^|]*`) \| [^|]* \|$", page, re.MULTILINE
    ):
        kind = first.strip("`") or kind
        listed.setdefault(kind, set()).update(re.findall(r"`([^`]+)`", second))
    own = [name for name in TASKS.names() if TASKS.get(name).__module__.startswith("harness.")]
    assert listed == {name: TASKS.get(name).metrics() for name in own}


@pytest.mark.parametrize(
    ("page", "least", "report"), [("tutorial", 7, "maskedkd/fig2"), ("how-to", 6, "example/sweep")]
)
def test_every_step_of_a_guide_works(page: str, least: int, report: str, tmp_path: Path) -> None:
    experiments = tmp_path / "experiments"
    experiments.mkdir()
    for folder in (ROOT / "experiments").iterdir():
        (experiments / folder.name).symlink_to(folder)
    text = (ROOT / f"docs/{page}.md").read_text()
    steps = re.findall(
        r"(?:^`([^`]+)`[^\n]*:\n\n)?```(\w*)\n(.*?)```", text, re.DOTALL | re.MULTILINE
    )
    commands = 0
    exported: dict[str, str] = {}
    said = ""  # by the last commands
    for file, language, text in steps:
        if file:
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).write_text(text)
        elif language == "python":
            run([sys.executable, "-c", text], tmp_path)
        elif language == "console":
            said = ""
            for line in text.splitlines():
                if line.startswith("$ export "):
                    named = dict(word.split("=") for word in line.split()[2:])
                    assert named.pop("PYTHONPATH") == "$PWD"
                    exported = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), **named}
                    continue
                command = shlex.split(line.removeprefix("$ harness "))
                said += run([sys.executable, "-m", "harness", *command], tmp_path, **exported)
                commands += 1
        elif not language:
            for line in text.splitlines():
                assert " ".join(line.split()) in " ".join(said.split()), f"nothing says: {line}"
    assert commands >= least
    assert (tmp_path / f"reports/{report}.smoke.md").is_file()


def test_the_table_on_own_images_of_the_docs_works(tmp_path: Path) -> None:
    experiments = tmp_path / "experiments"
    experiments.mkdir()
    for shared in ("recipes", "profiles", "networks.yaml"):
        (experiments / shared).symlink_to(ROOT / "experiments" / shared)
    page = (ROOT / "docs/data.md").read_text().partition("## A table on your own images")[2]
    ((file, spec),) = re.findall(r"^`([^`]+)`:\n\n```yaml\n(.*?)```", page, re.DOTALL | re.M)
    (shown,) = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    folders = {f"{half}/{name}": 16 for half in ("train", "val") for name in ("cats", "dogs")}
    write_images(tmp_path / "my/images", folders)
    (experiments / "mine").mkdir()
    (tmp_path / file).write_text(spec)
    for line in shown.splitlines():
        command = shlex.split(line.removeprefix("$ harness "))
        said = run([sys.executable, "-m", "harness", *command], tmp_path)
    assert "reports/mine/images.small.md" in said


def test_the_specs_of_the_how_to_page_hold_at_a_scale_that_means_something(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to.md").read_text()
    assert "Write `fashion-mnist` for `smoke`" in " ".join(page.split())
    found = re.findall(
        r"^`(experiments/[^`]+)`[^\n]*:\n\n```yaml\n(.*?)```", page, re.DOTALL | re.M
    )
    assert len(found) == 2
    for file, spec in found:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(spec.replace("smoke", "fashion-mnist"))
        table = load_table(str(path))
        for profile in table.profiles:
            expansion = expand(table, profile)
            on_holdout = profile.endswith("-choose")
            judged = {row.config.data.evaluate_on for row in expansion.rows}
            assert judged == {"holdout" if on_holdout else "val"}
            assert data_of(expansion).endswith(" (hold-out)") == on_holdout  # the report says so


def test_a_folder_of_ones_own_has_what_the_docs_copy_into_it(tmp_path: Path) -> None:
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "experiments").symlink_to(ROOT / "experiments")
    page = (ROOT / "docs/environment.md").read_text().partition("## A folder of your own")[2]
    (copy,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    subprocess.run(["bash", "-ec", copy], cwd=tmp_path, check=True)
    own = tmp_path / "my-tables"
    tutorial = (ROOT / "docs/tutorial.md").read_text()
    (spec,) = re.findall(
        r"^`experiments/example/table1.*?```yaml\n(.*?)```", tutorial, re.DOTALL | re.M
    )
    (own / "experiments/example").mkdir()
    (own / "experiments/example/table1.yaml").write_text(spec)
    said = run([sys.executable, "-m", "harness", "check"], own)
    assert "ok example/table1: 3 rows, 3 profiles" in said


def run(command: list[str], project: Path, **more: str) -> str:
    """What a command prints in a project; it must succeed."""
    kept = {key: value for key, value in os.environ.items() if key != "HARNESS_HOME"}
    environment = kept | {"HARNESS_RESULTS": str(project / "results"), "PYTHONPATH": str(ROOT)}
    environment |= more
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


REFERENCE = ROOT / "results/reference/amd-epyc-2-cores"
XEON = ROOT / "results/reference/intel-xeon-amx-2-cores"
GPU_BENCHMARKS = ROOT / "results/reference/nvidia-h100/benchmarks"


def lines_of(name: str, folder: Path = REFERENCE) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def means(name: str, column: str) -> dict[str, float]:
    """Of the rows of a reference table."""
    lines = (line for line in lines_of(name) if line["column"] == column and line["mean"])
    return {line["row"]: float(line["mean"]) for line in lines}


def claim(name: str, claim_id: str, form: str, folder: Path = REFERENCE) -> str:
    """A claim's estimate and interval, without their signs, in the docs' words."""
    (line,) = (line for line in lines_of(f"{name}.claims", folder) if line["claim"] == claim_id)
    cents = Decimal("0.01")
    values = [
        abs(Decimal(line[key])).quantize(cents, ROUND_HALF_UP)
        for key in ("estimate", "ci_low", "ci_high")
    ]
    return form.format(values[0], *sorted(values[1:]))


def verdicts(name: str, column: str) -> Counter[str]:
    """Of the printed numbers of a column."""
    lines = (line for line in lines_of(name) if line["column"] == column and line["published"])
    return Counter(line["verdict"] for line in lines)


def test_the_findings_of_the_readme_are_those_of_the_reference_results() -> None:
    small = "maskedkd/table2.fashion-mnist"
    natural = "maskedkd/table2.cifar10-small"
    dino, objects = "attmask/dino.cifar10-small", "maskedkd/fig7.fashion-mnist"
    lut, boxes = "lut/sizes.cifar10-small", "maskedkd/table12-detection.canvases"
    claims, on_natural = (
        Counter(line["verdict"] for line in lines_of(f"{name}.claims") if line["source"] == "paper")
        for name in (small, natural)
    )
    assert set(claims) == set(on_natural) == {"supported", "not settled"}
    teachers = [
        [means(name, key)["deit_ti.deit_s.logit"] for key in ("whole", "half")]
        for name in (small, natural)
    ]
    (left,) = {f"{100 * half / whole:.0f} %" for whole, half in teachers}
    costs = [verdicts(f"maskedkd/table{number}.paper", "pflops") for number in (4, 7, 8, 9)]
    costs.append(verdicts("maskedkd/table3.paper", "tflops"))
    off_a_plot = verdicts("maskedkd/fig6.paper", "gflops")
    assert set(off_a_plot) == {"reproduced"}
    operations = ("attention", "projections", "mlp", "total")
    costs += [verdicts("maskedkd/table10.paper", column) for column in operations]
    assert all(set(cost) <= {"reproduced", "misprint"} for cost in costs)
    assert sum(cost["misprint"] for cost in costs) == 2
    table2 = verdicts("maskedkd/table2.paper", "pflops")
    stated = [
        "Tables 3, 4 and 7 to 10 come out, two of them as misprints",
        f"So do the {off_a_plot.total()} that are read off Figure 6",
        f"{table2['reproduced']} of {table2.total()} of Table 2",
        f"of {claims.total()} claims of MaskedKD's Table 2, {claims['supported']} is supported and "
        f"{claims['not settled']} are not settled",
        claim(small, "distillation-helps", "{:.2f} points (98.15 % CI {:.2f} to {:.2f})"),
        claim(small, "half-the-teacher-is-free", "{:.2f} points ({:.2f} to {:.2f})"),
        f"On CIFAR-10, with a teacher of {teachers[1][0]:.0f} %, "
        f"{on_natural['supported']} of the same claims are supported and "
        f"{on_natural['not settled']} is not settled",
        claim(natural, "distillation-helps", "helps by {:.2f} points ({:.2f} to {:.2f})"),
        claim(natural, "masked-still-beats-none", "none by {:.2f} points ({:.2f} to {:.2f})"),
        claim(natural, "half-the-teacher-is-free", "costs {0:.2f} points"),
        claim(natural, "half-the-teacher-is-free", "a loss of {2:.2f} to a gain of {1:.2f}"),
        f"each keeps {left} of its accuracy",
        claim(dino, "training-helps.linear", "right {:.2f} points more often ({:.2f} to {:.2f})"),
        claim(dino, "high-beats-random.linear", "random masks: {:.2f} points"),
        claim(dino, "high-beats-random.linear", "a loss of {1:.2f} to a gain of {2:.2f}"),
        claim(lut, "mae-helps", "right {:.2f} points more often ({:.2f} to {:.2f})"),
        claim(lut, "lut-helps", "by LUT, {:.2f} points ({:.2f} to {:.2f})"),
        claim(lut, "lut-beats-mae-b", "not settled: {:.2f} points"),
        claim(lut, "lut-beats-mae-b", "a loss of {1:.2f} to a gain of {2:.2f}"),
        claim(objects, "whole-objects", "by {:.2f} points more ({:.2f} to {:.2f})"),
        "MaskedKD's Figure 7",
        claim(boxes, "tokens-help", "tokens: {:.2f} points of AP ({:.2f} to {:.2f})", XEON),
        claim(boxes, "half-is-free", "cost {0:.2f}, from a loss of {2:.2f}", XEON),
        claim(boxes, "half-is-free", "to a gain of {1:.2f}", XEON),
    ]
    linear, knn = (means(dino, column) for column in ("linear", "knn"))
    assert min(linear[row] for row in ("none", "random", "high")) > linear["pixels"] + 1
    assert max(knn[row] for row in ("none", "random", "high")) < knn["pixels"]
    section = (ROOT / "README.md").read_text().split("## What was found")[1].split("## ")[0]
    text = " ".join(section.split())
    for sentence in stated:
        assert sentence in text
        text = text.replace(sentence, "")
    assert not re.search(r"\d", re.sub(r"\(.*?\)", "", text)), "a number that no result gives"


def printed(row: str) -> float:
    """The teacher's accuracy in the paper's Figure 2."""
    rows = {row.id: row for row in load_table("maskedkd/fig2").rows}
    return rows[row].published["teacher_acc"].value


def test_the_measured_numbers_of_other_pages_are_those_of_the_reference_results() -> None:
    knn, linear = (means("search-history/table4", key) for key in ("knn", "linear"))
    masked = means("search-history/dino-tiny", "knn")
    ratio = means("search-history/ratio", "knn")
    controls = {"none", "untrained", "pixels"}
    arms = [value for row, value in masked.items() if row not in controls]
    kinds = [value for row, value in ratio.items() if row not in controls]
    gflops = {
        row: f"{1e3 * value:.2f}"
        for row, value in means("maskedkd/fig6.fashion-mnist", "gflops").items()
    }
    spread = means("maskedkd/fig7.fashion-mnist", "spread")
    short = [means("dinov2/ablation.cifar10-small", key) for key in ("knn", "linear")]
    (mae,) = lines_of("benchmarks/mae-step")
    together = {
        line["step"]: line["as fast as one"] for line in lines_of("benchmarks/two-processes")
    }
    packs = {
        (line["recipe"], line["from"]): (line["CPU ms"].split()[1], line["times as fast"])
        for line in lines_of("benchmarks/packed")
    }
    stated = {
        "tutorial": [
            f"| {float(line['adjusted_low']):.2f} to {float(line['adjusted_high']):.2f} "
            f"| {line['verdict']}"
            for line in lines_of("maskedkd/table2.fashion-mnist.claims")
            if line["claim"] in ("distillation-helps", "half-the-teacher-is-free")
        ],
        "runs": [f"batch 16) {float(together['one message']):.2f} times as fast as one"],
        "masked-autoencoders": [f"batch 1: {float(mae['ratio']):.2f} times as long"],
        "data": [
            f"| {called} | {float(packs[recipe, 'folder'][0]):.1f} ms "
            f"| {float(packs[recipe, 'pack'][0]):.1f} ms, {packs[recipe, 'pack'][1]} times"
            for recipe, called in (
                ("DeiT", "DeiT's recipe"),
                ("multi-crop", "DINO's multi-crop"),
                ("evaluation", "evaluation"),
                ("opening 400 images", "opening 400 images"),
            )
        ]
        + [
            f"{float(ms):.1f} ms, {times} times |"
            for (_, source), (ms, times) in packs.items()
            if source == "pack, 256 px"
        ],
        "footguns": [f"from {printed('keep196'):.1f} to {printed('keep98'):.1f} %"],
        "search-history": [
            f"| the raw pixels | | {knn['pixels']:.1f} % | |",
            f"| the network untrained | 0 | {knn['untrained']:.1f} % "
            f"| {linear['untrained']:.1f} % |",
            f"| iBOT, {len(kinds)} kinds of masks | 422 | "
            f"{min(kinds):.1f} to {max(kinds):.1f} % | |",
            f"| DINO | 1,124 | {knn['dino']:.1f} % | {linear['dino']:.1f} % |",
            f"| DINO with masks, {len(arms)} kinds | 1,124 | "
            f"{min(arms):.1f} to {max(arms):.1f} % | |",
        ],
        "selfdistillation": [
            f"| {called} | {short[0][row]:.1f} % | {short[1][row]:.1f} % |"
            for row, called in (
                ("dino", "DINO"),
                ("ibot", "iBOT"),
                ("layerscale", "+ LayerScale, stochastic depth"),
                ("prototypes", "+ twice the prototypes"),
                ("koleo", "+ KoLeo"),
                ("swiglu", "+ SwiGLU"),
                ("sinkhorn", "+ Sinkhorn-Knopp"),
                ("heads", "+ two heads = DINOv2"),
                ("rates", "all changes of the released code too"),
                ("untrained", "the network untrained"),
                ("pixels", "the raw pixels"),
            )
        ],
        "maskedkd": [
            f"7 patches ({gflops['masked.keep7.of16']} million",
            f"3 merged tokens a block ({gflops['tome.merge3']})",
            f"5 patches ({gflops['masked.keep5.of16']}) against",
            f"5 tokens ({gflops['tome.merge5']})",
            f"by {spread['student']:.0f} points (standard deviation)",
            f"by {spread['random']:.0f} where patches are drawn at random",
        ],
    }
    for page, sentences in stated.items():
        text = " ".join((ROOT / f"docs/{page}.md").read_text().split())
        for sentence in sentences:
            assert sentence in text, f"docs/{page}.md does not say: {sentence}"


def test_the_seeds_to_plan_of_the_docs_are_those_that_the_test_of_claims_needs() -> None:
    text = " ".join((ROOT / "docs/reports.md").read_text().split())
    assert "seeds = 4 + 10 (sd / distance)²" in text
    assert "put 13 for 10" in text
    for factor, claims in ((10, 1), (13, 3)):
        for distance in (3.0, 2.0, 1.5, 1.0, 0.7, 0.5, 0.4):
            needed = seeds_needed(1.0, distance, level=LEVEL / claims)
            assert needed is not None
            assert abs(needed - (4 + factor / distance**2)) <= 1.5
    cases = [(extra, claims) for claims in (1, 3) for extra in (0, 10)]
    for seeds in (3, 6, 12, 30):
        cells = [f"{_seen(seeds, extra, claims):.1f} sd" for extra, claims in cases]
        assert f"| {seeds} | {' | '.join(cells)} |" in text
    spreads = {
        "maskedkd/table2.fashion-mnist": "{} to {} for Table 2 on Fashion-MNIST",
        "maskedkd/table2.cifar10-small": "{} to {} on CIFAR-10",
        "attmask/dino.cifar10-small": "{} to {} for `attmask/dino`",
        "dinov2/ablation.cifar10-small": "{} to {} for `dinov2/ablation`",
        "lut/sizes.cifar10-small": "{1} for `lut/sizes`",
    }
    for name, form in spreads.items():
        sds = [
            float(line["sd_moderated"])
            for line in lines_of(f"{name}.claims")
            if line["sd_moderated"]
        ]
        assert form.format(f"{min(sds):.2f}", f"{max(sds):.2f}") in text
    assert "At 0.26, 11 seeds see 0.3 points; at 0.6, that takes 44" in text
    assert seeds_needed(0.26, 0.3) == 11
    assert seeds_needed(0.6, 0.3) == 44


def _seen(seeds: int, extra: float, claims: int) -> float:
    """The distance in standard deviations that so many seeds find four times of five."""

    def lacking(distance: float) -> float:
        found = power(1.0, distance, np.array([seeds]), level=LEVEL / claims, extra=extra)
        return float(np.nan_to_num(found, nan=1.0)[0]) - POWER

    return float(brentq(lacking, 0.01, 12.0))


def test_the_gpu_hours_of_the_readme_are_those_of_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_RESULTS", str(tmp_path))
    section = (ROOT / "README.md").read_text().split("## What the papers' scale costs")[1]
    lines = re.findall(r"^\| (.*?`) \| (\d+) \| ([\d,]+) \|$", section, re.MULTILINE)
    assert len(lines) == 9
    table = ""
    for named, trainings, hours in lines:
        rows = re.search(r"--rows '(.*)'", named)
        table = table if rows else named.strip("`")
        plan = api.load(table).plan("paper", rows=rows and rows[1])
        assert sum(planned.run.task == "train" for planned in plan.runs) == int(trainings)
        assert f" {hours} hours of one GPU" in gpu_hours(plan.runs)
    (step,) = (line for line in lines_of("gpu", GPU_BENCHMARKS) if line["step"] == "bf16")
    rate = float(step["GFLOP"]) / 2 / (float(step["ms"]) * 1e-3) * 1e9
    assert f"ran at {rate * UNKNOWN_RATE['cuda']:.0f} times" in " ".join(section.split())


def test_the_docs_say_of_which_copy_the_results_on_natural_images_are() -> None:
    record = ROOT / "experiments/teachers/cifar10-small/run.json"
    version = json.loads(record.read_text())["config"]["train"]["data"]["version"]
    text = " ".join((ROOT / "docs/data.md").read_text().split())
    assert f"all published results on CIFAR-10 (version `{version}`) are of such a copy" in text
    for page in ("README.md", "experiments/teachers/cifar10-small/README.md"):
        assert "JPEG copy" in " ".join((ROOT / page).read_text().split())


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """Of all headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_between_documents_leads_somewhere() -> None:
    for page in pages():
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
            if target.startswith("http"):
                continue
            there = page.parent / target if target else page
            assert there.exists(), f"{page.name} links to {target}"
            if anchor:
                assert anchor in anchors(there), f"{page.name} links to {target}#{anchor}"


@pytest.mark.parametrize("folder", ["launch", "data"])
def test_the_largest_folders_are_described_file_by_file(folder: str) -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = text.split(f"`{folder}/`, file by file:")[1].split("\n\n")[1]
    named = re.findall(r"`(\w+)`", "\n".join(line.split("|")[2] for line in table.splitlines()))
    files = {path.stem for path in (ROOT / "harness" / folder).glob("[!_]*.py")}
    assert sorted(named) == sorted(files)


def test_the_reference_of_every_key_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    text, undescribed = importlib.import_module("write_reference").reference()
    assert undescribed == [], "needs a comment beside the field that says what it means"
    assert (ROOT / "docs/reference.md").read_text() == text, "run `make docs`"
    chapters = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert len(chapters) == len(set(chapters)), "a chapter stands there twice"


def test_the_entry_point_groups_of_the_docs_exist() -> None:
    import harness.data
    import harness.masking.views
    import harness.methods.losses
    import harness.models.families
    import harness.report.figures
    import harness.tasks
    from harness import masking, methods, run

    known = {
        f"harness.{registry.kind.replace(' ', '_')}"
        for module in (
            harness.data,
            masking,
            harness.masking.views,
            methods,
            harness.methods.losses,
            harness.models.families,
            harness.report.figures,
            run,
        )
        for registry in vars(module).values()
        if isinstance(registry, Registry)
    }
    text = (ROOT / "docs/extending.md").read_text()
    assert set(re.findall(r"`(harness\.[a-z_]+)`[,.]", text.split("Groups:")[1])) == known
