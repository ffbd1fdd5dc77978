"""What the documentation shows works as it stands there."""

from __future__ import annotations

import importlib
import re
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


def run_example(module: str, registry: Registry[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Import the docs' code for the new file `module`: complete, and in under 30 lines.

    It is in `registry` until the test ends.
    """
    registry.names()  # the package's own first
    others = {name: item for name, item in registry._items.items() if item.__module__ != module}
    monkeypatch.setattr(registry, "_items", others)  # it may be there: somebody followed the docs
    file = f"`{module.replace('.', '/')}.py`, complete:"
    section = (ROOT / "docs/extending.md").read_text().split(file)[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) < 30
    found = ModuleType(module)
    monkeypatch.setitem(sys.modules, module, found)
    exec(compile(code[1], "docs/extending.md", "exec"), found.__dict__)


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
        ("docs/specs.md", "### A row more", "deit_ti.deit_s.logit.random50"),
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
