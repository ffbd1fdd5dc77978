"""What the documentation shows works as it stands there."""

from __future__ import annotations

import csv
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import timm
import torch

from harness.evaluate.flops import counted_macs
from harness.masking import CRITERIA, CriterionInput
from harness.masking.keep import top_k
from harness.masking.views import MASK_SAMPLERS, MaskInput
from harness.methods.losses import LOSSES
from harness.models.cost import efficient_macs
from harness.models.families import FAMILIES
from harness.models.interface import ForwardOutput
from harness.models.vit import VisionTransformer
from harness.registry import Registry
from harness.run import TASKS
from harness.spec.expand import expand
from harness.spec.load import load_table

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
    for file, code in examples().items():
        (tmp_path / "plugins").mkdir(exist_ok=True)
        (tmp_path / "plugins" / Path(file).name).write_text(code)
    spec = re.search(r"`(experiments/[\w/]+\.yaml)`:\n\n```yaml\n(.*?)```", page, re.DOTALL)
    assert spec is not None
    (tmp_path / spec[1]).parent.mkdir(parents=True)
    (tmp_path / spec[1]).write_text(spec[2])
    plugins = {
        "HARNESS_PLUGINS": ",".join(Path(file).stem for file in examples()),
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "plugins"), str(ROOT)]),
    }
    words = ["reproduce", "example/own", "--profile", "small", "--format", "csv"]
    shown = run([sys.executable, "-m", "harness", *words], tmp_path, **plugins)
    assert "warning" not in shown
    with (tmp_path / "results/example/own.small.csv").open() as file:
        cells = {(line["row"], line["column"]): line for line in csv.DictReader(file)}
    assert all(cell["n"] == "1" for cell in cells.values()), cells
    assert float(cells["labels", "acc"]["mean"]) > 90  # stripes are easy
    with (tmp_path / "results/example/own.small.claims.csv").open() as file:
        assert float(next(csv.DictReader(file))["estimate"]) < 0


def test_the_criterion_of_the_docs_works_and_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    run_example("harness.masking.center", CRITERIA, monkeypatch)
    view = CriterionInput(
        attention=None,
        batch=2,
        patches=16,
        keep=4,
        device=torch.device("cpu"),
        generator=torch.Generator(),
    )
    assert top_k(CRITERIA.get("center")().scores(view), 4).tolist() == [[5, 6, 9, 10]] * 2


def test_the_mask_of_the_docs_works_and_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    run_example("harness.masking.views.top", MASK_SAMPLERS, monkeypatch)
    sight = MaskInput(
        views=2,
        rows=3,
        columns=4,
        attention=None,
        step_draws=(0.0, 0.0),
        generator=torch.Generator(),
        device=torch.device("cpu"),
    )
    hidden = MASK_SAMPLERS.get("top")(hidden_rows=1).hide(sight)
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
        assert counted_macs(model, keep=keep, lean=True) == closed


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
    assert len(new) == 3  # a seed each; its cost and speed are those of any 8 patches


def test_the_metrics_of_the_docs_are_those_that_kinds_declare() -> None:
    listed: dict[str, set[str]] = {}
    kind = ""
    page = (ROOT / "docs/specs.md").read_text()
    for first, second in re.findall(
        r"^\| (`[a-z-]+`)? ?\| (`[^|]*`) \| [^|]* \|$", page, re.MULTILINE
    ):
        kind = first.strip("`") or kind
        listed.setdefault(kind, set()).update(re.findall(r"`([^`]+)`", second))
    own = [name for name in TASKS.names() if TASKS.get(name).__module__.startswith("harness.")]
    assert listed == {name: TASKS.get(name).metrics() for name in own}


def test_every_step_of_the_tutorial_works(tmp_path: Path) -> None:
    experiments = tmp_path / "experiments"
    experiments.mkdir()
    for folder in (ROOT / "experiments").iterdir():
        (experiments / folder.name).symlink_to(folder)
    page = (ROOT / "docs/tutorial.md").read_text()
    steps = re.findall(r"(?:^`([^`]+)`:\n\n)?```(\w+)\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    commands = 0
    for file, language, text in steps:
        if file:
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).write_text(text)
        elif language == "python":
            run([sys.executable, "-c", text], tmp_path)
        elif language == "console":
            for line in text.splitlines():
                command = shlex.split(line.removeprefix("$ harness "))
                run([sys.executable, "-m", "harness", *command], tmp_path)
                commands += 1
    assert commands >= 7
    assert (tmp_path / "reports/maskedkd/fig2.smoke.md").is_file()


def run(command: list[str], project: Path, **more: str) -> str:
    """What a command prints in a project; it must succeed."""
    kept = {key: value for key, value in os.environ.items() if key != "HARNESS_HOME"}
    environment = kept | {"HARNESS_RESULTS": str(project / "results"), "PYTHONPATH": str(ROOT)}
    environment |= more
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


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


def test_the_reference_of_every_key_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    text, undescribed = importlib.import_module("write_reference").reference()
    assert undescribed == [], "needs a comment beside the field that says what it means"
    assert (ROOT / "docs/reference.md").read_text() == text, "run `make docs`"


def test_the_entry_point_groups_of_the_docs_exist() -> None:
    import harness.data
    import harness.masking.views
    import harness.methods.losses
    import harness.models.families
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
            run,
        )
        for registry in vars(module).values()
        if isinstance(registry, Registry)
    }
    text = (ROOT / "docs/extending.md").read_text()
    assert set(re.findall(r"`(harness\.[a-z_]+)`[,.]", text.split("Groups:")[1])) == known
