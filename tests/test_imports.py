"""Imports go one way: from the command down to what knows nothing of a benchmark."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((ROOT / "harness").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What a module imports when it runs, in its functions too; imports for types alone are not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, tuple(alias.name for alias in node.names)
        else:
            yield from imports_of(node)


def graph() -> dict[str, set[str]]:
    """For each module those that it imports."""
    known = modules()
    edges: dict[str, set[str]] = {}
    for module, path in known.items():
        edges[module] = set()
        for name, members in imports_of(ast.parse(path.read_text(encoding="utf-8"))):
            inside = {f"{name}.{member}" for member in members}
            # a module that is taken out of its package asks for nothing that the package gives
            edges[module] |= inside & known.keys() if inside <= known.keys() else {name}
        # `import harness`, the front for users, gives `harness.api` when that is asked for
        edges[module] &= known.keys() - {module, "harness"}
    return edges


def layers() -> list[str]:
    """Folders and files of the package from top to bottom, as docs/architecture.md lists them."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    tree = page.split("\nharness/\n")[1].split("\ntests/")[0]
    return re.findall(r"^  (\w+)(?:/|\.py) ", tree, re.MULTILINE)


def test_no_module_is_imported_by_what_it_imports() -> None:
    edges = graph()
    try:
        tuple(TopologicalSorter(edges).static_order())
    except CycleError as error:
        raise AssertionError(" -> ".join(reversed(error.args[1]))) from None


def test_imports_go_down_the_list_of_the_docs() -> None:
    order = layers()
    inside = [module.split(".") for module in modules()]
    assert {parts[1] for parts in inside if len(parts) > 1} == {"__main__", *order}
    upward = [
        f"{module} -> {other}"
        for module, others in graph().items()
        for other in others
        if module not in ("harness", "harness.__main__")
        and order.index(module.split(".")[1]) > order.index(other.split(".")[1])
    ]
    assert not upward


CAPITALISED = re.compile(r"_?[A-Z]\w*[a-z]\w*")


def types_of(tree: ast.Module) -> tuple[set[str], set[str]]:
    """The classes of a module, wherever in it, and the other types that it gives a name."""
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    named = [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    named += [
        target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
    ]
    names = map(ast.unparse, named)
    return classes, {name for name in names if CAPITALISED.fullmatch(name)}


def test_no_class_of_the_package_shares_its_name_with_another_type() -> None:
    classes: dict[str, list[str]] = {}
    aliases: dict[str, list[str]] = {}
    for module, path in modules().items():
        of_module, others = types_of(ast.parse(path.read_text(encoding="utf-8")))
        for name in of_module:
            classes.setdefault(name, []).append(module)
        for name in others:
            aliases.setdefault(name, []).append(module)
    shared = {name: places + aliases.get(name, []) for name, places in classes.items()}
    assert not {name: places for name, places in shared.items() if len(places) > 1}
