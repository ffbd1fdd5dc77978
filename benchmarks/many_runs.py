"""How long ten thousand runs take to be planned and shown (meant: 3 s and 5 s on one core).

    python benchmarks/many_runs.py [--runs 10000]

Each command is a process of its own; first nothing is done, then 8 runs in 10.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.conftest import Experiments
from tests.test_scale import fill, large


def seconds(*words: str) -> float:
    """Of `harness WORDS`."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "harness", *words], check=True, capture_output=True)
    return time.perf_counter() - begin


def main() -> None:
    """Print a line a command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"HARNESS_HOME": home, "HARNESS_RESULTS": f"{home}/results"}
        table = large(Experiments(Path(home)), runs)
        print(f"plan, nothing done     {seconds('plan', table):6.2f} s")
        fill(table)
        print(f"plan, 8 in 10 done     {seconds('plan', table):6.2f} s")
        print(f"status                 {seconds('status', table):6.2f} s")


if __name__ == "__main__":
    main()
