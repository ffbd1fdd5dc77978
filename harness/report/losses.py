"""What the training of each row minimises: losses of different methods share no axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.spec.expand import ResolvedRow
from harness.spec.identity import to_dict

SCALES = ("weight", "labels", "cls_weight", "patch_weight")
"""Settings of methods that weigh the terms of a loss."""


def losses(rows: Sequence[ResolvedRow]) -> dict[str, str]:
    """By row, in words; the settings that tell two of a name apart are in it."""
    found = {row.row.id: _parts(row) for row in rows}
    alike: dict[str, list[dict[str, Any]]] = {}
    for name, settings in found.values():
        alike.setdefault(name, []).append(settings)
    return {row: _told(name, settings, alike[name]) for row, (name, settings) in found.items()}


def _parts(row: ResolvedRow) -> tuple[str, dict[str, Any]]:
    method = to_dict(row.config.method)
    assert isinstance(method, Mapping)
    loss = method.get("loss")
    name, settings = str(method["name"]), {key: method[key] for key in SCALES if key in method}
    if isinstance(loss, Mapping):
        settings |= {key: value for key, value in loss.items() if key != "name"}
        loss = loss.get("name")
    return str(loss or name), settings


def _told(name: str, settings: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    differ = [key for key in settings if any(o.get(key) != settings[key] for o in others)]
    return ", ".join([name, *(f"{key} {settings[key]}" for key in differ)])
