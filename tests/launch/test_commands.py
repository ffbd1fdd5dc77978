"""Programs of SLURM and git that hang, are missing, or print what nobody expects."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.launch import commands, job
from harness.launch.commands import call, clean_environment
from harness.launch.environment import code_facts
from harness.launch.reconcile import last_words, reconcile
from harness.launch.sbatch import _number, largest_array, remedy
from harness.launch.scheduler import Scheduler, _sacct, cancel_jobs
from harness.launch.snapshot import code_files, lacking, take_snapshot
from harness.launch.worker import EXIT_LOST
from harness.plan import make_plan
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import QUEUED, Store, name_job, reserve_job
from tests.launch.processes import harness

Program = Callable[[str, str], None]

SQUEUE = r"""
for word; do format=$word; done
line() { # the fields of one job into the format that was asked for
  text=$(printf '%s' "$format" | sed -e "s#%i#$1#" -e "s#%T#$2#" -e "s#%r#$3#" -e "s#%N#$4#")
  printf '%s\n' "${text%%%k*}$5${text##*%k}"
}
"""
HEADER = "line JOBID STATE REASON NODELIST COMMENT\n"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a script of that name before all other programs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(name: str, text: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    return make


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs have half a second."""
    monkeypatch.setattr(commands, "SECONDS", 0.5)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("text", ["sleep 1000", "sleep 1000 & sleep 1000", "yes | tr y z; sleep 9"])
def test_a_program_that_hangs_is_ended_with_all_that_it_started(
    program: Program, text: str
) -> None:
    program("squeue", text.replace("yes", "head -c 100000 /dev/zero"))
    answer = Scheduler().ask()
    assert not answer.complete
    assert answer.why == "squeue did not answer within 0.5 seconds"


def test_what_is_missing_or_cannot_be_started_is_told_in_a_sentence(program: Program) -> None:
    assert call("nosuchprogram").why == "nosuchprogram not found"
    assert call("/etc/passwd").why == "/etc/passwd cannot be started: Permission denied"
    program("squeue", "printf 'squeue: error: \\377 no\\n' >&2; echo half; exit 3")
    assert call("squeue").why == "squeue: \ufffd no"
    program("squeue", "exit 3")
    assert call("squeue").why == "squeue ended with exit code 3 and said nothing"


def test_variables_of_slurm_are_options_but_for_where_it_is() -> None:
    kept = {"SLURM_CONF": "a", "SLURM_JWT": "b", "HARNESS_DATA": "c", "PATH": "d"}
    gone = ("SBATCH_ACCOUNT", "SQUEUE_STATES", "SACCT_FORMAT", "SLURM_CLUSTERS", "RANK", "GIT_DIR")
    assert clean_environment({**kept, **dict.fromkeys(gone, "x")}) == kept


@pytest.mark.parametrize(
    ("said", "jobs"),
    [
        (HEADER + "line 7 RUNNING None n1 harness:x\n", {"7": "RUNNING"}),
        ("echo Welcome!; echo '8|PENDING|||'\n" + HEADER + "line 7 PENDING Priority '' ''\n", None),
        (HEADER + "line 7_3 A_STATE_OF_NEXT_YEAR None n1 x\n", {"7_3": "A_STATE_OF_NEXT_YEAR"}),
        (HEADER + "line 7 RUNNING None n1 $'a\\n9|COMPLETED|None|n1|b'\n", {"7": "RUNNING"}),
        (HEADER + "line 7 RUNNING '(a|b)' n1 $'\\377'\n", {"7": "RUNNING"}),
        (HEADER + "line 7+1 RUNNING None n1 x\n", {"7+1": "RUNNING"}),
        (HEADER + f"line 7 RUNNING None {'node,' * 4000} x\n", {"7": "RUNNING"}),
        (HEADER, {}),
    ],
)
def test_the_queue_is_read_whatever_is_printed_around_it(
    program: Program, said: str, jobs: dict[str, str] | None
) -> None:
    program("squeue", SQUEUE + said)
    answer = Scheduler().ask()
    assert answer.complete, answer.why
    found = {job: info.state for job, info in answer.jobs.items()}
    assert found == ({"7": "PENDING"} if jobs is None else jobs)


@pytest.mark.parametrize(
    "said",
    [
        "true",
        "echo nothing like a queue",
        HEADER + "line 7 RUNNING None n1 x; exit 1",
        HEADER + "line '7_[1-3]' PENDING None n1 x",
        "line 7 RUNNING None n1 x",
        "cat /bin/true",
    ],
)
def test_what_is_no_whole_answer_is_none(program: Program, said: str) -> None:
    program("squeue", SQUEUE + said)
    answer = Scheduler().ask()
    assert not answer.complete
    assert answer.why


def test_accounting_tells_ends_only(program: Program) -> None:
    program(
        "sacct", "printf 'Hello|\\n7|RUNNING|n1\\n8|CANCELLED by 5|n1\\n9|FAILED\\n\\377|x|y\\n'"
    )
    assert {job: info.state for job, info in _sacct(["7", "8", "9"]).items()} == {"8": "CANCELLED"}
    program("sacct", "echo '8|FAILED|n1'; exit 1")
    assert _sacct(["8"]) == {}


@pytest.mark.parametrize(
    ("out", "number"),
    [
        ("123\n", "123"),
        ("123;cluster\n", "123"),
        ("Submitted batch job 123\n", "123"),
        ("Your last job 17 took 5 h\n12 hours are left\n123\nBye\n", "123"),
        ("\x1b[1mBanner\x1b[0m\r\n123\r\n", "123"),
    ],
)
def test_the_number_of_a_submission(out: str, number: str) -> None:
    assert _number(commands.CommandResult(out=out, code=0), "harness:x") == number


@pytest.mark.parametrize("out", ["", "ok\n", "5\n123\n"])
def test_where_no_number_is_told_the_queue_is_asked(program: Program, out: str) -> None:
    program("squeue", SQUEUE + HEADER + "line 123_0 PENDING '' '' harness:x\nline 9 RUNNING a b c")
    assert _number(commands.CommandResult(out=out, code=0), "harness:x") == "123"
    with pytest.raises(HarnessError, match="told no number"):
        _number(commands.CommandResult(out=out, code=0), "harness:y")


@pytest.mark.parametrize(
    ("why", "key"),
    [
        ("Invalid account or account/partition combination specified", "`account`"),
        ("invalid partition specified: x", "`partition`"),
        ("Invalid qos specification", "`qos`"),
        ("Invalid job array specification", "`max_array_size`"),
        ("Job violates accounting/QOS policy (job submit limit)", "wait until jobs have ended"),
        ("Requested node configuration is not available", "`node`"),
        ("Invalid generic resource (gres) specification", "`node.gpus`"),
        ("Invalid feature specification", "`constraint`"),
        ("Memory specification can not be satisfied", "`node.memory_gb`"),
        ("Requested time limit is invalid", "`minutes`"),
        ("Unable to contact slurm controller", "the same command submits what is left"),
    ],
)
def test_a_refusal_names_the_key_to_correct(why: str, key: str) -> None:
    assert key in remedy(why)


def test_the_largest_array_is_the_clusters(program: Program) -> None:
    program("scontrol", "echo 'Welcome'; echo 'MaxArraySize            = 1001'")
    assert largest_array() == 1001
    program("scontrol", "exit 1")
    assert largest_array() is None


def test_cancelling_what_has_ended_is_no_error(program: Program) -> None:
    program("scancel", "echo 'scancel: error: Invalid job id specified' >&2; exit 1")
    cancel_jobs(["7"])
    program("scancel", "echo 'scancel: error: Unable to contact' >&2; exit 1")
    with pytest.raises(HarnessError, match="1 job: scancel: Unable to contact"):
        cancel_jobs(["7"])


@pytest.mark.parametrize(
    "answer", ["Requested operation is presently disabled", "Access/permission denied"]
)
def test_a_job_that_slurm_does_not_requeue_does_not_wait(program: Program, answer: str) -> None:
    program(
        "scontrol", f"[ $1 = show ] && echo JobState=RUNNING && exit; echo '{answer}' >&2; exit 1"
    )
    assert f"cannot be requeued (scontrol: {answer}): run again" in job._requeue()


def test_a_controller_that_is_away_is_waited_for(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = "echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1"
    program("scontrol", f"test $1 = show && exit 1; if mkdir {tmp_path}/asked; then {gone}; fi")
    monkeypatch.setattr(job.time, "sleep", lambda _: None)
    with pytest.raises(SystemExit):
        job._requeue()
    assert (tmp_path / "asked").exists()


def test_who_is_killed_while_it_requeues_its_job_asks_whether_it_did(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    program(
        "scontrol",
        f"""if test $1 = requeue; then echo >>{asked}; kill -TERM $$; fi
        test -e {asked} && mkdir {tmp_path}/away && kill -TERM $$
        test -e {asked} && echo JobState=PENDING Restarts=1 || echo JobState=RUNNING Restarts=0""",
    )
    monkeypatch.setattr(job.time, "sleep", lambda _: None)
    with pytest.raises(SystemExit) as ended:
        job._requeue()
    assert ended.value.code == EXIT_LOST
    assert asked.read_text() == "\n"


def test_git_that_refuses_is_told_and_the_package_is_copied(
    program: Program, tmp_path: Path
) -> None:
    root = tmp_path / "checkout"
    (root / "harness").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "harness/a.py").write_text("x = 1\n")
    dubious = f"detected dubious ownership in repository at '{root}'"
    for text, why in (
        (f'echo "fatal: {dubious}" >&2; exit 128', f"git: {dubious}"),
        ("exit 1", "git ended with exit code 1 and said nothing"),
    ):
        program("git", text)
        assert code_facts(root) == {"commit": None, "dirty": None, "code": why}
        assert code_files(root) == ["harness/a.py"]
    snapshot = take_snapshot(root, tmp_path / "code")
    assert (snapshot / "harness/a.py").read_text() == "x = 1\n"


def test_a_snapshot_is_known_by_its_content(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "harness").mkdir(parents=True)
    (root / "harness/a.py").write_text("x = 1\n")
    snapshot = take_snapshot(root, tmp_path / "code")
    assert lacking(snapshot) == []
    (snapshot / "harness/a.py").write_text("x = 2\n")
    assert lacking(snapshot) == ["harness/a.py"]
    assert take_snapshot(root, tmp_path / "code") == snapshot
    assert lacking(snapshot) == []
    (snapshot / "harness/a.py").unlink()
    (snapshot / "harness/a.py").mkdir()  # cannot be put back
    beside = take_snapshot(root, tmp_path / "code")
    assert beside.name == f"{snapshot.name}-2"
    assert lacking(beside) == []


def test_a_leftover_of_a_cluster_is_not_waited_for(
    counting_table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results that were copied from a cluster to a machine without SLURM."""
    plan = make_plan(expand(load_table(counting_table), "paper"), Store(), device="cpu", jobs=1)
    directory = Store().create(plan.runs[0].run)
    assert reserve_job(directory, submission="s", index=0, folder=tmp_path)
    name_job(directory, "s", "123_0")
    monkeypatch.setenv("PATH", str(tmp_path))
    few = [counting_table, "--tasks", "counting", "--rows", "a"]
    done = harness("run", *few)
    name = directory.name
    assert "SLURM cannot be asked about its job 123_0: squeue not found" in done.stdout
    assert f"harness cancel --forget {name}" in done.stdout
    assert "1 run done" in done.stdout
    said = harness("status", *few).stdout
    assert "SLURM cannot be asked about its job 123_0" in said
    assert harness("cancel", name).returncode == 1
    assert "forgot 1 job of 1 run" in harness("cancel", "--forget", name).stdout
    assert "1 run done" in harness("run", *few).stdout


@pytest.mark.parametrize("content", [True, False])
def test_a_submission_that_broke_off_is_settled_without_slurm(
    counting_table: str, tmp_path: Path, program: Program, content: bool
) -> None:
    """Its folder tells whether there is a job with content."""
    program("squeue", "exit 1")
    plan = make_plan(expand(load_table(counting_table), "paper"), Store(), device="cpu", jobs=1)
    directory = Store().create(plan.runs[0].run)
    assert reserve_job(directory, submission="s", index=3, folder=tmp_path / "jobs")
    (tmp_path / "jobs").mkdir()
    if content:
        (tmp_path / "jobs/77_3_submitted.pkl").touch()
        (tmp_path / "jobs/77_13_submitted.pkl").touch()
    reconcile(Store(), Scheduler(), force="s")
    (record,) = Store().records()
    assert (record.job, record.state == QUEUED) == (("77_3", True) if content else (None, False))


def test_a_job_number_that_slurm_has_given_away_is_no_job(
    counting_table: str, tmp_path: Path, program: Program
) -> None:
    program("squeue", SQUEUE + HEADER + "line 7 RUNNING None n1 harness:other")
    plan = make_plan(expand(load_table(counting_table), "paper"), Store(), device="cpu", jobs=1)
    directory = Store().create(plan.runs[0].run)
    assert reserve_job(directory, submission="mine", index=0, folder=tmp_path)
    name_job(directory, "mine", "7")
    assert reconcile(Store(), Scheduler()).complete
    assert Store().records()[0].note is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x\nharness: this line failed\nsrun: error: task 0\n", "this line failed"),
        (
            "Traceback\nModuleNotFoundError: No module\nsrun: error: x",
            "ModuleNotFoundError: No module",
        ),
        ("slurmstepd: error: execve(): a\nsrun: error: task 0", "slurmstepd: error: execve(): a"),
        ("\xff fine\n", None),
    ],
)
def test_the_last_words_of_a_job(tmp_path: Path, text: str, said: str | None) -> None:
    (tmp_path / "7_0_log.out").write_bytes(text.encode("latin1"))
    assert last_words(tmp_path, "7") == said
    assert last_words(tmp_path, "8") is None
