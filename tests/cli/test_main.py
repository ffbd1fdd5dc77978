"""The command: exit codes, messages, and how little it imports."""

from __future__ import annotations

import argparse
import pkgutil
import re
import subprocess
import sys

import pytest

import harness
from harness import cli
from harness.cli import check, main
from harness.errors import HarnessError
from tests.conftest import Experiments
from tests.spec.specs import GOOD


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"harness {harness.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["chek"], ["check", "--colour"]])
def test_a_wrong_command_line_is_a_mistake_of_the_user(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 1
    assert re.search(r"^error: ", capsys.readouterr().err, re.MULTILINE)


@pytest.mark.parametrize(
    ("raised", "code", "shown"),
    [(HarnessError("do this"), 1, "error: do this\n"), (KeyboardInterrupt(), 130, "")],
)
def test_errors_become_messages_and_exit_codes(
    raised: BaseException,
    code: int,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise raised

    monkeypatch.setattr(check, "run", run)
    assert main(["check"]) == code
    assert capsys.readouterr().err == shown


def test_every_command_is_there_and_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, re.MULTILINE)
    assert {"check", "list"} <= set(commands)
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
        usage, what, *_ = capsys.readouterr().out.split("\n\n")
        assert usage.startswith(f"usage: harness {command}")
        assert what.rstrip().endswith("."), f"`harness {command} --help` does not say what it does"


@pytest.mark.parametrize("arguments", [["check"], ["list"], ["check", "paper/good"]])
def test_looking_at_specs_imports_nothing_heavy(
    arguments: list[str], experiments: Experiments
) -> None:
    experiments.table("paper/good", GOOD)
    code = f"""if True:
        import sys
        from harness.cli import main
        assert main({arguments!r}) == 0
        heavy = {{"torch", "torchvision", "timm", "pandas", "matplotlib", "scipy"}}
        sys.exit(", ".join(sorted(heavy & sys.modules.keys())))
        """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert done.stderr == "\n"
    assert "paper/good" in done.stdout


def test_it_is_a_module_too(experiments: Experiments) -> None:
    experiments.table("paper/good", GOOD)
    done = subprocess.run(
        [sys.executable, "-m", "harness", "check"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "ok paper/good: 2 rows, 2 profiles, 8 runs\n")


def test_a_reader_that_goes_away_is_no_error(experiments: Experiments) -> None:
    for number in range(40):
        experiments.table(f"paper/t{number}", GOOD)
    piped = f"{sys.executable} -m harness check | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", piped], capture_output=True, text=True)
    assert done.stdout.endswith("\n0\n")
    assert done.stderr == ""


def test_help_imports_no_command_and_knows_all() -> None:
    names = {module.name for module in pkgutil.iter_modules(cli.__path__)}
    assert list(cli.COMMANDS) == sorted(name for name in names if not name.startswith("_"))
    code = (
        "import sys\nfrom harness.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(*sorted(name for name in sys.modules if name.startswith('harness')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *said, imported = done.stdout.splitlines()
    light = {
        "harness",
        "harness.cli",
        "harness.errors",
        "harness.process",
        "harness.text",
        "harness.variables",
    }
    assert set(imported.split()) == light
    assert "    status    state of every run; reads only" in said


@pytest.mark.parametrize(
    ("command", "hint"), [("plan", "harness list` shows"), ("logs", "harness status TABLE` lists")]
)
def test_a_missing_name_says_where_names_are(
    command: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command])
    assert hint in capsys.readouterr().err.splitlines()[-1]


def test_ctrl_c_while_the_command_is_loaded_is_no_traceback() -> None:
    code = """if True:
        import os, signal, sys

        class Interrupting:
            def find_spec(self, name, path=None, target=None):
                if name == "harness.spec":
                    os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, Interrupting())
        sys.argv = ["harness", "list"]
        from harness.__main__ import main
        sys.exit(main())
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
