"""Tries many mutated inputs in a process of its own: each is taken, or refused in one clear way.

A module of cases has `cases(draws, folder, count)`, which yields (name, function): the function
hands one input to the product. What may come of it: it returns, or it raises a HarnessError. Any
other exception, more than `CASE` seconds of computing, or more than `MEMORY` bytes are a fault.

    python -m tests.fuzz.driver tests.fuzz.images 1000 --only 417   # one case again, in full
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType, ModuleType

from harness.errors import HarnessError
from tests.launch.processes import LAST_RESORT, REPOSITORY

SEED = 20_260
CASE = 10
"""Seconds of CPU time: a busy machine does not shorten them."""
MEMORY = 1 << 30

Case = tuple[str, Callable[[], object]]


@dataclass(slots=True)
class Found:
    """What became of the cases."""

    taken: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)  # one line each
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0  # beyond what the modules take when loaded


class Hang(BaseException):
    """A case computes and computes."""


def fuzz(module: str, count: int) -> Found:
    """Try `count` cases of a module in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.driver", module, str(count)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=LAST_RESORT,
    )
    assert done.returncode == 0, f"the process of {module} died: {done.stderr[-2000:]}"
    return Found(**json.loads(done.stdout.splitlines()[-1]))


def _try_all(module: ModuleType, count: int, only: int | None) -> Found:
    found = Found()
    signal.signal(signal.SIGPROF, _hang)
    begun = _memory()
    soft = _data_bytes() + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (soft, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    with tempfile.TemporaryDirectory() as folder:
        every: Iterator[Case] = module.cases(random.Random(SEED), Path(folder), count)
        for number, (name, case) in enumerate(every):
            if only in (None, number):
                _try(found, f"{number} {name}", case, loud=only is not None)
    used = resource.getrusage(resource.RUSAGE_SELF)
    found.cpu_seconds = round(used.ru_utime + used.ru_stime, 1)
    found.peak_mb = round((_memory() - begun) / (1 << 20), 1)
    if found.peak_mb * (1 << 20) > MEMORY:
        found.faults.append(f"all together took {found.peak_mb:.0f} MB at their peak")
    return found


def _try(found: Found, name: str, case: Callable[[], object], *, loud: bool) -> None:
    signal.setitimer(signal.ITIMER_PROF, CASE)
    try:
        case()
        found.taken += 1
    except HarnessError as error:
        found.refused += 1
        if not str(error).strip():
            found.faults.append(f"{name}: refused without a word")
        if loud:
            print(f"refused: {error}")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        last = traceback.format_exception_only(error)[-1].strip()
        frames = traceback.extract_tb(error.__traceback__)
        place = next((one for one in reversed(frames) if "/harness/" in one.filename), frames[-1])
        where = f"{os.path.relpath(place.filename, REPOSITORY)}:{place.lineno}"
        found.faults.append(f"{name}: {last} ({where})")
        if loud:
            traceback.print_exception(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang(f"more than {CASE} s of computing")


def _memory() -> int:
    """The most bytes that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _data_bytes() -> int:
    """What a limit on data counts now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmData in /proc/self/status")


def main() -> None:
    """Print what was found, as JSON, in the last line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("module")
    parser.add_argument("count", type=int)
    parser.add_argument("--only", type=int, help="the number of one case")
    given = parser.parse_args()
    found = _try_all(importlib.import_module(given.module), given.count, given.only)
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
