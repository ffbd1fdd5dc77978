"""Downloads, quiet and bounded in time: without internet the next origin must be tried soon."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from harness import variables
from harness.data.cache import size_of
from harness.errors import DataError

SILENCE = 10.0  # seconds a server may say nothing
APT_SILENCE = 60.0  # seconds in which apt-get may get nothing at all
TRIES = 3  # downloads of a file, until one is not cut short


def offline() -> bool:
    """Whether $HARNESS_OFFLINE forbids every download."""
    return (variables.value("HARNESS_OFFLINE") or "no").lower() not in ("0", "no", "off", "false")


def download(url: str, into: Path) -> None:
    """Put the file at `url` into the folder `into`, under its name there. What a server cuts short
    is begun again.
    """
    from http.client import HTTPException  # not above: it takes long, and few commands download

    path = into / url.rpartition("/")[2]
    try:
        for _ in range(TRIES):
            if _whole(url, path):
                return
    except (OSError, HTTPException) as error:
        raise DataError(f"the download failed ({_brief(error)})") from error
    raise DataError(f"the download failed ({path.name} was cut short {TRIES} times)")


def _whole(url: str, path: Path) -> bool:
    """Whether all of the file came before the server closed the connection."""
    from http.client import IncompleteRead  # not above: as in `download`
    from urllib.request import urlopen

    cut = contextlib.suppress(ConnectionResetError, IncompleteRead)
    with urlopen(url, timeout=SILENCE) as answer, path.open("wb") as file, cut:
        shutil.copyfileobj(answer, file)
        return not answer.length  # bytes that are still to come, where the server says it
    return False


def with_torchvision(download: Callable[[], object]) -> None:
    """Run a torchvision data set's `download`; DataError instead of whatever urllib raises."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            download()
    except Exception as error:
        # RuntimeError, URLError, TimeoutError...: all mean that the mirrors cannot be had
        raise DataError(f"the download failed ({_brief(error)})") from error
    finally:
        socket.setdefaulttimeout(before)


def debian_package(package: str, into: Path) -> Path:
    """Download a Debian package and unpack it below `into`, without root; its file tree."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise DataError(f"this machine has no {tool}")
    with contextlib.suppress(DataError):
        _apt(["download", package], into, [])
    if not any(into.glob(f"{package}_*.deb")):
        # bare images ship without package lists; lists of our own need no root
        lists = _own_lists(into)
        _apt(["update"], into, lists)
        _apt(["download", package], into, lists)
    tree = into / "tree"
    _command(["dpkg-deb", "-x", str(next(into.glob(f"{package}_*.deb"))), str(tree)], into)
    return tree


def _apt(arguments: list[str], into: Path, options: list[str]) -> None:
    limits = [f"-oAcquire::{kind}::Timeout={SILENCE:.0f}" for kind in ("http", "https")]
    _command(["apt-get", "-q", "-oAcquire::Retries=0", *limits, *options, *arguments], into)


def _own_lists(into: Path) -> list[str]:
    (into / "lists" / "partial").mkdir(parents=True)
    (into / "archives" / "partial").mkdir(parents=True)
    return [
        f"-oDir::State::Lists={into / 'lists'}",
        f"-oDir::Cache={into}",
        f"-oDir::Cache::Archives={into / 'archives'}",
        "-oDebug::NoLocking=1",
        "-oAPT::Sandbox::User=",
    ]


def _command(command: list[str], into: Path) -> None:
    process = subprocess.Popen(
        command,
        cwd=into,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        errors_text = _ended(process, into)
    finally:
        process.kill()  # nothing, unless it is given up
        process.communicate()
    if process.returncode:
        lines = [line.strip() for line in errors_text.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("E:") or ": error: " in line]
        why = [*errors, *lines[-1:], f"exit code {process.returncode}"][0]
        raise DataError(f"{command[0]} failed: {why}")


def _ended(process: subprocess.Popen[str], into: Path) -> str:
    """What a process said, once it has ended; DataError if nothing arrives any more."""
    before = -1
    while True:
        try:
            return process.communicate(timeout=APT_SILENCE)[1]
        except subprocess.TimeoutExpired:
            now = size_of(into)
            if now == before:
                raise DataError(f"nothing came for {APT_SILENCE:.0f} s") from None
            before = now


def _brief(error: Exception) -> str:
    """The last line says why; the ones before say what was tried."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip("<>") if lines else type(error).__name__
