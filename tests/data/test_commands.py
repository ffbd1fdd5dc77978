"""`harness data` and `harness doctor`, as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.data import DATASETS
from tests.data.conftest import SmallFashion


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


def test_list_shows_origins_and_what_is_missing(
    capsys: pytest.CaptureFixture[str], small: SmallFashion
) -> None:
    code, out, _ = call(capsys, "data", "list", "--json")
    assert code == 0
    facts = {fact["name"]: fact for fact in json.loads(out)}
    assert list(facts) == DATASETS.names()
    assert facts["imagenet-1k"]["train_images"] == 1_281_167
    assert facts["fashion-mnist"]["licence"] == "MIT"
    assert facts["fashion-mnist"]["origins"][2] == "the authors' server"
    assert "HARNESS_DATA" in facts["imagenet-1k"]["missing"]
    code, out, _ = call(capsys, "data", "list")
    assert code == 0
    assert "1,281,167 + 50,000 images, 1,000 classes, any size, colour" in out


def test_get_says_what_it_tries_and_where_it_is_kept(
    capsys: pytest.CaptureFixture[str], small: SmallFashion
) -> None:
    code, out, err = call(capsys, "data", "get", "small-fashion")
    assert code == 0
    assert "60 + 20 images" in out
    assert str(small.cache_file) in out
    assert "trying $HARNESS_DATA" in err
    code, out, err = call(capsys, "data", "get", "small-fashion", "--json")
    assert json.loads(out)["version"] == small.version
    assert err == ""  # from the cache


def test_get_of_what_cannot_be_had_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "data", "get", "imagenet-1k")
    assert (code, out) == (1, "")
    assert "error: data set imagenet-1k: no origin works" in err
    code, _, err = call(capsys, "data", "get", "fashion-mnits")
    assert code == 1
    assert "did you mean 'fashion-mnist'?" in err


def test_verify_reads_past_the_cache(
    capsys: pytest.CaptureFixture[str], small: SmallFashion, home: Path
) -> None:
    small.load()
    code, out, _ = call(capsys, "data", "verify", "small-fashion")
    assert code == 0
    assert "80 images read: all right" in out
    path = home / "small-fashion" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:20])
    code, _, err = call(capsys, "data", "verify", "small-fashion")
    assert code == 1
    assert f"{path}: truncated" in err


def test_verify_decodes_the_images_of_a_folder(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    words = ("data", "verify", "folder", "--path", str(folder), "--json")
    code, out, _ = call(capsys, *words)
    assert code == 0
    assert json.loads(out)["decoded"] == 30
    (folder / "train/dog/005.png").write_bytes(b"no image")
    code, _, err = call(capsys, *words)
    assert code == 1
    assert "train/dog/005.png: cannot be read as an image (no known image format)" in err
    assert call(capsys, "data", "verify", "folder")[0] == 1


def test_doctor_says_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    code, out, _ = call(capsys, "doctor", "--json")
    assert code == 0
    found = {finding["what"]: finding for finding in json.loads(out)}
    assert found["torch"]["state"] == "ok"
    assert found["slurm"]["state"] == "optional"
    assert "slurm-client" in found["slurm"]["do"]
    assert found["data fashion-mnist"]["do"].endswith("as does `harness data get fashion-mnist`")
    assert found["weights"]["state"] == "optional"
    (tmp_path / "hub" / "models--timm--deit_small_patch16_224.fb_in1k").mkdir(parents=True)
    code, out, _ = call(capsys, "doctor")
    assert code == 0
    assert "deit_small_patch16_224.fb_in1k" in out
