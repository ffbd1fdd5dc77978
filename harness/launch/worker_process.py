"""A worker as the executor on this machine sees it: a process that takes one unit of runs after the
other, so that imports are paid once.

Both ends of a socket: the executor sends the run directories of a unit, the worker a line when they
are done and it would take more. However else a unit ends, the process ends with it, and its exit
code says how; so a run can take no other run down.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

MORE = b"more\n"
LOOK = 0.5
"""Seconds between looks for a stop signal, of a worker that has nothing to do."""
PATIENCE = 10.0
"""Seconds that a worker without a run has to end."""


class WorkerProcess:
    """The executor's end."""

    def __init__(
        self, resources: str, *, kind: str, slot: int, environment: Mapping[str, str]
    ) -> None:
        self.kind, self.slot = kind, slot
        self.units = 0  # that were given to it
        self.is_free = False
        self._socket, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the worker has ended)
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "harness.launch.worker"),
                    *("--resources", resources, "--units", str(theirs.fileno())),
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                start_new_session=True,  # Ctrl-C reaches only the executor, which asks the workers
                pass_fds=[theirs.fileno()],
            )

    def give(self, directories: Sequence[Path]) -> bool:
        """The next unit; False where the process has ended meanwhile."""
        self.is_free = False
        self.units += 1
        try:
            self._socket.sendall(json.dumps([str(path) for path in directories]).encode() + b"\n")
        except OSError:
            return False
        return True

    def poll(self) -> int | None:
        """How the unit ended: 0 if the process takes another, or its exit code; None: not yet."""
        if not self.is_free and select.select([self._socket], [], [], 0)[0]:
            with suppress(OSError):
                self.is_free = self._socket.recv(len(MORE)) == MORE
        return 0 if self.is_free else self._process.poll()

    def release(self) -> None:
        """There is no other unit: the process ends."""
        self._socket.close()

    def has_ended(self) -> bool:
        """Whether a process that was released is gone."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Come back when a process that was released is gone."""
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()

    @property
    def exit_code(self) -> int:
        """Of the process, which has ended; 0 while it has not."""
        return self._process.returncode or 0

    def output(self) -> str:
        """The end of what it has printed outside of its runs."""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 4000))
        return self._stderr.read().decode(errors="replace").strip()

    def send_signal(self, number: int) -> None:
        """To the process, if it is there."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)


class Units:
    """The worker's end, by its file descriptor."""

    def __init__(self, descriptor: int, *, stopping: Callable[[], bool]) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        self._stopping = stopping

    def __iter__(self) -> Iterator[list[Path]]:
        """One unit after the other; the end where none will come or a stop is asked for."""
        while True:
            line = self._line()
            if line is None:
                return
            yield [Path(name) for name in json.loads(line)]

    def ask_for_more(self) -> None:
        """The unit is done."""
        with suppress(OSError):  # the executor is gone: no more will come
            self._socket.sendall(MORE)

    def _line(self) -> bytes | None:
        received = b""
        while not received.endswith(b"\n"):
            while not select.select([self._socket], [], [], LOOK)[0]:
                if self._stopping():
                    return None
            try:
                part = self._socket.recv(1 << 16)
            except OSError:
                return None
            if not part:
                return None
            received += part
        return received
