"""A small correct spec that tests change."""

from __future__ import annotations

from tests.conftest import TINY_VIT

GOOD = f"""\
paper: {{title: A paper, arxiv: "2302.10494", table: "2"}}
columns:
  acc: {{label: Top-1, from: train, metric: val/top1, unit: "%", better: higher, tolerance: 0.3}}
  pflops: {{from: cost, metric: teacher/train_pmacs, decimals: 0, better: lower, tolerance: 0.5%}}
seeds: [0, 1]
base:
  recipe: light
  data: {{name: fashion-mnist}}
  student: {{{TINY_VIT}}}
rows:
  - id: none
    label: No distillation
    set: {{method: supervised}}
    published: {{acc: 72.0}}
  - id: logit
    set:
      teacher: {{{TINY_VIT}}}
      method: {{name: distillation, mask: {{keep: 8}}}}
    published: {{acc: 75.0, pflops: {{value: 1770, note: scanned}}}}
claims:
  - {{id: helps, text: It helps, holds: "acc[logit] > acc[none]"}}
profiles:
  paper: {{}}
  tiny:
    description: smaller
    seeds: [0]
    base: {{recipe: {{epochs: 2}}}}
    rows: [none, {{id: logit, set: {{recipe: {{lr: 1e-2}}}}}}]
"""


def changed(old: str, new: str, text: str = GOOD) -> str:
    """`text` with the one place that reads `old` replaced."""
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the spec"
    return text.replace(old, new)
