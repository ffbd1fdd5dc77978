"""Checkpoints and metrics that cannot disagree, whatever is cut short or damaged."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.store import RunWriter, has_result, read_job, reserve_job
from harness.store.files import create_json, replacing
from tests.store.conftest import Own


def save(writer: RunWriter, text: str) -> None:
    """A checkpoint that holds `text`."""

    def write(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    writer.save_checkpoint(write)


def saved(path: Path | None) -> str:
    """The text that was saved."""
    assert path is not None
    return path.read_text(encoding="utf-8").splitlines()[0]


def steps(directory: Path) -> list[int]:
    """What `metrics.jsonl` holds."""
    lines = (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["step"] for line in lines]


def interrupted(directory: Path, own: Own) -> None:
    """A run that died two steps after its second checkpoint."""
    writer = own(directory)
    for step in range(1, 9):
        writer.metric({"step": step})
        if step in (3, 6):
            save(writer, f"at {step}")


def test_a_restored_run_has_the_metrics_of_its_checkpoint(tmp_path: Path, own: Own) -> None:
    interrupted(tmp_path, own)
    writer = own(tmp_path)
    path, why = writer.restore_checkpoint()
    assert saved(path) == "at 6"
    assert (steps(tmp_path), why) == ([1, 2, 3, 4, 5, 6], "")
    writer.metric({"step": 7})
    assert steps(tmp_path) == [1, 2, 3, 4, 5, 6, 7]


def test_dying_while_a_checkpoint_is_replaced_leaves_the_former_one(
    tmp_path: Path, own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tmp_path, own)
    writer = own(tmp_path)
    writer.restore_checkpoint()
    writer.metric({"step": 7})
    real = os.replace

    def dies(source: Path, target: Path) -> None:
        if Path(target).name == "checkpoint.pt":
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            save(writer, "at 7")
    for _ in range(2):  # also when the next one dies in the same way
        path, _ = own(tmp_path).restore_checkpoint()
        assert saved(path) == "at 6"
        assert steps(tmp_path) == [1, 2, 3, 4, 5, 6]


def cut(path: Path) -> None:
    """A file that lost its end."""
    path.write_bytes(path.read_bytes()[:-2])


def flip(path: Path) -> None:
    """A file of the same length with one other bit."""
    content = bytearray(path.read_bytes())
    content[1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_a_damaged_checkpoint_means_starting_over(
    tmp_path: Path, own: Own, damage: Callable[[Path], None]
) -> None:
    interrupted(tmp_path, own)
    damage(tmp_path / "checkpoint.pt")
    path, why = own(tmp_path).restore_checkpoint()
    assert path is None
    assert steps(tmp_path) == []
    assert ("damaged" in why) is not (damage is Path.unlink)
    assert (tmp_path / "checkpoint.damaged.pt").exists() is not (damage is Path.unlink)


def test_no_damaged_checkpoint_takes_the_place_of_another(tmp_path: Path, own: Own) -> None:
    for text in ("first", "second"):
        writer = own(tmp_path)
        assert writer.restore_checkpoint()[0] is None
        writer.metric({"step": 1})
        save(writer, text)
        cut(tmp_path / "checkpoint.pt")
    assert own(tmp_path).restore_checkpoint()[1].endswith("kept as checkpoint.damaged2.pt")
    assert saved(tmp_path / "checkpoint.damaged.pt") == "first"
    assert saved(tmp_path / "checkpoint.damaged2.pt") == "second"


def test_metrics_shorter_than_at_the_checkpoint_mean_starting_over(
    tmp_path: Path, own: Own
) -> None:
    interrupted(tmp_path, own)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n', encoding="utf-8")
    path, why = own(tmp_path).restore_checkpoint()
    assert (path, steps(tmp_path)) == (None, [])
    assert why.startswith("metrics.jsonl is shorter than it was at the checkpoint; the checkpoint")
    assert saved(tmp_path / "checkpoint.damaged.pt") == "at 6"


def test_a_run_that_ignores_its_checkpoint_makes_it_useless_for_the_next(
    tmp_path: Path, own: Own
) -> None:
    interrupted(tmp_path, own)
    writer = own(tmp_path)
    for step in range(100):  # longer than at the checkpoint, but another story
        writer.metric({"step": -step})
    assert own(tmp_path).restore_checkpoint()[0] is None


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=st.lists(st.sampled_from(["step", "save", "die"]), max_size=25))
def test_however_often_a_run_dies_its_metrics_are_those_of_an_undisturbed_one(
    tmp_path_factory: pytest.TempPathFactory, own: Own, story: list[str]
) -> None:
    directory = tmp_path_factory.mktemp("run")
    step, writer = 0, own(directory)
    writer.restore_checkpoint()
    for event in story:
        if event == "step":
            step += 1
            writer.metric({"step": step})
        elif event == "save":
            save(writer, str(step))
        else:
            writer.close()
            writer = own(directory)
            path, _ = writer.restore_checkpoint()
            step = 0 if path is None else int(saved(path))
        assert steps(directory) == list(range(1, step + 1))
    writer.close()


def test_finishing_writes_the_result_once_and_tidies_up(tmp_path: Path, own: Own) -> None:
    interrupted(tmp_path, own)
    writer = own(tmp_path)
    writer.restore_checkpoint()
    writer.finish({"val/top1": 81.5}, device="cpu")
    assert json.loads((tmp_path / "result.json").read_text())["metrics"] == {"val/top1": 81.5}
    own(tmp_path).finish({"val/top1": 12.0}, device="cpu")
    assert json.loads((tmp_path / "result.json").read_text())["metrics"] == {"val/top1": 81.5}
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"attempts", "result.json", "state.json"}


def test_a_damaged_result_is_replaced(tmp_path: Path, own: Own) -> None:
    (tmp_path / "result.json").write_text('{"metrics": {"val', encoding="utf-8")
    assert not has_result(tmp_path)
    own(tmp_path).finish({"val/top1": 81.5}, device="cpu")
    assert has_result(tmp_path)


def test_an_artifact_that_fails_leaves_nothing(tmp_path: Path, own: Own) -> None:
    def write(path: Path) -> None:
        path.write_text("half", encoding="utf-8")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        own(tmp_path).save_artifact("model.safetensors", write)
    assert [path.name for path in tmp_path.iterdir()] == ["attempts"]


def test_a_file_is_created_by_the_first_only(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert create_json(path, {"by": 1})
    assert not create_json(path, {"by": 2})
    assert json.loads(path.read_text(encoding="utf-8")) == {"by": 1}
    assert os.listdir(tmp_path) == ["result.json"]


def test_a_replaced_file_is_old_or_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old", encoding="utf-8")

    def dies_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne", encoding="utf-8")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        dies_half_way()
    assert (path.read_text(encoding="utf-8"), os.listdir(tmp_path)) == ("old", ["file"])


def test_what_a_library_writes_for_its_user_alone_is_readable_like_the_rest(
    tmp_path: Path, own: Own
) -> None:
    def write(path: Path) -> None:
        path.touch(mode=0o600)

    tmp_path.chmod(0o755)
    own(tmp_path).save_artifact("model.safetensors", write)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_checkpoint_of_an_older_version_is_read(tmp_path: Path, own: Own) -> None:
    """Its length was in `checkpoint.json`, by the checksum of the file."""
    interrupted(tmp_path, own)
    (tmp_path / "checkpoint.pt").write_text("old", encoding="utf-8")
    checksum = hashlib.sha256(b"old").hexdigest()
    notes = {checksum: {"metrics_bytes": len('{"step": 1}\n') * 2, "saved": ""}}
    (tmp_path / "checkpoint.json").write_text(json.dumps(notes), encoding="utf-8")
    writer = own(tmp_path)
    path, why = writer.restore_checkpoint()
    assert (saved(path), why, steps(tmp_path)) == ("old", "", [1, 2])
    save(writer, "new")
    assert not (tmp_path / "checkpoint.json").exists()


def test_what_a_killed_writer_left_is_removed_by_the_next_owner(tmp_path: Path, own: Own) -> None:
    interrupted(tmp_path, own)
    left = [f".checkpoint.pt.{'a' * 32}", f".state.json.{'b' * 32}"]
    for name in left:
        (tmp_path / name).touch()
    (tmp_path / "attempts" / f".0009.json.{'c' * 32}").touch()
    own(tmp_path)
    names = [path.name for path in tmp_path.rglob("*")]
    assert [name for name in names if name.startswith(".")] == []


def test_a_job_noted_by_an_older_version_is_still_responsible(tmp_path: Path) -> None:
    assert reserve_job(tmp_path, submission="s", index=0, folder=tmp_path)
    note = json.loads((tmp_path / "job.json").read_text())
    for former, name in (
        ("counted", "attempts_counted"),
        ("reached", "best_step"),
        ("barren", "attempts_without_progress"),
    ):
        note[former] = note.pop(name) + 3
    (tmp_path / "job.json").write_text(json.dumps(note))
    read = read_job(tmp_path)
    assert read is not None
    assert (read.attempts_counted, read.best_step, read.attempts_without_progress) == (3, 3, 3)
    (tmp_path / "job.json").write_text(json.dumps({**note, "barren": "many"}))
    assert read_job(tmp_path) is None
