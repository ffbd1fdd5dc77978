"""Downloads: one for all who want it, none that was cut short, and before anything is computed."""

from __future__ import annotations

import functools
import gzip
import io
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from harness.data.cache import read_arrays, write_arrays
from harness.data.fetch import _command, offline
from harness.data.telling import Telling
from harness.errors import DataError
from tests.conftest import TINY_VIT, Experiments
from tests.data.conftest import SmallFashion, small_files
from tests.data.origin import origin
from tests.launch.processes import harness, start_harness

NAME = "slow-fashion"
TABLE = f"""
paper: {{title: Needs data}}
columns:
  acc: {{from: train, metric: val/top1, better: higher}}
  macs: {{from: cost, metric: teacher/gmacs, decimals: 0}}
seeds: [0]
base:
  data: {{name: {NAME}}}
  student: {{{TINY_VIT}}}
  teacher: {{{TINY_VIT}}}
  method: {{name: distillation, mask: {{keep: 6}}}}
  recipe: {{epochs: 1, batch_size: 30, lr: 1e-3}}
rows:
  - {{id: a, label: A}}
profiles:
  paper: {{}}
"""


class Server:
    """The slow server, and the commands that want its data."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "server"
        self.folder.mkdir()
        self.cache = Path(os.environ["HARNESS_CACHE"])
        self.variables = {"HARNESS_PLUGINS": "tests.data.slow", "SLOW": str(self.folder)}

    def get(self) -> subprocess.Popen[str]:
        return start_harness("data", "get", NAME, **self.variables)

    def call(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return harness(*words, **{**self.variables, **more})

    def go(self) -> None:
        (self.folder / "go").touch()

    def break_down(self) -> None:
        (self.folder / "down").touch()

    @property
    def begun(self) -> list[int]:
        """The processes that have begun a download."""
        path = self.folder / "begun"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    @property
    def kept(self) -> list[str]:
        """What lies in the cache beside the lock."""
        return sorted(path.name for path in self.cache.iterdir() if path.suffix != ".lock")


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.fixture
def table(experiments: Experiments) -> str:
    return experiments.table("tests/needs", TABLE)


def until(true: Callable[[], object]) -> None:
    """Wait for an event; the limit only ends a test that would never end."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def line_of(process: subprocess.Popen[str], part: str) -> str:
    """The next line on stderr that holds `part`."""
    assert process.stderr is not None
    return next(line for line in process.stderr if part in line)


def test_several_commands_wait_for_one_download(server: Server) -> None:
    first = server.get()
    until(lambda: server.begun)
    others = [server.get(), server.get()]
    for other in others:
        assert f"waiting for process {first.pid} on " in line_of(other, "waiting")
    server.go()
    for process in (first, *others):
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "60 + 20 images" in out
    assert server.begun == [first.pid]


def test_a_killed_download_is_begun_again_by_one_that_waited(server: Server) -> None:
    first = server.get()
    until(lambda: server.begun)
    second = server.get()
    line_of(second, "waiting")
    first.kill()
    first.communicate()
    until(lambda: len(server.begun) == 2)
    server.go()
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    assert "60 + 20 images" in out
    assert len(server.kept) == 1  # nothing of the dead download


def test_a_killed_download_is_never_taken_for_whole(server: Server, table: str) -> None:
    killed = server.get()
    until(lambda: server.begun)
    killed.kill()
    killed.communicate()
    assert len(server.kept) == 1  # its scratch folder
    (server.cache / f".{NAME}-0123-cut.npz").write_bytes(b"PK")  # and of a killed write
    assert "is not on this machine" in server.call("plan", table).stdout
    server.go()
    done = server.call("data", "get", NAME)
    assert done.returncode == 0
    assert [name.startswith(f"{NAME}-") for name in server.kept] == [True]


def test_a_run_gets_its_data_first_and_says_what_was_tried(server: Server, table: str) -> None:
    server.go()
    plan = server.call("plan", table).stdout
    assert f"(looked in {os.environ['HARNESS_DATA']} and {server.cache})" in plan
    assert "`harness run` downloads it first (0 MB)" in plan
    done = server.call("run", table)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"getting data set {NAME} (0 MB) for 1 run"
    assert lines[1].startswith("  trying $HARNESS_DATA/fashion-mnist: ")
    assert lines[2] == "  trying a mirror that is down: no answer"
    assert lines[3].startswith("  trying a slow server: 0 MB in ")
    assert lines[4].startswith("tests/needs, profile paper: 2 runs (2 todo)")
    assert lines[-1].startswith("2 runs done in ")
    # what is computed needs no data any more
    for path in server.cache.glob("*.npz"):
        path.unlink()
    again = server.call("run", table)
    assert again.stdout.splitlines()[-1] == "Everything is computed already."
    assert len(server.begun) == 1


def test_a_cache_can_be_carried_to_where_there_is_no_internet(
    server: Server, table: str, tmp_path: Path
) -> None:
    server.go()
    assert server.call("data", "get", NAME).returncode == 0
    carried = shutil.copytree(server.cache, tmp_path / "carried")
    there = {"HARNESS_CACHE": str(carried), "HARNESS_OFFLINE": "1"}
    assert "1 blocked" not in server.call("plan", table, **there).stdout
    verified = server.call("data", "verify", NAME, **there)
    assert (verified.returncode, "60 + 20 images" in verified.stdout) == (0, True)


def test_no_data_is_got_for_what_needs_none_nor_offline(server: Server, table: str) -> None:
    server.go()
    done = server.call("run", table, "--tasks", "cost")
    assert done.returncode == 0, done.stderr
    assert "getting data set" not in done.stdout
    done = server.call("reproduce", table, "--offline", "--format", "md")
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith("Nothing of tests/needs can be trained here: ")
    assert "HARNESS_OFFLINE forbids to download it. Install" in last
    done = server.call("data", "get", NAME, HARNESS_OFFLINE="1")
    assert done.returncode == 1
    assert "a slow server: HARNESS_OFFLINE forbids downloads" in done.stderr
    assert not server.begun


def test_where_nothing_can_be_had_the_report_ends_with_why(server: Server, table: str) -> None:
    server.break_down()
    done = server.call("reproduce", table, "--format", "md")
    assert done.returncode == 1
    assert "  trying a slow server: out of order" in done.stdout
    assert "tests/needs.paper.md" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith(
        f"Nothing of tests/needs can be trained here: data set {NAME} could not be downloaded. "
        "Install the Debian package"
    )


def test_a_cache_that_cannot_be_written_is_told_and_no_obstacle(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = server.call("data", "get", NAME, HARNESS_CACHE=str(tmp_path / "file" / "below"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: $HARNESS_CACHE is ")
    assert "cannot be used: not a directory" in done.stderr


def test_a_cache_without_room_is_why_a_run_is_blocked(
    experiments: Experiments, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    table = experiments.table("tests/needs", TABLE.replace(NAME, "served-fashion"))
    try:
        with origin() as server:
            server.answer("whole")
            done = harness("run", table, **server.variables, HARNESS_CACHE=str(disk))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert done.returncode == 1
    assert (
        f"data set served-fashion could not be downloaded: {disk}: the disk is full" in done.stdout
    )
    assert "set HARNESS_CACHE to a directory with room" in done.stdout
    assert "Install" not in done.stdout + done.stderr


def test_what_cannot_be_kept_is_why_a_run_is_blocked(
    experiments: Experiments, tmp_path: Path
) -> None:
    table = experiments.table("tests/needs", TABLE.replace(NAME, "served-fashion"))
    with origin() as server:
        server.answer("whole")
        kept = (
            tmp_path
            / "cache"
            / SmallFashion().cache_file.name.replace(SmallFashion.name, "served-fashion")
        )
        (kept / "in the way").mkdir(parents=True)
        done = harness("run", table, **server.variables, HARNESS_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert (
        f"{tmp_path / 'cache'}: cannot keep what was downloaded; set HARNESS_CACHE" in done.stdout
    )


def test_a_program_that_fails_is_quoted(tmp_path: Path) -> None:
    said = "dpkg-deb (subprocess): unpacking failed\ndpkg-deb: error: no space left on device"
    with pytest.raises(DataError, match=r"^bash failed: dpkg-deb: error: no space left on device$"):
        _command(["bash", "-c", f"echo '{said}' >&2; exit 2"], tmp_path)
    with pytest.raises(DataError, match=r"^bash failed: exit code 2$"):
        _command(["bash", "-c", "exit 2"], tmp_path)


def damaged(content: bytes) -> list[bytes]:
    """A file cut at many lengths, and with bytes changed, of the header and of the directory."""
    cuts = [content[:length] for length in range(0, len(content), 197)]
    places = [*range(0, 200, 3), *range(len(content) - 400, len(content), 3)]
    flips = [content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :] for at in places]
    return cuts + flips


def test_a_damaged_cache_is_no_data_and_no_error(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    arrays = {"a": np.arange(300, dtype=np.uint8), "b": np.arange(7)}
    assert write_arrays(path, arrays) is None
    whole = path.read_bytes()
    for content in damaged(whole):
        path.write_bytes(content)
        found = read_arrays(path)
        assert found is None or all(
            found[key].tobytes() == arrays[key].tobytes() for key in found if key in arrays
        )
    path.write_bytes(whole)
    found = read_arrays(path)
    assert found is not None
    assert found["a"].tolist() == arrays["a"].tolist()


class Terminal(io.StringIO):
    """A stream on which lines can be drawn again."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "drawn"), [(Terminal(), True), (io.StringIO(), False)])
def test_progress_is_one_line_of_a_terminal(
    stream: io.StringIO, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.data.telling.REDRAW_SECONDS", 0.01)
    monkeypatch.setattr("harness.data.telling.LINE_SECONDS", 0.01)
    seen, count = threading.Event(), iter(range(1000))

    def state() -> str:
        number = next(count)
        if number == 3:
            seen.set()
        return f"{number} of 31 MB"

    tell = Telling(stream)
    with tell.showing(state, "a server"):
        assert seen.wait(30)
    tell.say("here")
    text = stream.getvalue()
    assert "  1 of 31 MB, 0 s: a server" in text
    assert text.endswith("\r\x1b[Khere\n" if drawn else "here\n")
    assert ("0 of 31 MB, 0 s: a server\n" in text) != drawn


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which it is served."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *_: object) -> None:
        pass


def test_files_of_a_server_are_verified(
    mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    folder, address = mirror
    known = SmallFashion()
    known.server = address
    for name, content in small_files().items():
        with pytest.raises(DataError, match=r"^the download failed \(HTTP Error 404: "):
            known._from_server()
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    assert len(known._from_server().train.labels) == 60
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="truncated or corrupt gzip"):
        known._from_server()
    known.server = "http://127.0.0.1:9"
    with pytest.raises(DataError, match=r"^the download failed \(urlopen error "):
        known._from_server()


def test_what_a_server_cuts_short_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with origin() as server:
        known = SmallFashion()
        known.server = server.variables["SERVED"]
        for how in ("half", "half", "whole", "half", "half", "half"):
            server.answer(how)
        assert len(known._from_server().train.labels) == 60
        assert server.asked == 3
        with pytest.raises(DataError, match=r"failed \(train-images.*gz was cut short 3 times\)$"):
            known._from_server()


@pytest.mark.parametrize(
    ("said", "forbids"),
    [("1", True), ("yes", True), ("on", True)]
    + [(no, False) for no in ("", " ", "0", "no", "No", "off", "false")],
)
def test_downloads_are_forbidden_by_a_word_that_means_it(
    said: str, forbids: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", said)
    assert offline() == forbids
