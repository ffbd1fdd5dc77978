"""Packs: the same images, draws and identity in one file; smaller images are another version."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from harness.cli import main
from harness.data import DATASETS, fingerprint, open_dataset, packing, ready
from harness.data.config import DataConfig
from harness.data.dataset import Files
from harness.data.pack import RECORD, Pack
from harness.data.packing import pack_set, write_pack
from harness.data.packs import pack_path
from harness.data.sets.imagenet import ImageNet, OwnImages
from harness.data.sets.inaturalist import INaturalist
from harness.data.telling import Telling
from harness.data.tree import Directory, open_tree
from harness.errors import DataError
from harness.spec.identity import identity_form
from harness.train.config import Augment
from tests.data.conftest import opened, write_images
from tests.data.test_sets import SmallImageNet, SmallMini

RIGHT = {"train/n01": 3, "train/n02": 2, "val/n01": 2, "val/n02": 2}


def packed(folder: Path, *, size: int | None = None, name: str = "pets.pack") -> Path:
    path = folder.parent / name
    write_pack(Directory(folder), path, shorter_side=size, channels=3, tell=Telling())
    return path


def of(path: Path, size: int | None = None) -> DataConfig:
    return DataConfig(name="folder", path=str(path), packed=size)


def train_of(data: DataConfig) -> Files:
    files = open_dataset(data).load().train
    assert isinstance(files, Files)
    return files


def pixels(data: DataConfig) -> list[NDArray[np.uint8]]:
    files = train_of(data)
    return [np.asarray(files.image(index)) for index in range(len(files.labels))]


@pytest.mark.parametrize("prefix", ["", "around/"])
def test_a_pack_is_the_folder_that_was_packed(folder: Path, tmp_path: Path, prefix: str) -> None:
    odd = folder / os.fsdecode(b"train/cat/\xff\xe9 \xc3\xa9.png")
    (folder / "train/cat/000.png").rename(odd)
    (folder / "train/dog/deep/er").mkdir(parents=True)
    (folder / "train/dog/000.png").rename(folder / "train/dog/deep/er/z.png")
    root = folder
    if prefix:
        root = tmp_path / "outer"
        root.mkdir()
        folder.rename(root / "around")
    path = packed(root)
    assert fingerprint(of(path)) == fingerprint(of(root))
    assert fingerprint(of(path)).startswith("files-")
    files, ours = train_of(of(root)), train_of(of(path))
    assert ours.names.tolist() == files.names.tolist()
    assert ours.labels.tolist() == files.labels.tolist()
    for index in range(len(files.labels)):
        assert ours.content(index) == files.content(index)
    forms = [
        identity_form(DataConfig(name="folder", version=fingerprint(of(p)))) for p in (path, root)
    ]
    assert forms[0] == forms[1]
    assert "packed" not in forms[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_training_draws_the_same_batches(folder: Path, workers: int) -> None:
    def batches(path: Path) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        augment = Augment(rand_augment="rand-m9-mstd0.5-inc1", erasing=0.25, mixup=0.8)
        module = opened(augment, of(path), size=16, batch=8, seed=3, workers=workers)
        train = module.train(1)
        yield from (next(train) for _ in range(3))
        yield from module.val(4)

    for (ours, labels), (images, targets) in zip(
        batches(packed(folder)), batches(folder), strict=True
    ):
        assert torch.equal(ours, images)
        assert torch.equal(labels, targets)


def _read(tree: Pack, names: list[str]) -> list[str]:
    return [hashlib.sha256(tree.read(name)).hexdigest() for name in names]


def test_processes_share_a_pack(folder: Path) -> None:
    tree = Pack(packed(folder))
    names = tree.names()
    expected = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]
    tasks = [(tree, names)] * 4  # pickled on their way
    with get_context("fork").Pool(2, initializer=tree.read, initargs=(names[0],)) as pool:
        for found in pool.starmap(_read, tasks, chunksize=1):
            assert found == expected
    assert pickle.loads(pickle.dumps(tree)).read(names[0]) == tree.read(names[0])


class TestSmaller:
    """Images with a smaller shorter side: other pixels, and another version."""

    def test_pixels_are_those_of_a_bicubic_resize_by_quality_95(self, tmp_path: Path) -> None:
        root = tmp_path / "set"
        write_images(root, {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1}, size=(60, 41))
        small = tmp_path / "set/train/a/small.png"
        Image.new("RGB", (90, 20), (250, 3, 120)).save(small)
        data = of(packed(root, size=20), 20)
        by_name = dict(zip(train_of(data).names.tolist(), pixels(data), strict=True))
        own = np.asarray(Image.open(small))
        assert np.array_equal(by_name[b"train/a/small.png"], own)  # not reduced: as it came
        with Image.open(root / "train/a/000.png") as image:
            image.resize((29, 20), Image.Resampling.BICUBIC).save(tmp_path / "one.jpg", quality=95)
        with Image.open(tmp_path / "one.jpg") as image:
            assert np.array_equal(by_name[b"train/a/000.png"], np.asarray(image))

    def test_it_is_part_of_the_identity_and_told(self, folder: Path) -> None:
        path = packed(folder, size=8)
        assert fingerprint(of(path, 8)) == f"{fingerprint(of(folder))}-8px"
        assert identity_form(of(path, 8))["packed"] == 8
        about = Pack(path).about["how"]
        assert "8 px" in about
        assert "quality 95" in about

    def test_a_spec_must_say_so(self, folder: Path) -> None:
        path = packed(folder, size=8)
        with pytest.raises(DataError, match=r"pack: holds images .* of 8 px.*say `packed: 8`"):
            open_dataset(of(path)).load()
        with pytest.raises(DataError, match=r"of 8 px, and the spec says `packed: 9`"):
            open_dataset(of(path, 9)).load()
        with pytest.raises(DataError, match=r"as they came, and `packed: 8` asks for"):
            open_dataset(of(packed(folder, name="whole.pack"), 8)).load()

    def test_smaller_images_are_packed_once(self, folder: Path) -> None:
        with pytest.raises(DataError, match="made smaller; pack the images as they came"):
            write_pack(
                open_tree(packed(folder, size=8)),
                folder.parent / "again.pack",
                shorter_side=4,
                channels=3,
                tell=Telling(),
            )

    def test_an_image_that_cannot_be_read_is_named(self, folder: Path) -> None:
        (folder / "train/dog/004.png").write_bytes(b"no image")
        with pytest.raises(DataError, match=r"train/dog/004.png: cannot be read as an image"):
            packed(folder, size=8)
        assert not (folder.parent / "pets.pack").exists()

    def test_a_set_in_memory_has_none(self) -> None:
        lack = ready(DataConfig(name="cifar10", packed=256))
        assert lack is not None
        assert "cifar10: `packed` is for sets of image files" in lack
        lack = ready(DataConfig(name="esc50", packed=256))
        assert lack is not None
        assert "esc50: `packed` is for sets of image files" in lack
        with pytest.raises(DataError, match="cifar10 lives in memory: it needs no pack"):
            _ = DATASETS.get("cifar10").pack_name


class TestCache:
    """A pack in the cache is found by the version of what it was made of."""

    def test_of_a_folder(self, folder: Path) -> None:
        known = DATASETS.get("folder")
        lack = ready(of(folder, 8))
        assert lack is not None
        assert f"`harness data pack folder --size 8 --path {folder}` makes one" in lack
        for size in (None, 8):
            made = pack_set(known, path=folder, shorter_side=size, to=None, tell=Telling())
            assert made.new
            assert made.path == pack_path("folder", fingerprint(of(folder)), size)
            assert train_of(of(folder, size)).tree.path == made.path
            assert fingerprint(of(folder, size)) == made.version
            again = pack_set(known, path=folder, shorter_side=size, to=None, tell=Telling())
            assert not again.new
        assert ready(of(folder, 8)) is None

    def test_a_changed_folder_is_read_itself(self, folder: Path) -> None:
        pack_set(DATASETS.get("folder"), path=folder, shorter_side=None, to=None, tell=Telling())
        before = fingerprint(of(folder))
        Image.new("RGB", (9, 9)).save(folder / "train/cat/000.png")
        assert train_of(of(folder)).tree.path == folder
        assert fingerprint(of(folder)) != before
        assert pixels(of(folder))[0].shape == (9, 9, 3)

    def test_of_a_named_set(self, home: Path) -> None:
        write_images(home / "imagenet-1k", RIGHT)
        known = SmallImageNet()
        smaller = known.packed_at(8)
        assert smaller.version == "ilsvrc2012-8px"
        assert "`harness data pack imagenet-1k --size 8` makes a pack" in str(smaller.missing())
        made = pack_set(known, path=None, shorter_side=8, to=None, tell=Telling())
        assert (made.version, made.images) == ("ilsvrc2012-8px", 9)
        assert smaller.missing() is None
        files = smaller.load().train
        assert isinstance(files, Files)
        assert files.image(0).size == (10, 8)
        # the set itself is what it was, and is found where the pack of it lies
        assert known.version == "ilsvrc2012"
        whole = pack_set(known, path=None, shorter_side=None, to=None, tell=Telling())
        (home / "imagenet-1k").rename(home / "elsewhere")
        files = known.load().train
        assert isinstance(files, Files)
        assert files.tree.path == whole.path
        assert files.image(0).size == (20, 16)

    def test_a_pack_can_be_the_users_copy(self, home: Path) -> None:
        write_images(home / "elsewhere", RIGHT)
        pack_set(
            SmallImageNet(),
            path=home / "elsewhere",
            shorter_side=8,
            to=home / "imagenet-1k-8px.pack",
            tell=Telling(),
        )
        smaller = SmallImageNet().packed_at(8)
        assert smaller.missing() is None
        assert smaller.class_counts() == (3, 2)
        assert SmallImageNet().missing() is not None
        (home / "imagenet-1k-8px.pack").rename(home / "imagenet-1k.pack")
        with pytest.raises(DataError, match="say `packed: 8`"):
            SmallImageNet().load()

    def test_mini_imagenet_by_its_fingerprint(self, home: Path) -> None:
        write_images(home / "mini-imagenet", dict.fromkeys(SmallMini.synsets, 6))
        known = SmallMini()
        made = pack_set(known, path=None, shorter_side=8, to=None, tell=Telling())
        assert made.version == f"{known.version}-8px" == known.packed_at(8).version
        files = known.packed_at(8).load().val
        assert isinstance(files, Files)
        assert files.image(0).size == (10, 8)
        made.path.rename(home / "mini-imagenet-8px.pack")  # the user's, and the copy is gone
        (home / "mini-imagenet").rename(home / "elsewhere")
        assert known.packed_at(8).version == made.version
        assert known.packed_at(8).missing() is None


def _other_image(place: Path) -> None:
    """Put an image of 9 x 9 pixels in the place of another, as most programs do."""
    new = place.with_name(".new")
    Image.new("RGB", (9, 9)).save(new, "PNG")
    new.replace(place)


class TestChangedCopy:
    """Of a set whose version is the publisher's, the times of folders tell that a pack is of other
    images than the copy.
    """

    @pytest.fixture
    def copy(self, home: Path) -> Path:
        write_images(home / "imagenet-1k", RIGHT)
        return home / "imagenet-1k"

    def _pack(self, size: int | None = None, to: Path | None = None) -> packing.Packed:
        return pack_set(SmallImageNet(), path=None, shorter_side=size, to=to, tell=Telling())

    def _first(self, size: int | None = None) -> tuple[Path, tuple[int, int]]:
        """Where images are read from, and the sides of the first one."""
        files = SmallImageNet().packed_at(size).load().train
        assert isinstance(files, Files)
        return files.tree.path, files.image(0).size

    def test_a_replaced_image_is_read(self, copy: Path) -> None:
        pack = self._pack().path
        assert self._first() == (pack, (20, 16))
        _other_image(copy / "train/n01/000.png")
        assert self._first() == (copy, (9, 9))
        again = self._pack()
        assert (again.new, again.path) == (True, pack)
        assert self._first() == (pack, (9, 9))
        assert not self._pack().new

    def test_smaller_images_are_packed_again(self, copy: Path) -> None:
        pack = self._pack(8).path
        assert self._first(8) == (pack, (10, 8))
        _other_image(copy / "train/n01/000.png")
        lack = str(SmallImageNet().packed_at(8).missing())
        assert f"{pack} was made before {copy}/train/n01 changed. `harness data pack" in lack
        with pytest.raises(DataError, match=f"was made before {copy}/train/n01 changed"):
            SmallImageNet().packed_at(8).load()
        assert self._pack(8).new
        assert self._first(8) == (pack, (8, 8))

    def test_another_copy(self, copy: Path, zipped: Callable[..., Path]) -> None:
        """A folder was packed; a zip of other images takes its place, and then another zip."""
        self._pack()
        archive = copy.with_suffix(".zip")
        for _ in range(2):
            write_images(copy, RIGHT, size=(9, 9))
            zipped(copy).rename(archive)
            copy.rename(copy.with_name("before"))
            assert self._first() == (archive, (9, 9))
            assert self._pack().new
            assert self._first() == (pack_path("imagenet-1k", "ilsvrc2012", None), (9, 9))
            copy.with_name("before").rename(copy)
            (copy / "train/n01/.hidden").touch()

    def test_a_copy_that_keeps_its_times_is_the_same(self, copy: Path) -> None:
        """As one on a node's own disk."""
        pack = self._pack().path
        shutil.copytree(copy, copy.with_name("new"))
        shutil.rmtree(copy)
        copy.with_name("new").rename(copy)
        assert self._first() == (pack, (20, 16))

    def test_an_image_that_was_written_over_is_packed_again(self, copy: Path) -> None:
        """No folder tells it, and a run looks at no file: the command does."""
        pack = self._pack().path
        Image.new("RGB", (9, 9)).save(copy / "train/n01/000.png")
        assert self._first() == (pack, (20, 16))
        assert self._pack().new
        assert self._first() == (pack, (9, 9))

    def test_a_pack_in_a_place_of_ones_own_is_not_replaced(self, copy: Path) -> None:
        place = copy.with_name("mine.pack")
        assert self._pack(to=place).new
        assert not self._pack(to=place).new
        _other_image(copy / "train/n01/000.png")
        with pytest.raises(DataError, match=r"mine\.pack: was made of other images than"):
            self._pack(to=place)

    def test_a_damaged_pack_is_told(self, copy: Path) -> None:
        pack = self._pack().path
        for content in (b"", pack.read_bytes()[:-1], pack.read_bytes() + b"x" * 80):
            pack.write_bytes(content)
            with pytest.raises(DataError, match=r"(not whole|no directory|not a zip)"):
                self._first()


class TestDamage:
    """One clear error, before a wrong pixel."""

    @pytest.mark.parametrize("left", [16, 20, 60, 2000, -60, -1])
    def test_cut_off(self, folder: Path, left: int) -> None:
        path = packed(folder)
        content = path.read_bytes()
        path.write_bytes(content[:left])
        with pytest.raises(DataError, match=r"pets.pack: the pack is not whole .*copy it again"):
            open_tree(path)

    def test_a_changed_index(self, folder: Path) -> None:
        path = packed(folder)
        content = bytearray(path.read_bytes())
        content[-120] ^= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"pets.pack: the pack's index is damaged: copy it"):
            open_tree(path)

    def test_a_changed_image(self, folder: Path) -> None:
        path = packed(folder)
        tree = Pack(path)
        first, second = tree.names()[:2]
        content = bytearray(path.read_bytes())
        content[48 + RECORD.size + 70] ^= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{first}: the pack is damaged here: copy it again"):
            Pack(path).image(first, channels=3)
        assert Pack(path).read(second) == (folder / second).read_bytes()

    def test_bytes_behind_the_end(self, folder: Path) -> None:
        path = packed(folder)
        path.write_bytes(path.read_bytes() + b"x")
        with pytest.raises(DataError, match="the pack is not whole"):
            open_tree(path)

    def test_cut_off_while_it_is_read(self, folder: Path) -> None:
        path = packed(folder)
        tree = Pack(path)
        first, *_, last = tree.names()
        os.truncate(path, 5000)  # the end of the images lies behind
        assert tree.read(first) == (folder / first).read_bytes()
        with pytest.raises(DataError, match="the pack is damaged here"):
            tree.read(last)

    def test_verify_reads_every_image(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = packed(folder)
        assert main(["data", "verify", "folder", "--path", str(path), "--all"]) == 0
        out, err = capsys.readouterr()
        assert "24 + 6 images of 2 classes, 30 images read: all right" in out
        assert "pets.pack: a pack: files as they came" in err
        content = bytearray(path.read_bytes())
        content[48 + RECORD.size + 70] ^= 1
        path.write_bytes(content)
        assert main(["data", "verify", "folder", "--path", str(path)]) == 1
        assert "the pack is damaged here" in capsys.readouterr().err


class Dying(Directory):
    """Kills its process at one image."""

    def read(self, name: str) -> bytes:
        if name.endswith("dog/008.png"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(name)


def _write(folder: Path) -> None:
    with patch.object(packing, "in_threads", map):  # nothing is read ahead
        path = folder.parent / "pets.pack"
        write_pack(Dying(folder), path, shorter_side=8, channels=3, tell=Telling())


class Counting(Directory):
    """Remembers what was read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.seen: list[str] = []

    def read(self, name: str) -> bytes:
        self.seen.append(name)
        return super().read(name)


class TestResumed:
    """A process that was killed has done its part."""

    @pytest.fixture
    def begun(self, folder: Path) -> Path:
        """The file of a process that was killed at train/dog/008.png."""
        writer = get_context("fork").Process(target=_write, args=(folder,))
        writer.start()
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        assert not (folder.parent / "pets.pack").exists()
        return folder.parent / ".pets.pack.partial"

    def _again(self, folder: Path) -> list[str]:
        """What is read anew; the pack is then what one writes at once."""
        tree = Counting(folder)
        path = folder.parent / "pets.pack"
        write_pack(tree, path, shorter_side=8, channels=3, tell=Telling())
        whole = packed(folder, size=8, name="whole.pack")
        assert path.read_bytes() == whole.read_bytes()
        assert not path.with_name(".pets.pack.partial").exists()
        return sorted(tree.seen)

    def test_goes_on_where_it_stopped(self, folder: Path, begun: Path) -> None:
        content = begun.read_bytes()
        seen = self._again(folder)
        assert len(content) > 48
        assert "train/cat/000.png" not in seen
        assert "train/dog/008.png" in seen
        assert len(seen) < 30

    @pytest.mark.parametrize("damage", [lambda c: c[:-3], lambda c: c[:-3] + b"\0\0\0"])
    def test_what_is_not_whole_is_done_again(
        self, folder: Path, begun: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        begun.write_bytes(damage(begun.read_bytes()))
        assert "train/cat/000.png" not in self._again(folder)

    def test_of_other_images_nothing_is_kept(self, folder: Path, begun: Path) -> None:
        Image.new("RGB", (9, 9)).save(folder / "val/dog/000.png")
        assert len(self._again(folder)) == 30

    def test_another_process_is_left_alone(self, folder: Path, begun: Path) -> None:
        code = (
            "import fcntl, sys; file = open(sys.argv[1], 'r+b'); "
            "fcntl.flock(file, fcntl.LOCK_EX); print('locked', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(begun)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"locked\n"
            with pytest.raises(DataError, match=r"pets.pack: another process is writing it"):
                packed(folder, size=8)
            other.communicate()
        self._again(folder)


def test_a_place_that_cannot_be_written(folder: Path) -> None:
    with pytest.raises(DataError, match=r"/proc/x/pets.pack: cannot be written .*--to"):
        write_pack(
            Directory(folder),
            Path("/proc/x/pets.pack"),
            shorter_side=None,
            channels=3,
            tell=Telling(),
        )


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "pack", "folder", "--path", str(folder), "--size", "8"]
    assert main(words) == 0
    out = capsys.readouterr().out
    version = f"{fingerprint(of(folder))}-8px"
    assert out.startswith(f"folder (version {version}): 30 images, 0.00 GB in ")
    assert out.endswith("; in a spec: `data: {name: folder, packed: 8}`\n")
    assert main(words) == 0
    assert "was there already: 30 images" in capsys.readouterr().out
    assert main(["data", "verify", "folder", "--path", str(folder), "--size", "8"]) == 0
    assert version in capsys.readouterr().out
    assert main(["data", "pack", "folder"]) == 1
    assert "needs --path" in capsys.readouterr().err
    assert main([*words[:-1], "0"]) == 1
    assert "--size must be at least 1 pixel, got 0" in capsys.readouterr().err


def test_an_empty_pack_file_and_odd_images_are_as_in_a_folder(folder: Path) -> None:
    (folder / "train/cat/001.png").write_bytes(b"")
    tree = Pack(packed(folder))
    assert tree.read("train/cat/001.png") == b""
    assert zlib.crc32(b"") == 0
    with pytest.raises(DataError, match=r"pets.pack/train/cat/001.png: .*the file is empty"):
        tree.image("train/cat/001.png", channels=3)
    with pytest.raises(DataError, match=r"nothing.png: is not in the pack"):
        tree.read("nothing.png")


OF_CLASSES = [
    name
    for name in DATASETS.names()
    if isinstance(one := DATASETS.get(name), OwnImages)
    and one.labelling == "classes"
    and not one.judges_only
]


@pytest.mark.parametrize("name", OF_CLASSES)
def test_smaller_images_are_another_version_of_any_set(home: Path, name: str) -> None:
    known = DATASETS.get(name)
    assert known.packed_at(8).version == f"{known.version}-8px"


def test_species_in_a_pack(home: Path) -> None:
    known = INaturalist(2018, classes=2, train=6, val=4)
    write_images(home / "inaturalist-2018" / "train", {"0001": 4, "0002": 2})
    write_images(home / "inaturalist-2018" / "val", {"0001": 2, "0002": 2})
    made = pack_set(known, path=None, shorter_side=8, to=None, tell=Telling())
    assert made.version == "inaturalist-2018-8px"
    files = known.packed_at(8).load().train
    assert isinstance(files, Files)
    assert min(files.image(0).size) == 8
    whole = packed(home / "inaturalist-2018", name="inaturalist-2018-4px.pack")
    with pytest.raises(DataError, match="images as they came, and `packed: 4` asks for"):
        known.packed_at(4).read(whole)


def test_real_imagenet_tells_its_version() -> None:
    assert ImageNet().version == "ilsvrc2012"
