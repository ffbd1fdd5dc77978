"""Pre-training, then fine-tuning with a new head on other data: from one spec, by the command."""

from __future__ import annotations

import json

from harness.cli import main
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import Store
from tests.conftest import TINY_VIT, Experiments
from tests.tasks.pictures import write_pictures


def test_a_backbone_goes_on_with_other_data_and_a_new_head(experiments: Experiments) -> None:
    write_pictures(experiments.root / "pictures")
    experiments.table(
        "self/tiny",
        f"""
        paper: {{title: A table}}
        columns:
          acc: {{from: train, metric: val/top1}}
        base:
          recipe: {{from: light, batch_size: 25, epochs: 2}}
          data: {{name: folder, path: pictures}}
          student: {{{TINY_VIT}, channels: 3}}
          method: supervised
        rows:
          - id: pretrained
            set:
              recipe: {{epochs: 1}}
              method:
                name: dino
                head: {{out_dim: 32, hidden: 16, bottleneck: 8}}
                crops: {{local_size: 14, local_crops: 2}}
          - id: finetuned
            set:
              student: {{weights: {{run: "#pretrained", head: new}}}}
              recipe: {{lr: 5e-2, layer_decay: 0.75}}
        profiles:
          smoke: {{description: small, seeds: [0, 1]}}
        """,
    )
    runs = expand(load_table("self/tiny"), "smoke", rows="finetuned").runs
    assert [run.title.row for run in runs] == ["pretrained", "finetuned", "finetuned"]
    assert runs[1].depends == runs[2].depends == (runs[0].identity,)
    assert main(["run", "self/tiny", "--profile", "smoke", "--rows", "finetuned"]) == 0
    store = Store(experiments.root / "results")
    records = [store.record(run.identity) for run in runs]
    assert [record and record.state for record in records] == ["done"] * 3
    for record in records[1:]:
        assert record is not None
        result = json.loads((record.directory / "result.json").read_text())["metrics"]
        assert 0 <= result["val/top1"] <= 100
