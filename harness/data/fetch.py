"""Downloads, quiet and bounded in time: without internet the next origin must be tried soon."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.data.places import cache_dir
from harness.errors import DataError

SILENCE = 10.0  # seconds a server may say nothing
APT_SECONDS = 180


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory for one download, gone afterwards; in the cache, which has room for data."""
    base = cache_dir()
    try:
        base.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(dir=base, prefix=".fetch-"))
    except OSError as error:
        raise DataError(
            f"{base}: cannot be written ({error.strerror}); "
            "set HARNESS_CACHE to a directory with room"
        ) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


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
    if not _apt_download(package, into, []):
        # bare images ship without package lists; lists of our own need no root
        lists = _own_lists(into)
        _apt(["update"], into, lists)
        if not _apt_download(package, into, lists):
            raise DataError(f"apt-get does not know the package {package}")
    tree = into / "tree"
    _command(["dpkg-deb", "-x", str(next(into.glob(f"{package}_*.deb"))), str(tree)], into)
    return tree


def _apt_download(package: str, into: Path, options: list[str]) -> bool:
    with contextlib.suppress(DataError):
        _apt(["download", package], into, options)
    return any(into.glob(f"{package}_*.deb"))


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
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        subprocess.run(
            command,
            cwd=into,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=APT_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{command[0]} took longer than {APT_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.startswith("E:")]
        raise DataError(
            f"{command[0]} failed: {said[0] if said else f'exit code {error.returncode}'}"
        ) from error


def _brief(error: Exception) -> str:
    """The last line says why; the ones before say what was tried."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip("<>") if lines else type(error).__name__
