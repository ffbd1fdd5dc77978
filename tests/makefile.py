"""What `make` would do."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def outside() -> dict[str, str]:
    """The environment without what an outer `make test` exported into it."""
    declared = re.search(r"^VARIABLES := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert declared is not None
    exported = {*declared[1].split(), "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"}
    return {name: value for name, value in os.environ.items() if name not in exported}


def reproduced(target: str) -> list[str]:
    """The tables that `make TARGET` computes and reports."""
    done = subprocess.run(
        ["make", "-n", target],
        cwd=ROOT,
        env=outside(),
        capture_output=True,
        text=True,
        check=True,
    )
    return re.findall(r"-m harness reproduce (\S+) ", done.stdout)
