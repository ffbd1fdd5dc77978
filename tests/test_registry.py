"""A component that cannot be used is named with its file; all others can be used."""

from __future__ import annotations

import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harness import registry
from harness.errors import FieldError, HarnessError
from harness.models.config import ModelConfig
from harness.registry import Registry


class Thing(ABC):
    """What the components of these tests are."""

    @abstractmethod
    def do(self) -> int:
        """Whatever."""


GOOD = """
from tests.test_registry import Thing
from {package} import THINGS

@THINGS.register("{name}")
class Good(Thing):
    def do(self):
        return 1
"""

BROKEN = {
    "syntax": ('@THINGS.register("bad")\ndef f(:\n', "bad.py:5: SyntaxError: invalid syntax"),
    "import": (
        'import no_such_package\n@THINGS.register("bad")\nclass Bad(Thing): pass\n',
        "bad.py:4: ModuleNotFoundError: No module named 'no_such_package'",
    ),
    "name": ('@THINGS.register("bad")\nclass Bad(Thinng): pass\n', "bad.py:5: NameError"),
    "method": ('@THINGS.register("bad")\nclass Bad(Thing): pass\n', "bad.py:4: Bad lacks do"),
    "base": (
        '@THINGS.register("bad")\nclass Bad: pass\n',
        "bad.py:4: Bad is not derived from Thing",
    ),
    "late": (
        '@THINGS.register("bad")\nclass Bad(Thing):\n    def do(self): pass\n1 / 0\n',
        "bad.py:7: ZeroDivisionError: division by zero",
    ),
    "exit": (
        'import sys; sys.exit("no")\n@THINGS.register("bad")\nclass Bad(Thing): pass\n',
        "bad.py:4: SystemExit: no",
    ),
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Registry]]:
    """Makes a package with the given files, and its registry."""
    name = f"things_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(Registry, "every", [])

    def make(**files: str) -> Registry:
        lines = (
            "from harness.registry import Registry",
            "from tests.test_registry import Thing",
            f'THINGS = Registry("thing", "{name}", base=lambda: Thing)\n',
        )
        text = "\n".join(lines)
        (folder / "__init__.py").write_text(text, encoding="utf-8")
        for file, content in files.items():
            filled = content.replace("{package}", name)
            (folder / f"{file}.py").write_text(filled, encoding="utf-8")
        return __import__(name).THINGS

    yield make
    for module in [one for one in sys.modules if one.partition(".")[0] == name]:
        del sys.modules[module]


def good(name: str) -> str:
    """A component that can be used."""
    return GOOD.replace("{name}", name)


def bad(what: str) -> str:
    """One that cannot."""
    return (
        "from tests.test_registry import Thing\nfrom {package} import THINGS\n\n" + BROKEN[what][0]
    )


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_component_takes_no_other_down(
    what: str, package: Callable[..., Registry]
) -> None:
    things = package(bad=bad(what), fine=good("fine"), zeta=good("zeta"))
    assert things.names() == ["fine", "zeta"]
    assert things.get("fine").__name__ == "Good"
    with pytest.raises(HarnessError, match=r"^thing 'bad' cannot be used: .*bad\.py:\d+: ") as told:
        things.get("bad")
    assert BROKEN[what][1] in str(told.value)
    assert "\n" not in str(told.value)
    assert registry.broken_components() == [str(told.value)]


def test_a_file_without_a_name_is_told_to_who_looks_for_one(
    package: Callable[..., Registry],
) -> None:
    things = package(helper="import no_such_package\n", fine=good("fine"))
    with pytest.raises(HarnessError, match="unknown thing 'fnie'; did you mean 'fine'") as told:
        things.get("fnie")
    assert "helper.py:1: ModuleNotFoundError" in str(told.value)


def test_two_components_of_one_name_are_an_error_of_this_name(
    package: Callable[..., Registry],
) -> None:
    things = package(a=good("same"), b=good("same"), c=good("other"))
    assert things.names() == ["other"]
    with pytest.raises(
        HarnessError, match=r"b\.py:5: 'same' is registered in things_.*\.a already"
    ):
        things.get("same")


def test_an_entry_point_that_cannot_be_loaded(
    package: Callable[..., Registry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    things = package(fine=good("fine"))
    name = things._package
    lines = f'from {name} import THINGS\nTHINGS.register("outside")\nimport no_such_package\n'
    (tmp_path / "outside_component.py").write_text(lines, encoding="utf-8")
    points = [
        EntryPoint("outside", "outside_component", "harness.thing"),
        EntryPoint("gone", "no_such_module", "harness.thing"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert things.names() == ["fine"]
    with pytest.raises(HarnessError, match=r"outside_component\.py:3: ModuleNotFoundError"):
        things.get("outside")
    with pytest.raises(
        HarnessError, match=r"'gone' cannot be used: .*No module named 'no_such_mod"
    ):
        things.get("gone")


def test_a_folder_of_ones_own_is_loaded_file_by_file(
    package: Callable[..., Registry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    things = package(fine=good("fine"))
    folder = f"mine_{things._package}"
    (tmp_path / folder).mkdir()
    for name, text in (("one", good("one")), ("two", good("two")), ("bad", bad("name"))):
        content = text.replace("{package}", things._package)
        (tmp_path / folder / f"{name}.py").write_text(content, encoding="utf-8")
    monkeypatch.setenv("HARNESS_PLUGINS", folder)
    assert things.names() == ["fine", "one", "two"]
    assert things.get("two").__module__ == f"{folder}.two"
    with pytest.raises(HarnessError, match=r"thing 'bad' cannot be used: .*bad\.py:5: NameError"):
        things.get("bad")
    for module in [one for one in sys.modules if one.partition(".")[0] == folder]:
        del sys.modules[module]


def test_a_folder_that_python_does_not_find_is_told_with_what_to_do(
    package: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    things = package(fine=good("fine"))
    monkeypatch.setenv("HARNESS_PLUGINS", "not_on_the_path")
    with pytest.raises(HarnessError, match="PYTHONPATH must name the folder that holds it"):
        things.get("mine")


def test_an_unknown_name_may_be_of_a_module_that_was_not_named(
    package: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    things = package(fine=good("fine"))
    with pytest.raises(HarnessError) as error:
        things.get("mine")
    told = "unknown thing 'mine'; did you mean 'fine'? (valid: fine)"
    own = "; if it is your own: HARNESS_PLUGINS names its module (docs/extending.md)"
    assert str(error.value) == told + own
    with pytest.raises(FieldError, match=re.escape(own)):
        ModelConfig(arch="mine")
    monkeypatch.setenv("HARNESS_PLUGINS", "json")
    with pytest.raises(HarnessError) as error:
        things.get("mine")
    assert str(error.value) == told


def test_a_package_of_ones_own_says_itself_what_it_imports(
    package: Callable[..., Registry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    things = package(fine=good("fine"))
    folder = tmp_path / f"mine_{things._package}"
    folder.mkdir()
    (folder / "__init__.py").write_text("", encoding="utf-8")
    (folder / "one.py").write_text("raise SystemExit\n", encoding="utf-8")
    monkeypatch.setenv("HARNESS_PLUGINS", folder.name)
    assert things.names() == ["fine"]
    assert not things.broken
