"""What `make` would do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def reproduced(target: str) -> list[str]:
    """The tables that `make TARGET` computes and reports."""
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return re.findall(r"-m harness reproduce (\S+) ", done.stdout)
