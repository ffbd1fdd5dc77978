"""`harness data` and `harness doctor`, as a person calls them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from harness.cli import main
from harness.data import DATASETS, ready
from harness.data.config import DataConfig
from harness.data.verify import verify
from tests.conftest import TINY_VIT, Experiments
from tests.data.conftest import SmallFashion, write_images
from tests.data.test_pack import packed
from tests.spec.specs import GOOD, changed


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
    assert out.count("600 images of each") == 1  # the four sets that are cut from one copy


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


def verified(capsys: pytest.CaptureFixture[str], root: Path) -> list[str]:
    """What `data verify` remarks about a folder that is right otherwise."""
    code, out, err = call(capsys, "data", "verify", "folder", "--path", str(root), "--json")
    assert (code, err.count("\n") - 1) == (0, len(json.loads(out)["remarks"]))
    remarks: list[str] = json.loads(out)["remarks"]
    assert all(remark in err for remark in remarks)
    code, out, _ = call(capsys, "data", "verify", "folder", "--path", str(root))
    assert out.rstrip().endswith("right, but for what is said above" if remarks else "all right")
    return remarks


def test_verify_tells_what_was_left_out(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert verified(capsys, folder) == []
    (folder / "train/cat/000.png").rename(folder / "train/cat/000.jfif")  # an image by its name
    (folder / "train/cat/.DS_Store").touch()
    assert verified(capsys, folder) == []
    (folder / "train/cat/000.jfif").rename(folder / "train/cat/000")
    (folder / "train/cat/labels.csv").write_text("a,b")
    (folder / "train/cow").mkdir()
    (folder / "train/stray.png").write_bytes((folder / "train/cat/001.png").read_bytes())
    write_images(folder, {"test/cat": 2})
    assert verified(capsys, folder) == [
        "1 image has no suffix of images and is left out: train/cat/000",
        "1 file not named as an image is left out: train/cat/labels.csv",
        "1 image lies in no folder of a class and is left out: train/stray.png",
        "2 images in test/ are left out: val/ judges",
        "1 folder holds no image and is no class: train/cow",
    ]


@pytest.mark.parametrize("as_pack", [False, True])
def test_verify_tells_images_that_are_there_twice(folder: Path, as_pack: bool) -> None:
    for name in ("cat/000", "cat/002", "dog/001"):
        (folder / f"val/{name}.png").write_bytes((folder / f"train/{name}.png").read_bytes())
    (folder / "train/dog/011.png").write_bytes((folder / "train/cat/003.png").read_bytes())
    root = packed(folder) if as_pack else folder
    found = verify(DATASETS.get("folder"), path=root, everything=False, say=lambda _: None)
    assert list(found.remarks) == [
        f"3 of 6 validation images are training images too, the first: {root}/val/cat/000.png is "
        f"{root}/train/cat/000.png",
        f"1 image is in another class too: {root}/train/dog/011.png is {root}/train/cat/003.png",
    ]


def test_verify_tells_the_number_of_classes(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    _, out, _ = call(capsys, "data", "verify", "folder", "--path", str(folder))
    assert "24 + 6 images of 2 classes, 30 images read: all right" in out
    write_images(tmp_path / "plain", {"train/all": 2})
    assert verified(capsys, tmp_path / "plain") == [
        "no images judge, there is no val/ or test/: use `evaluate_on: holdout`",
        "all images are of one class, 'all': no label can be wrong",
    ]


def test_verify_tells_what_a_person_may_not_expect(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_images(tmp_path / "set", {f"train/{number}": 1 for number in range(1, 12)})
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = tmp_path / "set/train/1/turned.jpg"
    Image.new("RGB", (8, 9)).save(turned, exif=exif)
    assert verified(capsys, tmp_path / "set") == [
        "no images judge, there is no val/ or test/: use `evaluate_on: holdout`",
        "classes count in order of their names as texts (1, 10, 11, 2, ...): a classifier trained "
        "elsewhere may count numbered classes in another order",
        f"1 image with an EXIF orientation, which is not applied: {turned}",
    ]


def test_a_broken_copy_hides_no_other_set(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_images(home / "mini-imagenet", {"n01532829": 1})
    (home / "mini-imagenet/n01532829/x.png").symlink_to("/nowhere")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    broken = f"{home}/mini-imagenet/n01532829/x.png: a link to /nowhere, which cannot be opened"
    code, out, err = call(capsys, "data", "list")
    assert (code, err) == (1, "")
    assert out.count("here: broken: ") == 4  # the set and its parts
    assert broken in out
    assert "imagenet-1k: ImageNet-1k" in out
    code, out, err = call(capsys, "doctor")
    assert (code, err) == (1, "")
    assert "weights" in out


def test_a_broken_folder_takes_its_own_table_down_and_no_other(
    capsys: pytest.CaptureFixture[str], experiments: Experiments
) -> None:
    for name in ("good", "bad"):
        write_images(
            experiments.root / name, {"train/a": 35, "train/b": 35, "val/a": 1, "val/b": 1}
        )
        experiments.table(
            f"pets/{name}",
            f"""
            paper: {{title: A table}}
            columns:
              acc: {{from: train, metric: val/top1}}
            base:
              recipe: {{from: light}}
              data: {{name: folder, path: {name}}}
              student: {{{TINY_VIT}, channels: 3}}
              method: supervised
            rows:
              - id: only
            profiles:
              fashion-mnist: {{description: small}}
            """,
        )
    broken = experiments.root / "bad/train/a/zzz.png"
    broken.symlink_to("/nowhere")
    told = {
        "check": f"{broken}: a link to /nowhere, which cannot be opened",
        "claims": "pets/bad is left out: 1 problem: run `harness check pets/bad`",
    }
    for command, words in told.items():
        code, out, err = call(capsys, command)
        assert code == 1, command
        assert "pets/good" in out
        assert err.count(words) == 1
        assert len(err.splitlines()) == 1
    code, out, err = call(capsys, "list")
    assert (err, "pets/good  fashion-mnist" in out) == ("", True)
    assert "1 problem: run `harness check pets/bad`" in out


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


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("imagenet-1k", "imagenet-1k"),
        ("imagenet-r", "imagenet-r"),
        ("mini-imagenet", "mini-imagenet.zip"),
        ("cifar10", "cifar10/cifar-10-batches-py"),
        ("cifar100", "cifar100/train"),
        ("cifar100", "cifar100.zip"),
        ("fsdd", "fsdd"),
        ("coco-detection", "coco/annotations/instances_val2017.json"),
        ("voc-detection", "voc/VOC2012"),
    ],
)
def test_a_copy_that_cannot_be_read_hides_no_other_set(
    home: Path, capsys: pytest.CaptureFixture[str], name: str, place: str
) -> None:
    refused = home / place
    refused.parent.mkdir(exist_ok=True, parents=True)
    refused.symlink_to(refused.name)  # as a folder without permission, for root too
    why = f"{refused}: cannot be read: too many levels of symbolic links"
    code, out, err = call(capsys, "data", "list")
    assert (code, err) == (1, "")
    assert out.count(f"here: broken: {why}") >= 1
    assert "fashion-mnist: " in out
    assert ready(DataConfig(name=name)) == f"data set {name}: {why}"
    code, out, err = call(capsys, "doctor")
    assert (code, err) == (1, "")
    assert "too many levels of symbolic links" in " ".join(out.split())
    assert " ".join(out.split()).count("data fashion-mnist") == 1


def test_a_cache_that_cannot_be_looked_at_is_none(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As for who loads a set, which then is got again."""
    base = "/" + "/".join(["x" * 200] * 20) + "/"
    monkeypatch.setenv("HARNESS_CACHE", base + "y" * (4090 - len(base)))  # all below is too long
    code, out, err = call(capsys, "data", "list", "--json")
    assert (code, err) == (0, "")
    assert all(fact["missing"] for fact in json.loads(out) if fact["name"] != "folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_doctor_does_not_ask_for_room_where_it_may_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    monkeypatch.setenv("HARNESS_RESULTS", str(tmp_path / "locked"))
    _, out, _ = call(capsys, "doctor", "--json")
    (finding,) = [one for one in json.loads(out) if one["what"] == "results"]
    assert finding["found"] == f"{tmp_path / 'locked'}: cannot be written"
    assert finding["do"].startswith("set HARNESS_RESULTS to a directory")


def test_a_table_of_data_that_cannot_be_read_hides_no_other(
    home: Path, experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    """The version is in the identity, so such a table cannot be expanded."""
    refused = home / "cifar10" / "cifar-10-batches-py"
    refused.parent.mkdir()
    refused.symlink_to(refused.name)
    experiments.table("paper/bad", changed("fashion-mnist", "cifar10"))
    experiments.table("paper/good", GOOD)
    code, out, err = call(capsys, "list")
    assert (code, err) == (1, "")
    assert "paper/good  tiny" in out
    assert main(["check", "paper/bad"]) == 1
    assert f"name: {refused}: cannot be read: too many levels" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["verify", "folder", "--path"], ["pack", "folder", "--to"]])
def test_an_empty_path_is_not_the_current_folder(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["data", *words, ""])
    assert stop.value.code == 1
    assert "the path is empty" in capsys.readouterr().err
