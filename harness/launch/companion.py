"""The other processes of a run that several compute: `python -m harness.launch.companion ...`.

The worker, which owns the run, is the first of them and the only one that writes. It starts the
others and ends them. They do what it does, on their share of each batch.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.device import visible_gpus
from harness.errors import HarnessError, Interrupted
from harness.launch.context import log
from harness.ranks import Ranks
from harness.run import Resources
from harness.spec.rebuild import rebuild
from harness.store import Store, read_record
from harness.store.record import CHECKPOINT

IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
"""The worker is asked to stop, and tells the others at the end of the step."""


class CompanionContext:
    """Implements `harness.run.RunContext` and writes nothing."""

    def __init__(
        self,
        directory: Path,
        *,
        resources: Resources,
        dependencies: Mapping[str, Path],
        ranks: Ranks,
        meeting: Path,
    ) -> None:
        self.directory = directory
        self.resources = resources
        self.dependencies = dependencies
        self.ranks = ranks
        self.meeting: Path | None = meeting

    def log(self, message: str) -> None:
        """The first process says it."""

    def metric(self, record: Mapping[str, Any]) -> None:
        """The first process writes it."""

    def progress(self, done: int, total: int, unit: str = "step") -> None:
        """The first process tells it."""

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        """The first process saves it."""

    def restore_checkpoint(self) -> Path | None:
        """Where it would be; whether it is used, the first process decides."""
        return self.directory / CHECKPOINT

    def save_artifact(self, name: str, write: Callable[[Path], None]) -> None:
        """The first process saves it."""

    def should_stop(self) -> bool:
        """The first process is asked to."""
        return False


@contextmanager
def companions(directory: Path, resources: Resources) -> Iterator[Path | None]:
    """Start the others, and end them when the worker has; where they meet. None where there are
    none. HarnessError where there are not enough GPUs.
    """
    if resources.processes == 1:
        yield None
        return
    gpus = visible_gpus() if resources.device.startswith("cuda") else []
    if resources.device.startswith("cuda") and len(gpus) < resources.processes:
        raise HarnessError(
            f"the run asks for {resources.processes} GPUs, this process sees {len(gpus)}; lower "
            "`processes`, or make more visible (CUDA_VISIBLE_DEVICES)"
        )
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        meeting = Path(folder) / "meeting"
        started = [
            _start(directory, resources, rank, meeting, gpus)
            for rank in range(1, resources.processes)
        ]
        try:
            yield meeting
        finally:
            for process in started:
                process.kill()
                process.wait()


def _start(
    directory: Path, resources: Resources, rank: int, meeting: Path, gpus: list[str]
) -> subprocess.Popen[bytes]:
    given = {"directory": str(directory), "rank": rank, "meeting": str(meeting)}
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[rank]
    plain = {name: getattr(resources, name) for name in Resources.__dataclass_fields__}
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "harness.launch.companion"),
            json.dumps({**given, "resources": plain}),
        ],
        env=environment,
        stdin=subprocess.DEVNULL,
    )


def main(text: str) -> int:
    """Compute beside the worker that started this process."""
    given = json.loads(text)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    resources = Resources(**given["resources"])
    directory = Path(given["directory"])
    record = read_record(directory)
    assert record is not None, "the worker has read it"
    store = Store.holding(directory)
    needed = {identity: store.record(identity) for identity in record.depends}
    context = CompanionContext(
        directory,
        resources=resources,
        dependencies={name: other.directory for name, other in needed.items() if other is not None},
        ranks=Ranks(given["rank"], resources.processes),
        meeting=Path(given["meeting"]),
    )
    with suppress(Interrupted):
        try:
            rebuild(record.kind, record.plain).execute(context)
        except HarnessError as error:  # the first process says so too, unless only this one fails
            log(f"process {given['rank']} of {resources.processes}: {error}")
            return 1
    return 0


def _end_with(parent: int) -> None:
    """End when the worker is gone: it may have been killed in the middle of a sum."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
