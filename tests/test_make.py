"""The front door: what a user gives to `make` is text, and arrives as it is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.makefile import ROOT, outside


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile, nothing to install, and a command that notes its arguments."""
    root = tmp_path / "a checkout"
    (root / ".venv/bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", root)
    (root / "install.py").touch()
    python = root / ".venv/bin/python"
    python.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\" >arguments\n")
    python.chmod(0o755)
    return root


def make(checkout: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *words],
        cwd=checkout,
        env={**outside(), "PYTHON": sys.executable, **more},
        capture_output=True,
        text=True,
        check=False,
    )


def arguments(checkout: Path) -> list[str]:
    return (checkout / "arguments").read_text().split("\0")[:-1]


TEXTS = [
    "a b",
    "a,b*",
    "it's",
    'say "x"',
    "$(shell touch hacked)",
    "$$(touch hacked)",
    "`touch hacked`",
    "x; touch hacked",
    "x' ; touch hacked; '",
    "a\ntouch hacked #",
    "$HOME",
    "# x",
    "-x",
    "*",
    "a\\",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("where", ["command line", "environment"])
def test_what_is_given_arrives_as_it_is(checkout: Path, text: str, where: str) -> None:
    names = {"PROFILE": "profile", "EXECUTOR": "executor", "SEEDS": "seeds", "JOBS": "jobs"}
    names |= {"ROWS": "rows", "TASKS": "tasks", "CLUSTER": "cluster"}
    given = dict.fromkeys(names, text)
    if where == "command line":
        done = make(checkout, "table2", *(f"{name}={value}" for name, value in given.items()))
    else:
        done = make(checkout, "table2", **given)
    assert done.returncode == 0, done.stderr
    assert arguments(checkout) == [
        *("-m", "harness", "reproduce", "maskedkd/table2"),
        *(f"--{option}={text}" for option in names.values()),
    ]
    assert not (checkout / "hacked").exists()
    assert not (checkout / "touch").exists()


def test_what_is_not_given_is_not_passed_on(checkout: Path) -> None:
    assert make(checkout, "attmask-ratio", "SEEDS=", "OFFLINE=1").returncode == 0
    words = ["attmask/ratio", "--profile=fashion-mnist", "--executor=local", "--offline"]
    assert arguments(checkout)[3:] == words
    assert make(checkout, "table2", "UNTIL_SETTLED=1").returncode == 0
    assert arguments(checkout)[-1] == "--until-settled"
    assert make(checkout, "references", "REFERENCE=a machine", "JOBS=2").returncode == 0
    assert arguments(checkout)[2:] == ["references", "a machine", "--jobs=2"]
    assert make(checkout, "teacher").returncode == 0
    assert arguments(checkout)[3:] == [
        "teachers/fashion-mnist",
        "--profile=paper",
        "--executor=local",
    ]


@pytest.mark.parametrize("word", ["0", "no", "off", "False", " "])
def test_a_switch_can_be_off(checkout: Path, word: str) -> None:
    assert make(checkout, "table2", f"OFFLINE={word}", f"UNTIL_SETTLED={word}").returncode == 0
    assert make(checkout, "table2", OFFLINE=word, UNTIL_SETTLED=word).returncode == 0
    words = ["maskedkd/table2", "--profile=fashion-mnist", "--executor=local"]
    assert arguments(checkout)[3:] == words


def test_a_switch_that_is_neither_on_nor_off_is_told(checkout: Path) -> None:
    done = make(checkout, "table2", "OFFLINE=maybe")
    assert done.returncode == 2
    assert "OFFLINE is 1 or 0, got 'maybe'" in done.stderr
    assert not (checkout / "arguments").exists()


def test_what_is_given_empty_is_not_given(checkout: Path) -> None:
    for given in (["PROFILE=", "EXECUTOR= "], []):
        assert make(checkout, "table3", *given, PROFILE="", EXECUTOR="").returncode == 0
        assert arguments(checkout)[3:] == [
            "maskedkd/table3",
            "--profile=fsdd",
            "--executor=local",
        ]


@pytest.mark.parametrize(
    ("target", "given"),
    [
        ("teacher", "PROFILE=smoke"),
        ("costs", "SEEDS=0"),
        ("references", "ROWS=x"),
        ("table2", "REFERENCE=x"),
        ("test", "TASKS=train"),
    ],
)
def test_a_variable_that_a_target_does_not_read_is_told(
    checkout: Path, target: str, given: str
) -> None:
    done = make(checkout, target, given)
    assert done.returncode == 2
    name = given.partition("=")[0]
    assert f"make {target} does not read {name}; it reads" in done.stderr
    assert not (checkout / "arguments").exists()
    both = make(checkout, "-n", target, "table2", "references", given)  # one of them reads it
    assert both.returncode == 0


def test_a_table_of_sounds_has_its_own_small_profile(checkout: Path) -> None:
    assert make(checkout, "table3").returncode == 0
    assert arguments(checkout)[3:5] == ["maskedkd/table3", "--profile=fsdd"]
    for done in (
        make(checkout, "table3", "PROFILE=paper"),
        make(checkout, "table3", PROFILE="paper"),
    ):
        assert done.returncode == 0
        assert arguments(checkout)[3:5] == ["maskedkd/table3", "--profile=paper"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("SEED=0", "SEEDS"),
        ("PROFLE=smoke", "PROFILE"),
        ("profile=smoke", "PROFILE"),
        ("ROW=a", "ROWS"),
        ("OFF-LINE=1", "OFFLINE"),
        ("SEED'S=1", "SEEDS"),
        ("ROWS;touch${IFS}hacked=1", ""),
    ],
)
def test_a_misspelt_variable_is_told(checkout: Path, given: str, meant: str) -> None:
    done = make(checkout, "table2", given)
    assert done.returncode == 2
    assert f"; did you mean {meant}" in done.stderr
    assert not (checkout / "arguments").exists()
    assert not (checkout / "hacked").exists()


def test_the_former_name_of_a_variable_is_told(checkout: Path) -> None:
    done = make(checkout, "table2", "KINDS=flops")
    assert done.returncode == 2
    assert "the variable KINDS is now called TASKS" in done.stderr
    assert not (checkout / "arguments").exists()


def test_help_names_every_target_and_says_how_long_it_takes() -> None:
    makefile = (ROOT / "Makefile").read_text()
    shown = make(ROOT, "help").stdout
    targets = re.findall(r"^([a-z][a-z0-9-]*): .*## ", makefile, re.MULTILINE)
    assert len(targets) >= 26
    for target in targets:
        (line,) = re.findall(rf"^  make {target} .*$", shown, re.MULTILINE)
        if target not in ("help", "install", "clean"):
            assert re.search(r"second|minute|hour|\d h", line), line
