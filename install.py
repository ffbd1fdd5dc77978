"""Makes `.venv` what this checkout needs; `make` calls it every time, and mostly nothing is to do.

It needs nothing but the standard library, and is read by any Python 3, to say that it is too old.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (that is what it is for)
    sys.exit(
        "error: Python %d.%d is too old: 3.11 or newer is needed (make PYTHON=/path/to/python3)"  # noqa: UP031
        % sys.version_info[:2]
    )

import argparse
import ast
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".installed"
LISTS = ("pyproject.toml", "constraints.txt")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
GIB = 2**30

# where packages come from is the user's choice; where they go, and which ones, is not
KEPT = {
    *("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "prefer-binary"),
    *("cert", "client-cert", "proxy", "timeout", "default-timeout", "retries", "keyring-provider"),
    *("cache-dir", "no-cache-dir", "use-feature"),
}


def main() -> None:
    """Bring `.venv` up to date."""
    parser = argparse.ArgumentParser(description="Makes .venv what this checkout needs.")
    parser.add_argument("--dev", action="store_true", help="with what the tests need")
    parser.add_argument("--torch", default="", help="cpu: a build of PyTorch without CUDA")
    parser.add_argument("--torch-index", default="", help=f"of such builds (default: {CPU_INDEX})")
    arguments = parser.parse_args()
    if arguments.torch not in ("", "cpu"):
        fail(f"TORCH must be cpu or left out, got '{arguments.torch}'")
    with (HERE / LISTS[0]).open("rb") as lock:
        with contextlib.suppress(OSError):  # some file systems have no locks
            fcntl.flock(lock, fcntl.LOCK_EX)  # two commands at once install once
        bring_up_to_date(arguments)


def bring_up_to_date(arguments: argparse.Namespace) -> None:
    """Do what the stamp says is not done yet."""
    needs = hashlib.sha256(b"\0".join((HERE / name).read_bytes() for name in LISTS)).hexdigest()
    had = read_stamp()
    if had.get("place", str(HERE)) != str(HERE):
        had = moved(had)
    if not PYTHON.exists():
        had = {}
    cpu = arguments.torch == "cpu"
    dev = arguments.dev or bool(had.get("dev"))
    if had.get("needs") == needs and had.get("dev") == dev and not (cpu and not had.get("cpu")):
        return
    cpu = cpu or bool(had.get("cpu"))
    STAMP.unlink(missing_ok=True)
    if not PYTHON.exists():
        make_venv(room=3 if cpu else 8)
    pip = Pip()
    if cpu and sys.platform == "linux":  # elsewhere the ordinary builds have no CUDA
        install_cpu_torch(pip, arguments.torch_index or CPU_INDEX)
    if not had:
        size = "2" if cpu else "6"
        print(f"installing the packages into .venv (about {size} GB, some minutes the first time)")
    if not pip.install("--editable", ".[dev]" if dev else "."):
        fail("pip could not install the packages; it says why above")
    STAMP.write_text(json.dumps({"place": str(HERE), "needs": needs, "dev": dev, "cpu": cpu}))


def read_stamp() -> dict[str, object]:
    """What is installed, as far as an earlier call came to its end."""
    try:
        found = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def make_venv(room: int) -> None:
    """A virtual environment, where there is room for what comes into it."""
    free = shutil.disk_usage(HERE).free
    if free < room * GIB:
        fail(f"the packages need {room} GB on this disk, {free / GIB:.1f} GB are free")
    try:
        import ensurepip  # noqa: F401 (Debian has it in a package of its own)
        import venv  # noqa: F401
    except ImportError:
        fail(f"{sys.executable} cannot make virtual environments: apt-get install python3-venv")
    command = [sys.executable, "-I", "-m", "venv", "--clear", str(VENV)]
    if subprocess.run(command, check=False).returncode:
        fail(f"{sys.executable} could not make {VENV}; it says why above")


def install_cpu_torch(pip: "Pip", index: str) -> None:
    """PyTorch's builds without CUDA, of the versions in constraints.txt."""
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (HERE / LISTS[1]).read_text(), re.MULTILINE))
    wanted = [f"{name}=={pinned[name]}+cpu" for name in ("torch", "torchvision")]
    print(f"installing {' and '.join(wanted)}")
    if not pip.install("--extra-index-url", index, "--retries", "1", *wanted):
        fail(
            f"no package index here has {' and '.join(wanted)}, the builds without CUDA: say where "
            "one is, make install TORCH=cpu TORCH_INDEX=URL, or take the builds with CUDA, about "
            "6 GB: make install"
        )
    cuda = [name for name in pinned if re.match(r"nvidia-|cuda-|triton$", name)]
    pip.run("uninstall", "--yes", "--quiet", *cuda)  # of another build that was here before


class Pip:
    """The pip of `.venv`, which takes from the user's configuration where packages come from."""

    def __init__(self) -> None:
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIP_", "PYTHON"))
        }
        if subprocess.run([PYTHON, "-I", "-c", "import pip"], capture_output=True).returncode:
            subprocess.run([PYTHON, "-I", "-m", "ensurepip"], env=clean, check=True)
        self._environment = {
            **clean,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            **{f"PIP_{key.upper().replace('-', '_')}": value for key, value in origins().items()},
        }

    def install(self, *words: str) -> bool:
        """Whether `pip install` came to its end."""
        return self.run("install", "--quiet", "--constraint", LISTS[1], *words)

    def run(self, *words: str) -> bool:
        """Whether a command came to its end."""
        command = [PYTHON, "-I", "-m", "pip", *words]
        return not subprocess.run(command, cwd=HERE, env=self._environment, check=False).returncode


def origins() -> dict[str, str]:
    """The user's settings of pip, from files and variables, that say where packages come from."""
    # a setting `user = true` would make it list the user's file alone
    all_files = {"PIP_USER": "0", "PIP_GLOBAL": "0", "PIP_SITE": "0"}
    listed = subprocess.run(
        [PYTHON, "-I", "-m", "pip", "config", "list"],
        env={**os.environ, **all_files},
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        fail(f"pip cannot read its configuration: {listed.stderr.strip()}")
    found: dict[str, str] = {}
    for section in ("global", "install", ":env:"):  # the later ones win, as for pip
        for key, value in re.findall(rf"^{section}\.([\w-]+)=(.*)$", listed.stdout, re.MULTILINE):
            if key in KEPT:
                found[key] = str(ast.literal_eval(value))
    return found


def moved(had: dict[str, object]) -> dict[str, object]:
    """Point a `.venv` that was moved or copied with its checkout to where it is now."""
    old, new = str(had["place"]).encode(), str(HERE).encode()
    pattern = re.compile(re.escape(old) + rb"(?=[/'\"\n\r]|$)")
    packages = "lib/python*/site-packages/"
    places = ["pyvenv.cfg", "bin/*", f"{packages}__editable__*", f"{packages}*/direct_url.json"]
    for path in (path for place in places for path in VENV.glob(place)):
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if old in content and b"\0" not in content:
            changed = pattern.sub(lambda _: new, content)
            path.write_bytes(startable(changed) if path.parent.name == "bin" else changed)
    here = subprocess.run(
        [PYTHON, "-I", "-c", "import harness; print(harness.__path__[0])"],
        capture_output=True,
        text=True,
        check=False,
    )
    if here.returncode or here.stdout.strip() != str(HERE / "harness"):
        return {}
    print(f"this checkout was moved here from {had['place']}: .venv follows")
    had = {**had, "place": str(HERE)}
    STAMP.write_text(json.dumps(had))
    return had


def startable(script: bytes) -> bytes:
    """A script whose first line names a path that Linux takes: no spaces, at most 127 bytes."""
    first, _, rest = script.partition(b"\n")
    python = first.removeprefix(b"#!")
    if not first.startswith(b"#!/") or (b" " not in python and len(first) <= 127):
        return script
    if python.startswith((b"/bin/", b"/usr/bin/")):
        return script
    return b"#!/bin/sh\n'''exec' \"" + python + b'" "$0" "$@"\n\' \'\'\'\n' + rest


def fail(what: str) -> None:
    """End with a sentence."""
    sys.exit(f"error: {what}")


if __name__ == "__main__":
    main()
