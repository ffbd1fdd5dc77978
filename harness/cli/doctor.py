"""`harness doctor`: what this machine can run, and what to do about what it lacks."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from harness.cli.data import advice_once
from harness.data import DATASETS
from harness.data.paths import cache_dir
from harness.device import cores
from harness.errors import HarnessError, cause
from harness.launch.cluster import find_cluster
from harness.launch.site import Check, examine_cluster
from harness.launch.timing_lock import TimingLock
from harness.masking import CRITERIA
from harness.masking.views import MASK_SAMPLERS
from harness.methods import METHODS
from harness.methods.losses import LOSSES
from harness.models.available import hub_cache
from harness.models.families import FAMILIES
from harness.registry import Registry
from harness.run import TASKS
from harness.store.store import default_root
from harness.text import count

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas", "submitit", "reportlab")
REGISTRIES: tuple[Registry[Any], ...] = (
    DATASETS,
    FAMILIES,
    METHODS,
    LOSSES,
    CRITERIA,
    MASK_SAMPLERS,
    TASKS,
)
SLURM = ("sbatch", "squeue", "sacct", "scancel", "sinfo")
GIB = 2**30
NAMES = 25  # characters of a name
WIDTH = 71  # characters of text beside the names
ROOM = 5  # GiB: the data sets that can be fetched, and a table's runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing looked at; without `optional` ones only some runs are impossible."""

    what: str
    state: Literal["ok", "optional", "missing"]
    found: str
    do: str | None = None  # the next step, where something is missing


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = (
        "Says what this machine can run: Python, packages, GPUs, SLURM, data and "
        "folders. Exit code 1: something is missing that every run needs."
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument(
        "--cluster",
        metavar="FILE",
        nargs="?",
        const="",
        help="compare FILE with your SLURM cluster instead, and send one tiny job to a node; "
        "without FILE: $HARNESS_CLUSTER, or ~/.config/harness/cluster.yaml",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print all findings; exit code 1 if something is missing that every run needs, or broken."""
    if arguments.cluster is None:
        findings = list(examine())
    else:
        findings = [_of_cluster(check) for check in _cluster(arguments.cluster)]
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print("\n".join(_line(finding) for finding in findings))
    return int(any(finding.state == "missing" for finding in findings))


def _cluster(file: str) -> Iterator[Check]:
    return examine_cluster(find_cluster(file or None), default_root())


def _of_cluster(check: Check) -> Finding:
    state: Literal["ok", "optional", "missing"] = "optional"
    if check.good is not None:
        state = "ok" if check.good else "missing"
    return Finding(what=check.what, state=state, found=check.found, do=check.do)


def examine() -> Iterator[Finding]:
    """Everything that decides what can be run here."""
    yield _python()
    yield from (_package(name) for name in PACKAGES)
    yield from _torch()
    yield _slurm()
    yield from _data()
    yield from _checked("weights", _weights)
    yield Finding(what="fonts", state="ok", found="reports use the ones that come with reportlab")
    yield from _checked("results", lambda: _room("results", default_root()))
    yield from _checked("data cache", lambda: _room("data cache", cache_dir()))
    yield from _checked("locks", _locks)
    for registry in REGISTRIES:
        registry.names()  # what is broken among them is told by every command


def _checked(what: str, look: Callable[[], Finding]) -> Iterator[Finding]:
    """What `look` finds; where it cannot look, why not."""
    try:
        yield look()
    except HarnessError as error:
        yield Finding(what=what, state="optional", found=str(error))
    except OSError as error:
        yield Finding(what=what, state="optional", found=f"{error.filename}: {cause(error)}")


def _python() -> Finding:
    new_enough = sys.version_info >= (3, 11)
    return Finding(
        what="python",
        state="ok" if new_enough else "missing",
        found=platform.python_version(),
        do=None if new_enough else "install Python 3.11 or newer",
    )


def _package(name: str) -> Finding:
    try:
        return Finding(what=name, state="ok", found=version(name))
    except PackageNotFoundError:
        return Finding(what=name, state="missing", found="not installed", do="run `make install`")


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:  # or a library that it is linked to
        yield Finding(what="torch", state="missing", found=str(error), do="run `make install`")
        return
    found = f"{count(cores(), 'core')}, {count(torch.get_num_threads(), 'thread')}"
    yield Finding(what="cpu", state="ok", found=found)
    if not torch.cuda.is_available():
        lack = "none; the fashion-mnist and smoke profiles need none"
        do = "for the paper profiles, use a machine with a GPU and a CUDA build of torch"
        yield Finding(what="gpu", state="optional", found=lack, do=do)
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        memory = f"{device.total_memory / GIB:.0f} GiB"
        yield Finding(what=f"gpu {index}", state="ok", found=f"{device.name}, {memory}")


def _slurm() -> Finding:
    lacking = [command for command in SLURM if shutil.which(command) is None]
    if not lacking:
        return Finding(what="slurm", state="ok", found=f"{', '.join(SLURM)} found")
    return Finding(
        what="slurm",
        state="optional",
        found=f"{', '.join(lacking)} not found; `--executor local` needs none of them",
        do="for `--executor slurm`, log in to a submit host, or install slurm-client (Debian)",
    )


def _data() -> Iterator[Finding]:
    told: dict[str, str] = {}  # advice without the set's name -> the first set it was given for
    for name in DATASETS.names():
        if name != "folder":  # there is one per spec
            yield from _checked(f"data {name}", lambda name=name: _set(name, told))  # type: ignore[misc]


def _set(name: str, told: dict[str, str]) -> Finding:
    dataset = DATASETS.get(name)
    try:
        if dataset.missing() is None:
            return Finding(what=f"data {name}", state="ok", found=f"version {dataset.version}")
    except HarnessError as error:  # this set only
        return Finding(what=f"data {name}", state="missing", found="broken", do=str(error))
    return Finding(
        what=f"data {name}",
        state="optional",
        found="not on this machine",
        do=advice_once(name, dataset.remedy, told),
    )


def _weights() -> Finding:
    hub = hub_cache()
    if hub is None:
        lack = "there is no home directory to look for those of the model hub"
        return Finding(what="weights", state="optional", found=lack, do="set HF_HOME to a folder")
    models = sorted(path.name.split("--")[-1] for path in hub.glob("models--timm--*"))
    if models:
        return Finding(what="weights", state="ok", found=f"{hub}: {', '.join(models)}")
    return Finding(
        what="weights",
        state="optional",
        found=f"{hub} holds no weights of the model hub; "
        "the fashion-mnist and smoke profiles need none",
        do="for the paper profiles, let timm download them where there is internet; where there is "
        f"none, copy that machine's folder to {hub}",
    )


def _room(what: str, path: Path) -> Finding:
    existing = next(place for place in (path, *path.parents) if place.exists())
    free = shutil.disk_usage(existing).free / GIB
    writable = os.access(existing, os.W_OK)
    enough = writable and free >= ROOM
    found = f"{path}: {free:.0f} GiB free" if writable else f"{path}: cannot be written"
    if existing.is_file():
        found, enough = f"{path}: {existing} is a file", False
    variable = "HARNESS_CACHE" if what == "data cache" else "HARNESS_RESULTS"
    do = None
    if not enough:
        make = "make room, or " if writable else ""
        do = f"{make}set {variable} to a directory with {ROOM} GiB that can be written"
    return Finding(what=what, state="ok" if enough else "optional", found=found, do=do)


def _locks() -> Finding:
    machine = TimingLock()
    machine.close()
    return Finding(what="locks", state="ok", found="timings can have the machine to themselves")


def _line(finding: Finding) -> str:
    mark = {"ok": "ok", "optional": "--", "missing": "!!"}[finding.state]
    lines = [*_wrapped(finding.found), *_wrapped(finding.do or "")]
    return f"{mark}  {finding.what:<{NAMES}}" + f"\n{'':{NAMES + 4}}".join(lines)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False, break_long_words=False)
