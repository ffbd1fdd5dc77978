"""`harness data`: the data sets, where they come from, fetching and checking them."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.data import DATASETS
from harness.data.dataset import DataSet
from harness.data.naming import shown
from harness.data.pack import Pack, is_pack
from harness.data.packing import pack_set
from harness.data.telling import Telling
from harness.data.verify import verify
from harness.errors import DataError
from harness.text import count


def add(parser: argparse.ArgumentParser) -> None:
    """The command, its three verbs and their options."""
    parser.description = (
        "Data sets: what is on this machine, where the rest comes from. `harness run` "
        "downloads what it needs by itself."
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listed = verbs.add_parser("list", help="all data sets and what is on this machine")
    listed.set_defaults(verb=run_list)
    fetched = verbs.add_parser("get", help="fetch a data set from its first origin that works")
    fetched.set_defaults(verb=run_get)
    checked = verbs.add_parser("verify", help="check layout, counts, checksums and images")
    checked.add_argument("--path", type=_path, help="the copy to check (default: the one found)")
    checked.add_argument("--all", action="store_true", help="decode every image of a large set")
    checked.set_defaults(verb=run_verify)
    packed = verbs.add_parser(
        "pack", help="put all images of a set into one file, as they are or made smaller"
    )
    packed.add_argument("--path", type=_path, help="the copy to pack (default: the one found)")
    packed.add_argument("--to", type=_path, metavar="FILE", help="the pack (default: in the cache)")
    packed.set_defaults(verb=run_pack)
    for verb, what in ((packed, "reduce larger images to"), (checked, "check the pack with")):
        verb.add_argument(
            "--size", type=int, metavar="PX", help=f"{what} a shorter side of so many pixels"
        )
    for verb in (fetched, checked, packed):
        verb.add_argument("name", metavar="NAME", help="a name that `harness data list` shows")
    for verb in (listed, fetched, checked, packed):
        verb.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(arguments: argparse.Namespace) -> int:
    """What the verb says."""
    code: int = arguments.verb(arguments)
    return code


def run_list(arguments: argparse.Namespace) -> int:
    """Print every set: facts, licence, origins, whether it is here; 1 if a copy is broken."""
    facts = [_facts(DATASETS.get(name)) for name in DATASETS.names()]
    if arguments.json:
        print(json.dumps(facts, indent=2))
    else:
        told: dict[str, str] = {}
        print("\n\n".join(_described(fact, told) for fact in facts))
    return int(any(fact["version"] is None for fact in facts))


def run_get(arguments: argparse.Namespace) -> int:
    """Fetch a set; what is tried goes to stderr."""
    dataset = DATASETS.get(arguments.name)
    splits = dataset.load(Telling(sys.stderr))
    facts = {
        "name": dataset.name,
        "version": dataset.version,
        "train_images": 0 if dataset.judges_only else len(splits.train.labels),
        "val_images": len(splits.val.labels),
        "cache": str(dataset.cache_file) if dataset.cache_file else None,
    }
    kept = f", kept in {dataset.cache_file}" if dataset.cache_file else ""
    _print(arguments, facts, f"{_counts(facts)}{kept}")
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Check a copy; DataError says what is wrong with it."""
    dataset = DATASETS.get(arguments.name)
    if arguments.name == "folder" and arguments.path is None:
        raise DataError("`harness data verify folder` needs --path: a directory or a zip of images")
    size, path = arguments.size, arguments.path
    if size is None and path is not None and is_pack(path):
        size = Pack(path).shorter_side
    dataset = dataset.packed_at(_checked(size))
    facts = asdict(verify(dataset, path=arguments.path, everything=arguments.all, say=_say))
    verdict = "all right" if not facts["remarks"] else "right, but for what is said above"
    found = f"{_counts(facts)} of {count(facts['classes'], 'class', 'classes')}"
    _print(arguments, facts, f"{found}, {facts['decoded']:,} images read: {verdict}")
    return 0


def run_pack(arguments: argparse.Namespace) -> int:
    """Write a pack, or complete one; what is done goes to stderr."""
    dataset, size = DATASETS.get(arguments.name), _checked(arguments.size)
    if arguments.name == "folder" and arguments.path is None:
        raise DataError("`harness data pack folder` needs --path: a directory or a zip of images")
    pack = pack_set(
        dataset,
        path=arguments.path,
        shorter_side=size,
        to=arguments.to,
        tell=Telling(sys.stderr),
    )
    facts = {**asdict(pack), "name": dataset.name, "path": str(pack.path), "packed": size}
    there = "" if pack.new else "was there already: "
    packed = (
        "" if size is None else f"; in a spec: `data: {{name: {dataset.name}, packed: {size}}}`"
    )
    text = (
        f"{dataset.name} (version {pack.version}): {there}{pack.images:,} images, "
        f"{pack.size / 1e9:.2f} GB in {shown(pack.path)}{packed}"
    )
    _print(arguments, facts, text)
    return 0


def _path(text: str) -> Path:
    if not text:  # a variable of a shell that is not set, say: the current folder is not meant
        raise argparse.ArgumentTypeError("the path is empty; `.` is the current folder")
    return Path(text)


def _checked(size: int | None) -> int | None:
    if size is not None and size < 1:
        raise DataError(f"--size must be at least 1 pixel, got {size}")
    return size


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _print(arguments: argparse.Namespace, facts: dict[str, Any], text: str) -> None:
    print(json.dumps(facts, indent=2) if arguments.json else text)


def _counts(facts: dict[str, Any]) -> str:
    return f"{facts['name']} (version {facts['version']}): {_numbers(facts)} images"


def _numbers(facts: dict[str, Any]) -> str:
    """Images that are learned from, if there are, and those that judge."""
    learned = f"{facts['train_images']:,} + " if facts["train_images"] else ""
    return f"{learned}{facts['val_images']:,}"


def _here(dataset: DataSet) -> tuple[str | None, str | None, list[str]]:
    """Version, what is missing, and origins; a copy that cannot be read hides no other set."""
    try:
        missing = None if dataset.name == "folder" else dataset.missing()
        return dataset.version, missing, [origin.label for origin in dataset.origins]
    except DataError as error:
        return None, str(error), []


def _facts(dataset: DataSet) -> dict[str, Any]:
    depends_on_path = dataset.name == "folder"  # its facts depend on data.path
    version, missing, origins = _here(dataset)
    learned = 0 if dataset.judges_only else None if depends_on_path else dataset.train_images
    return {
        "name": dataset.name,
        "title": dataset.title,
        "version": version,
        "classes": None if depends_on_path else dataset.classes,
        "train_images": learned,
        "val_images": None if depends_on_path else dataset.val_images,
        "channels": dataset.channels,
        "size": dataset.size,
        "width": dataset.width,
        "spectrograms": dataset.spectrograms,
        "in_memory": dataset.in_memory,
        "licence": dataset.licence,
        "origins": origins,
        "missing": missing,
        "next_step": dataset.next_step,
    }


def advice_once(name: str, advice: str, told: dict[str, str]) -> str:
    """How to get the set `name`, or of which other set that was `told`."""
    first = told.setdefault(advice.replace(f"`harness data verify {name}`", ""), name)
    return advice if first == name else f"As for {first}; then `harness data verify {name}`."


def _whether(fact: dict[str, Any]) -> str:
    if fact["missing"] is None:
        return "yes"
    return "no" if fact["version"] is not None else f"broken: {fact['missing']}"


def _looks(fact: dict[str, Any]) -> str:
    if fact["spectrograms"]:
        return f"spectrograms of {fact['size']} mel bins x {fact['width']} windows"
    size = f"{fact['size']} x {fact['size']} pixels" if fact["size"] else "any size"
    return f"{size}, {'grey' if fact['channels'] == 1 else 'colour'}"


def _described(fact: dict[str, Any], told: dict[str, str]) -> str:
    """A set for people; `told` says of which set an advice was given, so that it is given once."""
    lines = [f"{fact['name']}: {fact['title']}"]
    if fact["classes"] is not None:
        what = "clips" if fact["spectrograms"] else "images"
        what = what if fact["train_images"] else f"{what} that judge"
        lines.append(f"  {_numbers(fact)} {what}, {fact['classes']:,} classes, {_looks(fact)}")
        lines.append(f"  here: {_whether(fact)}")
    lines.append(f"  licence: {fact['licence']}")
    lines += [f"  origin {rank}: {label}" for rank, label in enumerate(fact["origins"], 1)]
    if fact["missing"] is not None:
        advice = advice_once(fact["name"], fact["next_step"], told)
        lines += textwrap.wrap(advice, 98, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)
