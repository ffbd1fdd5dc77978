"""FSDD and ESC-50 from folders and zips of small clips; their folds; every error in a sentence."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from harness.data import DATASETS
from harness.data.config import DataConfig
from harness.data.content import names_version
from harness.data.dataset import Arrays, Source, Splits
from harness.data.filterbank import FilterBank
from harness.data.module import DataModule
from harness.data.sets import esc50, fsdd
from harness.data.sets.esc50 import Esc50, read_clips
from harness.data.sets.fsdd import Fsdd
from harness.data.spectrograms import sounds
from harness.errors import DataError, FieldError
from harness.train.config import Augment
from tests.data.conftest import arrays, opened

RATE = 8000
HEAD = "filename,fold,target,category,esc10,src_file,take"


def clip(seed: int, seconds: float = 0.1, rate: int = RATE) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate))
    soundfile.write(stream, noise, rate, format="WAV", subtype="FLOAT")
    return stream.getvalue()


def put(base: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def packed(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Two digits, two speakers, three takes of which one judges."""
    monkeypatch.setattr(fsdd, "DIGITS", range(2))
    monkeypatch.setattr(fsdd, "SPEAKERS", ("ann", "bob"))
    monkeypatch.setattr(fsdd, "TAKES", range(3))
    monkeypatch.setattr(fsdd, "JUDGING", 1)
    names = [
        f"{digit}_{who}_{take}.wav"
        for digit in (0, 1)
        for who in ("ann", "bob")
        for take in range(3)
    ]
    files = {f"recordings/{name}": clip(seed) for seed, name in enumerate(names)}
    files["README.md"] = b"no sound"
    return files


class SmallFsdd(Fsdd):
    name = "fsdd"
    train_images, val_images, classes, smallest_class = 8, 4, 2, 4
    bank = FilterBank(rate=RATE, bins=10, frames=9)

    @property
    def origins(self) -> tuple[Source, ...]:
        return super().origins[:1]


def small_fsdd(where: Path) -> SmallFsdd:
    """With the checksum of the recordings at `where`."""
    known = SmallFsdd()
    tree = sounds(where)
    names = sorted(name for name in tree.listing().others if name.endswith(".wav"))
    known.content = names_version(tree, names, names[0].rpartition("/")[0] + "/")
    return known


class TestFsdd:
    """Its split, its checksum, and where a copy may lie."""

    def test_takes_are_split_and_labels_are_digits(
        self, home: Path, digits: dict[str, bytes]
    ) -> None:
        put(home / "fsdd", digits)
        train, val = arrays(small_fsdd(home / "fsdd").load())
        assert train.images.shape == (8, 1, 10, 9)
        assert train.images.dtype == np.float32
        assert val.labels.tolist() == [0, 0, 1, 1]
        samples, _ = soundfile.read(io.BytesIO(digits["recordings/1_ann_0.wav"]), dtype="float32")
        wanted = FilterBank(rate=RATE, bins=10, frames=9)(samples, where="it")
        np.testing.assert_array_equal(val.images[2, 0], wanted)
        assert (val.images[2, 0, :, 8:] == 0).all()  # 0.1 s are eight windows

    def test_a_zip_with_a_folder_around_it_is_the_same(
        self, home: Path, digits: dict[str, bytes]
    ) -> None:
        put(home / "fsdd", digits)
        known = small_fsdd(home / "fsdd")
        packed(home / "a.zip", {f"free-master/{name}": c for name, c in digits.items()})
        found, _ = arrays(known.read(home / "a.zip"))
        np.testing.assert_array_equal(found.images, arrays(known.load())[0].images)

    def test_the_second_opening_is_from_the_cache(
        self, home: Path, digits: dict[str, bytes]
    ) -> None:
        put(home / "fsdd", digits)
        known = small_fsdd(home / "fsdd")
        before, _ = arrays(known.load())
        (home / "fsdd/recordings/0_ann_0.wav").unlink()
        after, _ = arrays(known.load())
        assert after.images.dtype == np.float32
        np.testing.assert_array_equal(after.images, before.images)

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            (lambda f: f.pop("recordings/0_ann_0.wav"), "holds no recordings/0_ann_0.wav; give"),
            (lambda f: f.pop("recordings/1_bob_2.wav"), "1 of 12 recordings are missing.*1_bob_2"),
            (lambda f: f.update({"recordings/1_bob_2.wav": clip(9)}), "SHA-256 of the recordings"),
        ],
    )
    def test_another_content_is_told(
        self,
        home: Path,
        digits: dict[str, bytes],
        change: Callable[[dict[str, bytes]], object],
        what: str,
    ) -> None:
        put(home / "right", digits)
        known = small_fsdd(home / "right")
        change(digits)
        put(home / "wrong", digits)
        with pytest.raises(DataError, match=what):
            known.read(home / "wrong")

    def test_a_damaged_clip_is_named(self, home: Path, digits: dict[str, bytes]) -> None:
        digits["recordings/1_ann_1.wav"] = b"nothing that sounds"
        put(home / "fsdd", digits)
        with pytest.raises(DataError, match=r"1_ann_1\.wav: no WAV, FLAC or Ogg"):
            small_fsdd(home / "fsdd").read(home / "fsdd")


@pytest.fixture
def clips(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Two classes, one clip of each in each of five folds."""
    monkeypatch.setattr(esc50, "CLASSES", 2)
    monkeypatch.setattr(esc50, "EACH", 1)
    files, lines = {}, [HEAD]
    for fold in range(1, 6):
        for target in (0, 1):
            name = f"{fold}-{100 * fold + target}-A-{target}.wav"
            files[f"audio/{name}"] = clip(10 * fold + target)
            lines.append(f"{name},{fold},{target},dog,True,{100 * fold + target},A")
    files["meta/esc50.csv"] = "\n".join([lines[0], *reversed(lines[1:])]).encode()
    return files


class SmallEsc50(Esc50):
    train_images, val_images, classes, smallest_class = 8, 2, 2, 4
    bank = FilterBank(rate=RATE, bins=10, frames=9)
    clip_seconds = 0.1

    @property
    def origins(self) -> tuple[Source, ...]:
        return super().origins[:1]


def of_clip(splits: Splits, seed: int) -> tuple[str, int]:
    """In which half a clip is, and with which label."""
    samples, _ = soundfile.read(io.BytesIO(clip(seed)), dtype="float32")
    wanted = FilterBank(rate=RATE, bins=10, frames=9)(samples, where="it")
    found = []
    for half in ("train", "val"):
        split = getattr(splits, half)
        assert isinstance(split, Arrays)
        same = (split.images[:, 0] == wanted).all(axis=(1, 2))
        found += [(half, int(label)) for label in split.labels[same]]
    assert len(found) == 1
    return found[0]


class TestEsc50:
    """Folds, the table, and every clip of it."""

    @pytest.mark.parametrize("fold", [1, 2, 3, 5])
    def test_one_fold_judges_and_the_others_train(
        self, home: Path, clips: dict[str, bytes], fold: int
    ) -> None:
        put(home / "esc50" / "ESC-50-master", clips)
        known = SmallEsc50().of(DataConfig(name="esc50", fold=fold))
        splits = known.load()
        assert (len(splits.train.labels), len(splits.val.labels)) == (8, 2)
        for other in range(1, 6):
            for target in (0, 1):
                half = "val" if other == fold else "train"
                assert of_clip(splits, 10 * other + target) == (half, target)

    def test_all_folds_are_one_cache_file(self, home: Path, clips: dict[str, bytes]) -> None:
        put(home / "esc50", clips)
        one, two = (SmallEsc50().of(DataConfig(name="esc50", fold=fold)) for fold in (1, 4))
        one.load()
        assert one.version == two.version
        assert one.cache_file == two.cache_file
        version = one.version
        (home / "esc50/audio/1-100-A-0.wav").write_bytes(clip(77))
        assert one.version != version  # another clip is another set

    @pytest.mark.parametrize(
        ("old", "new", "what"),
        [
            (HEAD, "name,fold,target", r"esc50.csv:1:1: no column filename; the first line names"),
            (HEAD, "", r"esc50.csv:1:1: no column"),
            (",5,1,dog", ",6,1,dog", r"esc50.csv:2:15: fold must be 1 to 5, got '6'"),
            (",5,1,dog", ",4,1,dog", r"esc50.csv:2:15: fold is 4, the name of the clip says 5"),
            (",5,1,dog", ",5,x,dog", r"esc50.csv:2:17: target must be 0 to 1, got 'x'"),
            (",5,1,dog", ",5,0,dog", r"esc50.csv:2:17: target is 0, the name of the clip says 1"),
            (",5,1,dog", ",5,1", r"esc50.csv:2:1: has 6 fields, the first line 7"),
            ("5-501-A-1.wav", "bark.wav", r"esc50.csv:2:1: filename must be FOLD-SOURCE-TAKE-"),
            ("\n5-500-A-0.wav,5,0,dog,True,500,A", "", "class 0 has 0 clips in fold 5, expected 1"),
        ],
    )
    def test_another_table_is_told_by_line_and_column(
        self, home: Path, clips: dict[str, bytes], old: str, new: str, what: str
    ) -> None:
        table = clips["meta/esc50.csv"].decode()
        assert old in table
        clips["meta/esc50.csv"] = table.replace(old, new, 1).encode()
        put(home / "esc50", clips)
        with pytest.raises(DataError, match=what) as raised:
            SmallEsc50().load()
        assert "Traceback" not in str(raised.value)

    def test_a_table_in_another_coding_and_a_clip_twice_are_told(
        self, clips: dict[str, bytes]
    ) -> None:
        with pytest.raises(DataError, match=r"t\.csv: not a table in CSV"):
            read_clips(b"\xff\xfe\x00", where="t.csv")
        line = b"\n5-501-A-1.wav,5,1,dog,True,501,A"
        with pytest.raises(DataError, match=r"t.csv:12:1: 5-501-A-1.wav is there twice"):
            read_clips(clips["meta/esc50.csv"] + line, where="t.csv")

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            (lambda f: f.pop("audio/3-300-A-0.wav"), "1 of 10 clips are missing.*3-300-A-0.wav"),
            (lambda f: f.pop("meta/esc50.csv"), "holds no meta/esc50.csv; give the folder or zip"),
            (
                lambda f: f.update({"audio/3-300-A-0.wav": clip(1, 0.2)}),
                r"3-300-A-0.wav: 0.20 s long, every clip of ESC-50 has 0.1 s",
            ),
            (
                lambda f: f.update({"audio/3-300-A-0.wav": b""}),
                "3-300-A-0.wav: empty; get it again",
            ),
        ],
    )
    def test_what_is_missing_or_wrong_is_named(
        self,
        home: Path,
        clips: dict[str, bytes],
        change: Callable[[dict[str, bytes]], object],
        what: str,
    ) -> None:
        change(clips)
        packed(home / "esc50.zip", {f"ESC-50-master/{name}": c for name, c in clips.items()})
        with pytest.raises(DataError, match=what):
            SmallEsc50().load()

    @pytest.mark.parametrize(
        ("entry", "what"),
        [
            ("twice", r"esc50.zip: holds 'audio/3-300-A-0.wav' twice; pack it again"),
            ("a link", r"esc50.zip/audio/3-300-A-0.wav: a link, which a zip cannot follow; pack"),
            ("locked", r"3-300-A-0.wav: is encrypted; pack the zip without a password"),
            (
                "packed otherwise",
                r"3-300-A-0.wav: is packed by Zstandard, which cannot be read here",
            ),
        ],
    )
    def test_odd_entries_of_a_zip_are_told(
        self, home: Path, clips: dict[str, bytes], entry: str, what: str
    ) -> None:
        name = "audio/3-300-A-0.wav"
        path = home / "esc50.zip"
        packed(path, clips)
        with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if entry == "twice":
                archive.writestr(name, clips[name])
                archive.writestr("LICENSE", "")
                archive.writestr("LICENSE", "")  # nobody reads it
        if entry != "twice":
            content = bytearray(path.read_bytes())
            at = content.rindex(name.encode()) - 46  # the entry in the zip's directory
            assert content[at : at + 4] == b"PK\x01\x02"
            if entry == "a link":
                content[at + 38 : at + 42] = (0o120777 << 16).to_bytes(4, "little")
            elif entry == "locked":
                content[at + 8] |= 1
            else:
                content[at + 10] = 93
            path.write_bytes(content)
        with pytest.raises(DataError, match=what):
            SmallEsc50().load()

    def test_another_rate_is_resampled(self, home: Path, clips: dict[str, bytes]) -> None:
        clips["audio/1-100-A-0.wav"] = clip(5, rate=44_100)
        put(home / "esc50", clips)
        assert len(SmallEsc50().load().val.labels) == 2


def test_the_real_sets_say_what_they_are() -> None:
    real = DATASETS.get("esc50")
    assert (real.train_images, real.val_images, real.classes, real.folds) == (1600, 400, 50, 5)
    assert (real.size, real.width) == (128, 512)
    # as AST normalises: (x + 6.6268077) / (2 * 5.358466)
    assert real.mean[0] * 255 == pytest.approx(-6.6268077)
    assert real.std[0] * 255 == pytest.approx(2 * 5.358466)
    assert DATASETS.get("fsdd").class_counts() == (270,) * 10


@pytest.mark.parametrize(
    ("name", "fold", "what"),
    [("esc50", 6, "must be 1 to 5, got 6"), ("fsdd", 1, "fsdd has no folds: leave it out")],
)
def test_a_fold_that_is_not_there_is_told(name: str, fold: int, what: str) -> None:
    with pytest.raises(FieldError, match=what):
        DataConfig(name=name, fold=fold)


def test_seeds_go_around_the_folds() -> None:
    data = DataConfig(name="esc50")
    assert [data.at_seed(seed).fold for seed in range(7)] == [1, 2, 3, 4, 5, 1, 2]
    fixed = replace(data, fold=4)
    assert fixed.at_seed(0) is fixed
    pictures = DataConfig(name="cifar10")
    assert pictures.at_seed(3) is pictures


def module(home: Path, digits: dict[str, bytes], augment: Augment) -> DataModule:
    put(home / "fsdd", digits)
    known = small_fsdd(home / "fsdd")
    DATASETS.names()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS._items, "fsdd", known)
        return opened(augment, "fsdd", size=10, batch=4)


def test_batches_are_normalised_filter_banks(home: Path, digits: dict[str, bytes]) -> None:
    plain = Augment(crop="none", flip=0.0)
    data = module(home, digits, plain)
    ((images, labels),) = data.val(8)
    _, val = arrays(small_fsdd(home / "fsdd").load())
    wanted = (val.images.astype(np.float64) - Fsdd.log_mean) / Fsdd.log_spread
    np.testing.assert_allclose(images.numpy(), wanted, atol=1e-5)
    assert labels.tolist() == val.labels.tolist()
    batch, _ = next(data.train(0))
    rows = {row.tobytes() for row in data.train_eval_source.images.numpy()}  # type: ignore[attr-defined]
    pixels, _ = next(data.train_source.train(data.order, 0))
    assert all(row.tobytes() in rows for row in pixels.numpy())
    assert batch.shape == (4, 1, 10, 9)


def test_spans_are_masked_in_training_alone(home: Path, digits: dict[str, bytes]) -> None:
    data = module(home, digits, Augment(crop="none", flip=0.0, frequency_mask=10, time_mask=9))
    pixels, _ = next(data.train_source.train(data.order, 0))
    again, _ = next(data.train_source.train(data.order, 0))
    torch.testing.assert_close(pixels, again, rtol=0, atol=0)
    sounding = pixels[:, :, :, :8]  # behind them is padding
    assert (sounding == 0).any()
    ((evaluated, _),) = data.train_eval_source.in_order(8)
    assert (evaluated[:, :, :, :8] != 0).all()
