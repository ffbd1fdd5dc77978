"""Where the processes of a run find each other: a folder that all of them see.

The first process writes into it which run is computed and where it listens; the others connect and
stay connected. So a process that dies, on whatever node, is known to the others at once: its
connection ends. One connection carries a few lines of JSON:

    other -> first   {"token": ..., "rank": 1, "host": "n2", "pid": 4711}     may I come in?
    first -> other   {"welcome": true}
    other -> first   {"done": true}  or  {"error": "...", "final": true}      how it ended
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

from harness.store.files import read_json_or_nothing, replace_json, replacing

INFO_FILE, DONE_FILE, HEARTBEAT_FILE = "rendezvous.json", "done", "heartbeat"
FAILED_START_FILES = "failed-to-start-*.txt"  # one for each process
LOCAL = "127.0.0.1"
CONNECTING = 10.0
"""Seconds that the first process has to answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RendezvousInfo:
    """What the first process tells the others."""

    directory: str  # of the run
    resources: dict[str, Any]
    size: int  # processes
    host: str
    port: int  # where it listens for them
    store: int  # the port of the store through which torch.distributed meets
    token: str  # who knows it can read this file

    def write(self, folder: Path) -> None:
        """Instead of the one before."""
        folder.mkdir(parents=True, exist_ok=True)
        replace_json(folder / INFO_FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The present one; None where there is none yet."""
        try:
            return cls(**read_json_or_nothing(folder / INFO_FILE))
        except TypeError:
            return None


def use_loopback() -> None:
    """Have gloo work on this machine alone, whatever its name resolves to."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"


def new_token() -> str:
    """For a rendezvous: only who can read its file knows it."""
    return secrets.token_hex(16)


def mark_done(folder: Path) -> None:
    """Tell the processes that wait here that no other run will come."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DONE_FILE).touch()


def is_done(folder: Path) -> bool:
    """Whether no other run will come."""
    return (folder / DONE_FILE).exists()


def write_heartbeat(folder: Path) -> None:
    """Tell the processes that wait here that the first task lives, and runs may still come."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HEARTBEAT_FILE).touch()


def last_heartbeat(folder: Path) -> float:
    """When the last one was written: compare it with the one before, for clocks differ."""
    try:
        return (folder / HEARTBEAT_FILE).stat().st_mtime
    except OSError:
        return 0.0


def report_failed_start(folder: Path, rank: int, why: str) -> None:
    """Tell the first process that another one could not start."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FAILED_START_FILES.replace("*", str(rank))
    with replacing(path) as temporary:
        temporary.write_text(why, encoding="utf-8")


def failed_start(folder: Path) -> str | None:
    """Why a process could not start; None where none has said so."""
    for path in sorted(folder.glob(FAILED_START_FILES)):
        return path.read_text(encoding="utf-8")
    return None


class Connection:
    """One connection, line by line."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # for nodes that vanish
        self._socket = connection
        self._file: IO[bytes] = connection.makefile("rb")

    def send(self, **message: Any) -> None:
        """Send a line; OSError if nobody listens."""
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def recv(self, seconds: float | None = None) -> dict[str, Any] | None:
        """The next line; None when the other side has ended, or says nothing in time."""
        self._socket.settimeout(seconds)
        try:
            line = self._file.readline()
            value = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def close(self) -> None:
        """End it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes whoever is listening to it
        self._socket.close()


def connect(info: RendezvousInfo, rank: int) -> Connection | None:
    """The connection to the first process; None if it is gone, or expects somebody else."""
    try:
        raw = socket.create_connection((info.host, info.port), timeout=CONNECTING)
    except OSError:
        return None
    connection = Connection(raw)
    me = {"rank": rank, "host": socket.gethostname(), "pid": os.getpid()}
    try:
        connection.send(token=info.token, **me)
    except OSError:
        return None
    if connection.recv(CONNECTING) is None:
        connection.close()
        return None
    return connection
