"""The user's environment: odd values, closed streams, no home. One sentence, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from harness import variables
from harness.cli import main
from harness.errors import HarnessError
from harness.paths import own_temporary
from harness.process import prepare_process
from tests.conftest import Experiments
from tests.spec.specs import GOOD

HARNESS = f"'{sys.executable}' -m harness"
NO_HOME = """if True:
    import pwd, sys
    def nobody(*_):
        raise KeyError("no entry")
    pwd.getpwuid = pwd.getpwnam = nobody
    from harness.cli import main
    sys.exit(main())
"""


@pytest.fixture
def project(experiments: Experiments) -> Experiments:
    """With one table."""
    experiments.table("paper/good", GOOD)
    return experiments


def shell(command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """What a line of a shell prints, and how it ends."""
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, **more}, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize(
    "name",
    [name for name in variables.VARIABLES if name not in ("HARNESS_PLUGINS", "HARNESS_OFFLINE")],
)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("~nosuchuser/x", "there is no user 'nosuchuser'"),
        ("/dev/null/x", "not a directory"),
        ("x" * 300, "file name too long"),
    ],
)
def test_a_path_that_cannot_be_is_an_error_that_names_the_variable(
    name: str, given: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, given)
    read = variables.file if name == "HARNESS_CLUSTER" else variables.folder
    with pytest.raises(HarnessError, match=rf"^\${name} is .*{said}"):
        read(name)


def test_a_file_is_no_folder_and_a_folder_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_RESULTS", "/dev/null")
    with pytest.raises(HarnessError, match=r"^\$HARNESS_RESULTS is /dev/null, which is no folder"):
        variables.folder("HARNESS_RESULTS")
    monkeypatch.setenv("HARNESS_CLUSTER", str(tmp_path))
    with pytest.raises(HarnessError, match="which is a folder: name a file"):
        variables.file("HARNESS_CLUSTER")


def test_empty_is_not_set_and_relative_means_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_DATA", "")
    assert variables.folder("HARNESS_DATA") is None
    monkeypatch.setenv("HARNESS_DATA", "sets/../data")
    assert variables.folder("HARNESS_DATA") == tmp_path / "data"


@pytest.mark.parametrize("slip", ["HARNESS_RESLUTS", "HARNES_RESULTS", "harness_results"])
def test_a_variable_with_a_slip_is_told(slip: str, project: Experiments) -> None:
    done = shell(f"{HARNESS} check", HARNESS_BUILD_ID="12", **{slip: "/x"})
    assert done.stderr == f"warning: ${slip} means nothing; did you mean $HARNESS_RESULTS?\n"
    assert done.returncode == 0


def test_components_that_cannot_be_loaded_are_told_before_the_work(project: Experiments) -> None:
    done = shell(f"{HARNESS} check 2>&1", HARNESS_PLUGINS="gone", PYTHONUNBUFFERED="1")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("warning: not loaded: HARNESS_PLUGINS names 'gone', which cannot")
    assert [line.partition(":")[0] for line in lines[1:]] == ["ok paper/good"]
    assert done.returncode == 0


def test_the_documented_variables_are_those_that_are_read() -> None:
    page = Path(__file__).parents[1] / "docs" / "environment.md"
    text = page.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in variables.VARIABLES)


FINE = {
    "closed": ("{harness} check >&-", {}),
    "all closed": ("{harness} check <&- >&- 2>&-", {}),
    "broken pipe": ("set -o pipefail; {harness} check | true", {}),
    "ascii": ("{harness} plan paper/good", {"PYTHONIOENCODING": "ascii"}),
    "latin": ("{harness} plan paper/good", {"PYTHONIOENCODING": "iso-8859-1"}),
    "posix": (
        "{harness} plan paper/good",
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ),
    "warnings": ("{harness} plan paper/good", {"PYTHONWARNINGS": "error"}),
    "columns": ("{harness} plan paper/good", {"COLUMNS": "0", "TERM": "dumb", "NO_COLOR": "1"}),
    "threads": ("{harness} plan paper/good", {"OMP_NUM_THREADS": "abc"}),
    "temporary": ("{harness} plan paper/good", {"TMPDIR": "/nonexistent"}),
    "few files": ("ulimit -n 24; {harness} plan paper/good", {}),
    "optimised": ("{harness} plan paper/good", {"PYTHONOPTIMIZE": "2"}),
}


@pytest.mark.parametrize("case", FINE)
def test_commands_do_their_work_all_the_same(case: str, project: Experiments) -> None:
    command, more = FINE[case]
    done = shell(command.replace("{harness}", HARNESS), **more)
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_nobody_reads_hides_no_exit_code(project: Experiments) -> None:
    project.table("paper/bad", "rows: [")
    done = shell(f"set -o pipefail; {HARNESS} check 2>/dev/null | true")
    assert done.returncode == 1


def test_output_that_cannot_be_written_is_an_error(project: Experiments) -> None:
    done = shell(f"{HARNESS} check >/dev/full")
    assert done.returncode == 1
    assert done.stderr == "error: the output cannot be written: no space left on device\n"


def test_a_line_is_seen_behind_a_pipe_while_the_work_goes_on() -> None:
    line = "from harness.process import prepare_process; prepare_process(); print('begun'); input()"
    with subprocess.Popen(
        [sys.executable, "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as front:
        assert front.stdout is not None
        assert front.stdout.readline() == "begun\n"
        front.communicate("\n")
    assert front.returncode == 0


def test_characters_that_a_terminal_lacks_are_spelled() -> None:
    text = "✓ −1.5 ± 2 × é 漢 \udce9"
    line = f"from harness.process import prepare_process; prepare_process(); print({text!r})"
    done = subprocess.run(
        [sys.executable, "-c", line],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert done.stdout == b"+ -1.5 +/- 2 x e \\u6f22 \\udce9\n"


def test_what_is_printed_has_no_power_over_a_terminal() -> None:
    """Nothing but what the harness draws: names of files and runs may hold anything."""
    text = "a\tb\n\x1b[31m\rc\x07\0\x7f\x9b2J\u202e\u2028 \xa0é"
    code = f"""if True:
        import sys
        from harness.process import draw, prepare_process
        prepare_process()
        print({text!r})
        print({text!r}, file=sys.stderr)
        draw(sys.stdout, "\\x1b[2J")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    shown = "a\tb\n\\x1b[31m\\x0dc\\x07\\x00\\u007f\\u009b2J\\u202e\\u2028 \xa0é\n"
    assert done.stderr.decode() == shown
    assert done.stdout.decode() == shown + "\x1b[2J"


def test_json_with_controls_is_still_json() -> None:
    code = (
        "import json; from harness.process import prepare_process; prepare_process(); "
        "print(json.dumps('\\x1b\\x7f\\x9b', ensure_ascii=False))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert json.loads(done.stdout) == "\x1b\x7f\x9b"
    assert done.stdout.strip().isprintable()


ODD = "a\nerror: b\x1b[31mc\x9b2J"


@pytest.mark.parametrize(
    "words",
    [
        ["plan", ODD],
        ["plan", f"{ODD}.yaml"],
        ["plan", "paper/good", "--profile", ODD],
        ["plan", "paper/good", "--rows", f"{ODD},none"],
        ["plan", "paper/good", "--tasks", ODD],
        ["plan", "paper/good", "--jobs", ODD],
        ["plan", "paper/good", "--device", ODD],
        ["logs", ODD],
        ["report", "paper/good", "--pool", ODD],
        ["data", "verify", "folder", "--path", ODD],
        ["run", "paper/good", "--executor", "slurm", "--cluster", ODD],
        [ODD],
    ],
    ids=lambda words: " ".join(words).replace(ODD, "odd"),
)
def test_what_a_user_typed_is_told_in_one_line(
    words: list[str], project: Experiments, capfd: pytest.CaptureFixture[str]
) -> None:
    streams = sys.stdout, sys.stderr
    try:
        with patch.object(sys, "argv", ["harness", *words]):
            prepare_process()
            code = main(words)
    except SystemExit as stop:
        code = int(str(stop.code))
    finally:
        sys.stdout, sys.stderr = streams
    assert code == 1
    message = capfd.readouterr().err.partition("error: ")[2].removesuffix("\n")
    assert "a\\nerror: b\\x1b[31mc\\" in message
    assert message.isprintable()


def test_what_a_variable_says_is_told_in_one_line(project: Experiments) -> None:
    done = shell(f"{HARNESS} list", HARNESS_HOME=str(project.root / ODD))
    assert done.returncode == 1
    assert done.stderr.removesuffix("\n").isprintable()
    assert "a\\nerror: b\\x1b[31mc\\u009b2J/experiments" in done.stderr


def test_a_log_is_utf_8_wherever_it_is_written() -> None:
    line = "from harness.process import prepare_process; prepare_process(utf8=True); print('✓')"
    done = subprocess.run(
        [sys.executable, "-c", line],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert done.stdout == "✓\n".encode()


def test_nothing_is_opened_in_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import os; from harness.process import prepare_process; prepare_process(); "
        f"print('x'); print(os.open({str(tmp_path / 'file')!r}, os.O_CREAT | os.O_WRONLY) > 2)"
    )
    done = shell(f"""'{sys.executable}' -c "{code}; os._exit(0)" >&- 2>&- <&-""")
    assert done.returncode == 0
    assert (tmp_path / "file").read_bytes() == b""


def test_variables_that_would_change_numbers_are_dropped() -> None:
    code = (
        "import os; from harness.process import prepare_process; prepare_process(); "
        "print([name for name in os.environ if 'FPMATH' in name or 'TF32' in name])"
    )
    more = {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16", "NVIDIA_TF32_OVERRIDE": "1"}
    assert shell(f"""'{sys.executable}' -c "{code}" """, **more).stdout == "[]\n"


def test_a_umask_against_the_owner_does_not_count(tmp_path: Path) -> None:
    code = "from harness.process import prepare_process; prepare_process(); "
    code += f"open({str(tmp_path / 'x')!r}, 'w')"
    shell(f"""umask 0777; '{sys.executable}' -c "{code}" """)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("command", ["plan", "status", "report"])
def test_a_user_without_home_and_name(command: str, project: Experiments) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "HOME"}
    words = [command, "paper/good", *(["--format", "md"] if command == "report" else [])]
    done = subprocess.run(
        [sys.executable, "-c", NO_HOME, *words], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_directory_that_is_gone(project: Experiments) -> None:
    done = shell(f"mkdir gone; cd gone; rmdir ../gone; {HARNESS} check", PYTHONPATH=os.getcwd())
    assert done.returncode == 1
    assert done.stderr.startswith("error: the current directory cannot be used (no such file")


def test_temporary_files_lie_in_a_folder_of_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = own_temporary()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert own_temporary() == folder
    folder.chmod(0o777)
    with pytest.raises(HarnessError, match="must be a folder that belongs to you"):
        own_temporary()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(HarnessError, match="must be a folder that belongs to you"):
        own_temporary()


def test_plots_are_the_same_whatever_is_configured_for_matplotlib(tmp_path: Path) -> None:
    code = """if True:
        import hashlib, io
        from harness.report.drawing import styled
        from matplotlib.figure import Figure
        with styled():
            figure = Figure()
            figure.subplots().plot([1, 2], label="$x")
            file = io.BytesIO()
            figure.savefig(file, format="png", metadata={"Software": None})
        print(hashlib.sha256(file.getvalue()).hexdigest())
        """
    own = tmp_path / "own"
    own.mkdir()
    (own / "matplotlibrc").write_bytes(
        b"text.usetex: true\nbackend: nonsense\nfont.size: 30\nlines.linewidth: 9\n# \xe9\n"
    )
    found = []
    for folder, more in ((tmp_path, {}), (own, {"MPLBACKEND": "no", "MATPLOTLIBRC": str(own)})):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            env={**os.environ, **more},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        found.append(done.stdout)
    assert found[0] == found[1]
