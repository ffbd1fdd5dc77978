"""Where the project's files lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def project_root() -> Path:
    """The folder that holds `experiments/`: $HARNESS_HOME, or the nearest one upward, or the
    checkout of this package.
    """
    home = os.environ.get("HARNESS_HOME")
    if home:
        return Path(home).expanduser().resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "experiments").is_dir():
            return folder
    return Path(__file__).resolve().parents[1]
