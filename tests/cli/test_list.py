"""`harness list`."""

from __future__ import annotations

import os

import pytest

from harness import api
from harness.cli import main
from harness.errors import HarnessError
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import RunWriter, Store, claim
from tests.conftest import Experiments
from tests.spec.specs import GOOD, changed


def listed(capsys: pytest.CaptureFixture[str], *, code: int = 0) -> list[list[str]]:
    """The words of every line that the command prints."""
    assert main(["list"]) == code
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_tables_with_their_profiles_and_runs(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/good", GOOD)
    experiments.table("paper/more", GOOD)
    assert listed(capsys) == [
        ["TABLE", "PROFILE", "ROWS", "RUNS", "DONE"],
        ["paper/good", "paper", "2", "5", "0"],
        ["paper/good", "tiny", "2", "3", "0"],
        ["paper/more", "paper", "2", "5", "0"],
        ["paper/more", "tiny", "2", "3", "0"],
    ]


def test_runs_that_are_done_count(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    table = load_table(experiments.table("paper/good", GOOD))
    first, second, *_ = expand(table, "paper").runs
    store = Store()
    for run, finished in ((first, True), (second, False)):
        lease = claim(store.create(run))
        assert lease is not None
        if finished:
            RunWriter(lease).finish({"val/top1": 50.0}, device="cpu")
    assert listed(capsys)[1] == ["paper/good", "paper", "2", "5", "1"]


def test_a_broken_spec_does_not_hide_the_others(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/bad", changed("{keep: 8}", "{keep: 0}"))
    experiments.table("paper/good", GOOD)
    bad, *good = listed(capsys, code=1)[1:]
    assert " ".join(bad) == "paper/bad 1 problem: run `harness check paper/bad`"
    assert len(good) == 2


@pytest.mark.parametrize("words", [["list"], ["check"], ["plan", "paper/good"]])
def test_no_specs(
    words: list[str], experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    told = (
        f"error: there are no specs in {experiments.root / 'experiments'}: write PAPER/TABLE.yaml"
    )
    assert capsys.readouterr().err.startswith(told)


@pytest.mark.parametrize(
    ("aim", "why"),
    [("papers", "too many levels of symbolic links"), ("gone", "no such file or directory")],
)
def test_a_folder_that_cannot_be_read_is_told_and_hides_no_other(
    aim: str, why: str, experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/good", GOOD)
    folder = experiments.root / "experiments" / "papers"
    folder.symlink_to(aim)
    told = f"{folder} cannot be read: {why}"
    *good, bad = listed(capsys, code=1)[1:]
    assert " ".join(bad) == f"papers/ {told}"
    assert [line[0] for line in good] == ["paper/good", "paper/good"]
    assert main(["check"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "ok paper/good: 2 rows, 2 profiles, 8 runs\n"
    assert captured.err == f"error: {told}\n"
    assert main(["plan", "papers/table1"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {told}; unknown table 'papers/table1'")
    assert main(["claims", "--profile", "paper"]) == 1
    assert f"error: papers/ is left out: {told}\n" in capsys.readouterr().err
    with pytest.raises(HarnessError, match="cannot be read"):
        api.tables()


@pytest.mark.parametrize("name", [b"a\x1b[31m", b"a\nb", b"caf\xe9"])
def test_a_spec_without_a_proper_name_is_told_and_hides_no_other(
    name: bytes, experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/good", GOOD)
    path = experiments.root / "experiments" / "paper" / f"{os.fsdecode(name)}.yaml"
    path.write_text(GOOD)
    lines = listed(capsys, code=1)
    assert len(lines) == 4
    assert " ".join(lines[-1]).endswith("not printed, or no UTF-8: give it another one")
    assert "\n".join(" ".join(line) for line in lines).replace("\n", "").isprintable()


def test_what_editors_and_systems_hide_is_no_spec(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/good", GOOD)
    for name in (".yaml", "._good.yaml", ".ipynb_checkpoints/good-checkpoint.yaml"):
        experiments.table(f"paper/{name.removesuffix('.yaml')}", "binary: [")
    experiments.table(".ipynb_checkpoints/other", "binary: [")
    assert len(listed(capsys)) == 3
    assert main(["check"]) == 0


def test_links_to_nothing_that_editors_leave_are_no_folders(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/good", GOOD)
    root = experiments.root / "experiments"
    (root / ".#networks.yaml").symlink_to("me@machine.1")
    (root / "README.md").symlink_to("paper/good.yaml")
    assert len(listed(capsys)) == 3


def test_a_folder_of_shared_pieces_that_cannot_be_read_is_told_by_each_table(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/good", GOOD)
    folder = experiments.root / "experiments" / "recipes"
    folder.rename(experiments.root / "kept")
    folder.symlink_to("recipes")
    (bad,) = listed(capsys, code=1)[1:]
    assert " ".join(bad) == (
        f"paper/good {folder} cannot be read: too many levels of symbolic links"
    )
