"""What the documentation shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from harness.masking import CRITERIA, View
from harness.masking.keep import top_k
from harness.registry import Registry
from harness.spec.expand import expand
from harness.spec.load import load_table

ROOT = Path(__file__).parents[1]


def test_the_criterion_of_the_docs_works_and_is_short() -> None:
    text = (ROOT / "docs/extending.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) <= 30
    CRITERIA.names()  # the package's own first
    exec(compile(code[1], "docs/extending.md", "exec"), {"__name__": "harness.masking.center"})
    view = View(
        attention=None,
        batch=2,
        patches=16,
        keep=4,
        device=torch.device("cpu"),
        generator=torch.Generator(),
    )
    assert top_k(CRITERIA.get("center")().scores(view), 4).tolist() == [[5, 6, 9, 10]] * 2


def test_the_row_of_the_docs_adds_its_runs_and_no_others(tmp_path: Path) -> None:
    section = (ROOT / "docs/specs.md").read_text().split("### A row more")[1]
    row = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert row is not None
    table = (ROOT / "experiments/maskedkd/table2.yaml").read_text()
    before_this = "      - id: deit_ti.deit_s.logit.keep25\n        label"
    assert before_this in table
    path = tmp_path / "experiments/maskedkd/table2.yaml"
    path.parent.mkdir(parents=True)
    (tmp_path / "experiments/recipes").symlink_to(ROOT / "experiments/recipes")
    path.write_text(table.replace(before_this, f"{row[1]}{before_this}"))
    before = {run.identity for run in expand(load_table("maskedkd/table2"), "cpu").runs}
    after = {run.identity: run.title.row for run in expand(load_table(str(path)), "cpu").runs}
    assert before < after.keys()
    new = [after[identity] for identity in after if identity not in before]
    assert set(new) == {"deit_ti.deit_s.logit.random50"}
    assert len(new) == 3  # a seed each; its cost and speed are those of any 8 patches


def test_every_link_between_documents_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_entry_point_groups_of_the_docs_exist() -> None:
    import harness.data
    import harness.kinds
    import harness.methods.losses
    from harness import masking, methods, run

    known = {
        f"harness.{registry.kind.replace(' ', '_')}"
        for module in (harness.data, masking, methods, harness.methods.losses, run)
        for registry in vars(module).values()
        if isinstance(registry, Registry)
    }
    text = (ROOT / "docs/extending.md").read_text()
    assert set(re.findall(r"`(harness\.[a-z_]+)`[,.]", text.split("Groups:")[1])) == known
