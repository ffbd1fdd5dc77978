"""`harness check`."""

from __future__ import annotations

import pytest

from harness.cli import main
from tests.conftest import Experiments
from tests.data.conftest import write_images
from tests.spec.specs import GOOD, changed


def test_right_specs(experiments: Experiments, capsys: pytest.CaptureFixture[str]) -> None:
    experiments.table("paper/good", GOOD)
    assert main(["check"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "ok paper/good: 2 rows, 2 profiles, 8 runs\n"
    assert captured.err == ""


def test_a_wrong_one_does_not_hide_the_others(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/bad", changed("{keep: 8}", "{keep: 0}"))
    experiments.table("paper/good", GOOD)
    experiments.table("paper/worse", "a: [")
    assert main(["check"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "ok paper/good: 2 rows, 2 profiles, 8 runs\n"
    lines = captured.err.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "experiments/paper/bad.yaml:18:49",
        "experiments/paper/worse.yaml:2:1",
    ]


def test_one_spec_by_name_or_path(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/bad", "a: [")
    experiments.table("paper/good", GOOD)
    assert main(["check", "paper/good", "experiments/paper/good.yaml"]) == 0
    assert main(["check", "paper/gold"]) == 1
    assert "unknown table 'paper/gold'; did you mean 'paper/good'?" in capsys.readouterr().err


def test_no_specs(experiments: Experiments, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 1
    assert capsys.readouterr().err.startswith("error: there are no specs in ")


def test_own_images_that_a_shared_profile_replaces_are_told(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(
        experiments.root / "mine",
        {f"{half}/{name}": 40 for half in ("train", "val") for name in "ab"},
    )
    shared = experiments.root / "experiments/profiles/small.yaml"
    shared.parent.mkdir()
    shared.write_text("description: small\nbase: {data: {name: fashion-mnist}}\n")
    mine = "{name: folder, path: mine}"
    text = changed("{name: fashion-mnist}", mine).partition("profiles:")[0]
    text += "profiles:\n  paper: {}\n  small: {from: small}\n"
    # chosen beside the table's own: nothing to tell
    text += f"  kept: {{from: small, base: {{data: {mine}}}}}\n"
    text += "  chosen: {from: small, base: {data: fashion-mnist}}\n"
    experiments.table("paper/own", text)
    note = (
        "note: experiments/paper/own.yaml:8:30: `path: mine` is replaced by fashion-mnist "
        "(experiments/profiles/small.yaml:2:21) at profile small; to keep these images, repeat "
        "`base: {data: ...}` in the table's profile"
    )
    assert main(["check"]) == 0
    assert capsys.readouterr().err.splitlines() == [note]
    for profile, told in (("small", [note]), ("kept", []), ("chosen", [])):
        assert main(["plan", "paper/own", "--profile", profile, "--jobs", "1"]) == 0
        assert capsys.readouterr().err.splitlines() == told


SHARED = {
    "networks.yaml": ("mine: {from: mine}\nmore: {arch: vit, ¦dept: 3}\n", "did you mean 'depth'?"),
    "recipes/mine.yaml": ("¦epoch: 3\n", "did you mean 'epochs'?"),
    "recipes/none.yaml": ("¦", "is empty"),
    "profiles/mine.yaml": ("seeds: [0]\n¦rosw: [a]\n", "did you mean 'rows'?"),
    "profiles/base.yaml": ("base: {recipe: ¦lite}\n", "did you mean 'light'?"),
    "profiles/also.yaml": ("also: [{id: a, set: {recipe: {¦epoch: 3}}}]\n", "'epochs'?"),
    "profiles/self.yaml": ("from: ¦self\n", "'self' is made from itself: self -> self"),
}


@pytest.mark.parametrize("file", SHARED)
def test_what_specs_share_is_checked_before_one_uses_it(
    file: str, experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/good", GOOD)
    text, words = SHARED[file]
    experiments.table(file.removesuffix(".yaml"), text.replace("¦", ""))
    before = text.partition("¦")[0]
    place = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    assert main(["check", "paper/good"]) == 0
    assert main(["check"]) == 1
    problems = capsys.readouterr().err.splitlines()
    (problem,) = [line for line in problems if line.startswith(f"experiments/{file}:{place}: ")]
    assert words in problem


def test_what_a_spec_has_told_is_not_told_again(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/good", GOOD)
    experiments.recipe("light", "epochs: 1\nbatch_size: 64\nlr: fast\n")
    assert main(["check"]) == 1
    assert capsys.readouterr().err.count("recipes/light.yaml:3:5: lr: must be a number") == 1
