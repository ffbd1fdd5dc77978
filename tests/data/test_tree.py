"""Image folders and zips of them."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from harness.data import fingerprint, open_dataset, ready, train_images
from harness.data.config import DataConfig
from harness.data.dataset import Files
from harness.data.tree import Zip, open_tree
from harness.errors import DataError
from tests.data.conftest import write_images


def config(path: Path) -> DataConfig:
    return DataConfig(name="folder", path=str(path))


@pytest.mark.parametrize("prefix", ["", "pets/"])
def test_a_zip_is_read_in_place_as_the_directory_is(
    folder: Path, zipped: Callable[..., Path], prefix: str
) -> None:
    packed = zipped(folder, prefix)
    before = _all_but_cache(packed.parent)
    assert fingerprint(config(packed)) == fingerprint(config(folder))
    assert train_images(config(packed)) == 24
    sides = [open_dataset(config(path)).load().train for path in (folder, packed)]
    for index in (0, 13, 23):
        images = []
        for split in sides:
            assert isinstance(split, Files)
            images.append(np.asarray(split.image(index)))
        assert np.array_equal(*images)
    assert _all_but_cache(packed.parent) == before  # nothing is unpacked


def _all_but_cache(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if root / "cache" not in (path, *path.parents))


def test_facts_of_a_folder_are_counted(folder: Path) -> None:
    known = open_dataset(config(folder))
    assert (known.classes, known.train_images, known.val_images) == (2, 24, 6)
    assert known.class_counts() == (12, 12)
    assert ready(config(folder)) is None
    splits = known.load()
    assert splits.train.labels.tolist() == [0] * 12 + [1] * 12
    assert splits.val.labels.tolist() == [0] * 3 + [1] * 3


def test_a_zip_can_travel_to_a_worker(folder: Path, zipped: Callable[..., Path]) -> None:
    tree = Zip(zipped(folder))
    name = tree.names()[0]
    content = tree.read(name)
    assert pickle.loads(pickle.dumps(tree)).read(name) == content


def test_grey_images_are_read_as_colour_and_the_reverse(folder: Path) -> None:
    tree = open_tree(folder)
    name = tree.names()[0]
    assert tree.image(name, channels=3).mode == "RGB"
    assert tree.image(name, channels=1).mode == "L"


@pytest.mark.parametrize(
    ("counts", "what"),
    [
        (
            {"a": 2, "b": 2},
            r"no images in train/<class>/; .* found folders of images .*: a, b; put them in",
        ),
        ({"": 3}, r"found images that are in no folder of a class; sort them"),
        ({"training/a": 2}, r"no images in train/<class>/; .* found training"),
        ({"train/a": 2, "valid/a": 2}, r"unknown split folder 'valid'; .*: rename it to 'val'"),
        ({"train/a": 2, "val/a": 2, "eval/a": 1}, r"unknown split folder 'eval'.* move it elsewh"),
        ({"Train/a": 2}, r"found Train; rename 'Train' to 'train'"),
        ({"train/a": 2, "val": 3}, r"\(3 images lie in no folder of a class\); add them, or use"),
        (
            {"train/a": 2, "train/b": 2, "val/images": 3},
            r"only: a, b, images; the validation images are not sorted .* `evaluate_on: holdout`",
        ),
        (
            {"train/caf\u00e9": 2, "val/cafe\u0301": 2},
            r"look alike are written with other Unicode characters",
        ),
        (
            {"train/train/a": 2, "train/train/b": 2, "val/val/a": 1, "val/val/b": 1},
            r"train/train/ holds folders of images \(a, b\), which .*; move them up, to train/",
        ),
        ({"train/train/a": 2, "train/val/a": 1}, r"train/train/ holds folders of images \(a\)"),
        ({"train/a": 2, "train/b": 2, "val/val/a": 1}, r"val/val/ holds .* move them up, to val/"),
        ({"train/a": 2, "train/train/a": 2, "val/a": 1}, r"train/train/ holds folders of images"),
        ({"train/a": 2}, r"no images in val/<class>/ or test/<class>/; add them, or use"),
        ({"train/a": 2, "train/b": 2, "val/a": 1}, r"train holds 2 classes and val 1; .* only: b"),
    ],
)
def test_another_layout_is_an_error(tmp_path: Path, counts: dict[str, int], what: str) -> None:
    write_images(tmp_path / "set", counts)
    with pytest.raises(DataError, match=what) as error:
        open_dataset(config(tmp_path / "set")).load()
    assert str(tmp_path / "set") in str(error.value)


def test_a_class_may_be_called_train_and_have_folders(tmp_path: Path) -> None:
    write_images(
        tmp_path / "set", {f"{s}/{c}": 1 for s in ("train", "val") for c in ("car", "train")}
    )
    write_images(tmp_path / "set", {"train/train/steam": 2})
    known = open_dataset(config(tmp_path / "set"))
    assert (known.classes, known.class_counts()) == (2, (1, 3))


def test_a_class_whose_files_are_no_images_is_told(tmp_path: Path) -> None:
    write_images(tmp_path / "set", {"train/a": 2, "val/a": 1, "val/b": 1})
    (tmp_path / "set" / "train" / "b").mkdir()
    (tmp_path / "set" / "train" / "b" / "1.avif").touch()
    with pytest.raises(DataError, match=r"only: b; train/b holds no images but .* train/b/1\.avif"):
        open_dataset(config(tmp_path / "set")).load()


def test_a_set_without_validation_images_can_be_held_out(tmp_path: Path) -> None:
    write_images(tmp_path / "set", {"train/a": 10, "train/b": 20})
    data = DataConfig(name="folder", path=str(tmp_path / "set"), evaluate_on="holdout")
    assert train_images(data) == 27


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    missing = config(tmp_path / "nowhere")
    lack = ready(missing)
    assert lack is not None
    assert "data set folder is not on this machine" in lack
    with pytest.raises(DataError, match="nowhere: no such directory, zip or pack"):
        fingerprint(missing)


def test_a_folder_needs_a_path() -> None:
    lack = ready(DataConfig(name="folder"))
    assert lack is not None
    assert "data.path is missing" in lack


def test_a_truncated_zip(folder: Path, zipped: Callable[..., Path]) -> None:
    packed = zipped(folder)
    packed.write_bytes(packed.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"truncated or not a zip .*; get it again"):
        open_dataset(config(packed)).load()


def test_a_damaged_image_inside_a_zip(folder: Path, zipped: Callable[..., Path]) -> None:
    packed = zipped(folder)
    content = bytearray(packed.read_bytes())
    at = content.index(b"train/cat/000.png") + 200  # in the first image's data
    content[at : at + 50] = bytes(50)
    packed.write_bytes(content)
    split = open_dataset(config(packed)).load().train
    assert isinstance(split, Files)
    with pytest.raises(DataError, match=r"train/cat/000.png: cannot be read as an image"):
        split.image(0)


def pack(path: Path, entries: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def contents(root: Path) -> dict[str, bytes]:
    """The files of a folder by their names in it."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("change", "more"),
    [
        (lambda name: f"./{name}", {}),
        (lambda name: f"/{name}", {}),
        (lambda name: f"a/b c/{name}", {}),
        (lambda name: name.replace("/", "\\"), {}),
        (lambda name: f"my\\{name}".replace("/", "\\"), {}),
        (lambda name: f"pets/{name}", {"pets/preview.png": b"", "top.png": b""}),
        (
            lambda name: f"pets/{name}",
            {
                "__MACOSX/pets/train/cat/._000.png": b"",
                "pets/__MACOSX/train/cat/000.png": b"",
                "pets/train/.ipynb_checkpoints/000.png": b"",
                "pets/train/cat/.hidden/000.png": b"",
                "pets/.DS_Store": b"",
            },
        ),
    ],
)
def test_a_zip_is_its_directory_however_its_names_are_written(
    folder: Path, tmp_path: Path, change: Callable[[str], str], more: dict[str, bytes]
) -> None:
    there = contents(folder)
    packed = pack(tmp_path / "p.zip", {change(name): there[name] for name in there} | more)
    known = open_dataset(config(packed))
    assert (known.classes, known.class_counts(), known.val_images) == (2, (12, 12), 6)
    train, own = known.load().train, open_dataset(config(folder)).load().train
    assert isinstance(train, Files)
    assert isinstance(own, Files)
    assert train.image(0).tobytes() == own.image(0).tobytes()
    if "pets/preview.png" not in more:  # one more image is another version
        assert fingerprint(config(packed)) == fingerprint(config(folder))


def test_folders_around_and_hidden_ones_are_the_same_in_a_directory(folder: Path) -> None:
    before = fingerprint(config(folder))
    (folder.parent / "around/more").mkdir(parents=True)
    folder = folder.rename(folder.parent / "around/more/pets")
    for hidden in ("train/.ipynb_checkpoints", "train/cat/.thumbs", "__MACOSX/train/cat"):
        write_images(folder, {hidden: 1})
    assert fingerprint(config(folder.parents[1])) == before
    assert train_images(config(folder.parents[1])) == 24


def test_folders_inside_classes_need_no_folder_around(tmp_path: Path) -> None:
    """train/<class>/images/*, as Tiny ImageNet has it."""
    write_images(tmp_path / "tiny", {f"train/{name}/images": 10 for name in ("a", "b")})
    packed = pack(tmp_path / "tiny.zip", contents(tmp_path / "tiny"))
    for path in (tmp_path / "tiny", packed):
        data = DataConfig(name="folder", path=str(path), evaluate_on="holdout")
        assert train_images(data) == 18
        with pytest.raises(DataError, match="use `evaluate_on: holdout`"):
            train_images(config(path))


def _methods(packed: Path, method: int, *, flag: int = 0, size: int | None = None) -> None:
    """Give the first entry another method, flag and size in the zip's directory."""
    content = bytearray(packed.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 8] |= flag
    content[entry + 10 : entry + 12] = method.to_bytes(2, "little")
    if size is not None:
        content[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    packed.write_bytes(content)


@pytest.mark.parametrize(
    ("method", "flag", "size", "what"),
    [
        (9, 0, None, "is packed by Deflate64, which cannot be read here; pack the zip again"),
        (77, 0, None, "is packed by method 77, which cannot be read here"),
        (0, 1, None, "is encrypted; pack the zip without a password"),
        (0, 0, 2**32 - 2, "larger than 256 MiB, the most that an image may have"),
    ],
)
def test_entries_that_cannot_be_read_are_told_before_anything_is_read(
    folder: Path, tmp_path: Path, method: int, flag: int, size: int | None, what: str
) -> None:
    packed = pack(tmp_path / "odd.zip", contents(folder))
    _methods(packed, method, flag=flag, size=size)
    with pytest.raises(DataError, match=rf"odd.zip/train/cat/000.png: {what}"):
        train_images(config(packed))


def test_a_size_that_lies_is_noticed(folder: Path, tmp_path: Path) -> None:
    for size in (100, 100_000):
        packed = pack(tmp_path / f"{size}.zip", contents(folder), method=zipfile.ZIP_DEFLATED)
        _methods(packed, zipfile.ZIP_DEFLATED, size=size)
        with pytest.raises(DataError, match=r"train/cat/000.png: cannot be read as an image"):
            open_tree(packed).read("train/cat/000.png")


def test_names_in_a_zip_that_lead_out_or_come_twice(folder: Path, tmp_path: Path) -> None:
    there = contents(folder)
    out = pack(tmp_path / "out.zip", {**there, "train/../../x.png": b""})
    with pytest.raises(DataError, match=r"holds 'train/../../x.png', a name that leads out"):
        train_images(config(out))
    twice = pack(tmp_path / "twice.zip", {**there, "./train/cat/000.png": b""})
    with pytest.raises(DataError, match=r"holds 'train/cat/000.png' twice; pack it again"):
        train_images(config(twice))


def test_what_is_no_image_may_come_twice(folder: Path, zipped: Callable[..., Path]) -> None:
    """`data verify` looks into such files, and nobody else does."""
    path = zipped(folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("README", "one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("README", "another")
    dataset = open_dataset(DataConfig(name="folder", path=str(path)))
    (line,) = dataset.left_out(path)
    assert "README" in line
    with pytest.raises(DataError, match="holds 'README' twice; pack it again"):
        open_tree(path).read("README")


def test_a_link_to_nothing_is_told(folder: Path) -> None:
    (folder / "train/cat/999.png").symlink_to("/nowhere/at/all.png")
    with pytest.raises(
        DataError, match=r"cat/999.png: a link to /nowhere/at/all.png, which cannot"
    ):
        fingerprint(config(folder))
    (folder / "train/cat/999.png").unlink()
    (folder / "train/cow").symlink_to("/nowhere")
    with pytest.raises(DataError, match=r"train/cow: a link to /nowhere, which cannot be opened"):
        train_images(config(folder))


def test_links_to_files_and_folders_are_followed_but_not_in_circles(folder: Path) -> None:
    (folder / "train/cat").rename(folder.parent / "cats")
    (folder / "train/cat").symlink_to(folder.parent / "cats")
    (folder / "train/cat/999.png").symlink_to(folder / "train/dog/000.png")
    assert train_images(config(folder)) == 25
    (folder / "train/dog/round").symlink_to(folder)
    with pytest.raises(DataError, match=r"dog/round: a link to a folder around it; remove it"):
        train_images(config(folder))


@pytest.mark.parametrize("aim", ["/dev/zero", None])
def test_only_regular_files_are_images(folder: Path, aim: str | None) -> None:
    odd = folder / "train/cat/zero.png"
    odd.symlink_to(aim) if aim else os.mkfifo(odd)
    with pytest.raises(DataError, match=r"cat/zero.png: no regular file \(a pipe, a device"):
        train_images(config(folder))
    with pytest.raises(DataError, match=r"cat/zero.png: no regular file"):
        open_tree(folder).image("train/cat/zero.png", channels=3)


def test_names_of_any_bytes(folder: Path) -> None:
    odd = os.fsencode(folder / "train/cat") + b"/caf\xe9\n.png"
    os.rename(folder / "train/cat/000.png", odd)
    split = open_dataset(config(folder)).load().train
    assert isinstance(split, Files)
    index = [split.path(at) for at in range(24)].index(rf"{folder}/train/cat/caf\xe9\n.png")
    assert split.image(index).size == (20, 16)
    with open(odd, "wb") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"caf\\xe9\\n.png: cannot be read as an image \(no known"):
        split.image(index)


def test_a_directory_that_cannot_be_an_image_tree(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, what in (
        ("pipe", "no directory, no zip and no pack"),
        ("x" * 300, "cannot be read: file"),
    ):
        with pytest.raises(DataError, match=what):
            open_tree(tmp_path / path)
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match=r"not a zip .* unpack archives of other kinds"):
        open_tree(tmp_path / "a.tar.gz")
