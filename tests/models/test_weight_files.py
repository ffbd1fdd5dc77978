"""What a file of weights is is told by its content; which network it holds, by its parameters."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.errors import WeightsError
from harness.models.build import save_model
from harness.models.config import Weights
from harness.models.vit import Normalisation
from tests.models.networks import build
from tests.models.test_weights import VIT, State, convert, loaded, network, prefixed

NETWORK = network(1)
STATE: State = {name: value.detach() for name, value in NETWORK.vit.state_dict().items()}
OTHER: State = {name: value * 2 for name, value in STATE.items()}
ENCODER = {name: value for name, value in STATE.items() if not name.startswith("head.")}


def chunked(state: State) -> State:
    """As FSDP's wrapper names the blocks."""
    return {name.replace("blocks.", "blocks.0."): value for name, value in state.items()}


def zipped(name: str, content: bytes, *, method: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def tarred() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("model.pth")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"1234"))
    return packed.getvalue()


def arrays() -> bytes:
    packed = io.BytesIO()
    np.savez(packed, weight=np.ones(3))
    return packed.getvalue()


def scripted() -> bytes:
    return zipped("net/code/__torch__.py", b"x") + b""


def saved(value: object, **options: Any) -> bytes:
    packed = io.BytesIO()
    torch.save(value, packed, **options)
    return packed.getvalue()


def compressed() -> bytes:
    """A torch checkpoint as torch never writes one: deflated, so that few bytes can be many."""
    plain, packed = zipfile.ZipFile(io.BytesIO(saved({"w": torch.zeros(100_000)}))), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in plain.infolist():
            archive.writestr(member.filename, plain.read(member))
    return packed.getvalue()


FOREIGN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "html": (b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
    "html with spaces": (b"\n\n  <html><body>404</body>", "a web page"),
    "xml": (b'<?xml version="1.0"?><Error/>', "a web page"),
    "json": (b'{"weight_map": {"a": "b"}}', "JSON text.*merged"),
    "text": (b"404: Not Found", "neither a safetensors file nor a torch checkpoint"),
    "zeros": (bytes(4096), "neither a safetensors file nor a torch checkpoint"),
    "gzip": (gzip.compress(saved(STATE)), "a gzip archive: unpack it"),
    "tar": (tarred(), "a tar archive: unpack it"),
    "zip": (zipped("model.pth", b"1234"), r"a zip archive.*holds model\.pth.*unpack"),
    "npz": (arrays(), "NumPy arrays"),
    "script": (zipped("net/code/__torch__.py", b"x"), "a TorchScript program"),
    "compressed": (compressed(), "is compressed.*not opened"),
    "pickle": (pickle.dumps({"model": [1.0]}), "a Python pickle.*not opened"),
    "old pickle": (pickle.dumps({"model": [1.0]}, protocol=0), "neither a safetensors file"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(64), "Keras"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0" + bytes(64), "ONNX"),
    "tensorflow": (b"\n\x16saved_model\x12" + bytes(64), "TensorFlow"),
    "header": ((1 << 40).to_bytes(8, "little") + b"{}", "neither a safetensors file"),
    "cut": (saved(STATE)[:5000], "not a whole torch checkpoint"),
    "cut old form": (saved(STATE, _use_new_zipfile_serialization=False)[:900], "not a whole torch"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_file_of_weights_is_named(name: str, suffix: str, tmp_path: Path) -> None:
    content, words = FOREIGN[name]
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"(?s){words}") as failed:
        loaded(path)
    assert str(path) in str(failed.value)
    assert "\n" not in str(failed.value)
    assert "python -c" not in str(failed.value)  # nobody is told to unpickle it


def test_a_flipped_bit_in_a_tensor_is_told_by_its_checksum(tmp_path: Path) -> None:
    path, at = tmp_path / "w.pth", STATE["head.weight"].numpy().tobytes()
    whole = saved({"model": STATE})
    path.write_bytes(whole)
    loaded(path)
    path.write_bytes(whole.replace(at, bytes([at[0] ^ 16]) + at[1:]))
    with pytest.raises(WeightsError, match=r"damaged: its part archive/data/\d+ has another check"):
        loaded(path)


def test_a_file_that_torch_wrote_without_checksums_is_read(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    try:
        torch.serialization.set_crc32_options(False)
        torch.save(STATE, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(loaded(tmp_path / "w.pth")["head.bias"], STATE["head.bias"])


def test_a_folder_and_a_device_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is a folder: give the file of weights in it"):
        loaded(tmp_path)
    with pytest.raises(WeightsError, match="is no ordinary file"):
        loaded(Path("/dev/zero"))
    with pytest.raises(WeightsError, match="cannot read the weights: No such file"):
        loaded(tmp_path / "none.pth")


@pytest.mark.parametrize("suffix", [".pth.tar", ".bin", ".PTH", ".ckpt", "", ".safetensors"])
def test_the_suffix_says_nothing(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    for write in (
        lambda: torch.save({"model": STATE}, path),
        lambda: torch.save(STATE, path, _use_new_zipfile_serialization=False),
        lambda: save_file(STATE, path),
    ):
        write()
        assert torch.equal(loaded(path)["norm.weight"], STATE["norm.weight"])


PREFIXES = [
    "module.",
    "_orig_mod.",
    "module._orig_mod.",
    "model.",
    "student.",
    "teacher.backbone.",
    "module.base_encoder.",
    "model.module.encoder.",
    "_fsdp_wrapped_module.net.",
]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("under", ["", "model", "state_dict", "teacher", "model_ema", "ema.net"])
def test_what_is_wrapped_around_the_network_is_taken_off(
    prefix: str, under: str, tmp_path: Path
) -> None:
    state: Any = prefixed(STATE, prefix)
    if not under:
        save_file(state, tmp_path / "w.safetensors")
        assert torch.equal(loaded(tmp_path / "w.safetensors")["head.bias"], STATE["head.bias"])
    for key in reversed(under.split(".") if under else []):
        state = {key: state, "epoch": 3, "args": argparse.Namespace(lr=0.1)}
    torch.save(state, tmp_path / "w.pth")
    found = loaded(tmp_path / "w.pth")
    assert all(torch.equal(found[name], value) for name, value in STATE.items())


def test_wrappers_within_names_and_chunks_of_blocks(tmp_path: Path) -> None:
    inner = {name.replace("blocks.1.", "blocks.1._orig_mod."): v for name, v in STATE.items()}
    for state in (inner, chunked(STATE), prefixed(chunked(STATE), "module.teacher.backbone.")):
        torch.save({"model": state}, tmp_path / "w.pth")
        found = loaded(tmp_path / "w.pth")
        assert all(torch.equal(found[name], value) for name, value in STATE.items())
    again = {
        name.replace("blocks.1.", "blocks.1.0.").replace("blocks.0.", "blocks.0.0.", 1): value
        for name, value in STATE.items()
        if not name.startswith("blocks.0.0")
    }
    torch.save(again, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"holds blocks\.0\.\S+ twice"):
        loaded(tmp_path / "w.pth")


@pytest.mark.parametrize("wrapped_first", [False, True])
def test_a_parameter_under_two_names_has_one_value(wrapped_first: bool, tmp_path: Path) -> None:
    parts = [STATE, prefixed(OTHER, "_orig_mod.")]
    first, last = reversed(parts) if wrapped_first else parts
    torch.save({"model": {**first, **last}}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"(?=.* _orig_mod\.cls_token)(?=.* cls_token).* once"):
        loaded(tmp_path / "w.pth")
    torch.save({"model": {**STATE, **prefixed(STATE, "_orig_mod.")}}, tmp_path / "w.pth")
    assert torch.equal(loaded(tmp_path / "w.pth")["head.bias"], STATE["head.bias"])


def test_a_classifier_beside_the_encoder_is_found(tmp_path: Path) -> None:
    head = {name: STATE[name] for name in ("head.weight", "head.bias")}
    torch.save({"state_dict": prefixed(ENCODER, "backbone.") | head}, tmp_path / "w.pth")
    assert torch.equal(loaded(tmp_path / "w.pth")["head.weight"], STATE["head.weight"])


SEVERAL: dict[str, tuple[Any, list[str]]] = {
    "ema": ({"model": STATE, "model_ema": OTHER}, ["model", "model_ema"]),
    "timm": ({"state_dict": STATE, "state_dict_ema": OTHER}, ["state_dict", "state_dict_ema"]),
    "moco": (
        {"state_dict": prefixed(STATE, "module.a.") | prefixed(OTHER, "module.b.")},
        ["state_dict.module.a", "state_dict.module.b"],
    ),
    "three": (
        {"student": STATE, "teacher": OTHER, "model": dict(STATE)},
        ["model", "teacher"],
    ),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_of_several_networks_the_spec_says_which(name: str, tmp_path: Path) -> None:
    content, keys = SEVERAL[name]
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"holds \d networks: .*say which: `weights") as failed:
        loaded(tmp_path / "w.pth")
    assert all(key in str(failed.value) for key in keys)
    for key, state in zip(keys, (STATE, OTHER), strict=True):
        assert torch.equal(loaded(tmp_path / "w.pth", key=key)["head.bias"], state["head.bias"])
    with pytest.raises(WeightsError, match=f"unknown network '{keys[0]}x'; did you mean"):
        loaded(tmp_path / "w.pth", key=f"{keys[0]}x")


def test_a_key_that_is_the_beginning_of_another_still_says_which(tmp_path: Path) -> None:
    torch.save({"model": {**STATE, "ema": OTHER}}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"model, model\.ema; say which: .* key: model}`"):
        loaded(tmp_path / "w.pth")
    for key, state in {"model": STATE, "model.ema": OTHER}.items():
        assert torch.equal(loaded(tmp_path / "w.pth", key=key)["head.bias"], state["head.bias"])


@pytest.mark.parametrize(
    "content", [{"model.ema": STATE, "model": {"ema": OTHER}}, {1: STATE, "1": OTHER}]
)
@pytest.mark.parametrize("asked", [False, True])
def test_networks_of_one_key_cannot_be_told_apart(
    content: dict[Any, Any], asked: bool, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "w.pth")
    key = str(next(iter(content)))
    with pytest.raises(WeightsError, match=r"no key tells them apart: save the one") as failed:
        loaded(tmp_path / "w.pth", **({"key": key} if asked else {}))
    assert "say which" not in str(failed.value)


def test_of_student_and_teacher_the_teacher_is_meant(tmp_path: Path) -> None:
    both = prefixed(OTHER, "student.backbone.") | prefixed(STATE, "teacher.backbone.")
    for content in ({"model": both}, {"student": OTHER, "teacher": STATE}):
        torch.save(content, tmp_path / "w.pth")
        assert torch.equal(loaded(tmp_path / "w.pth")["head.bias"], STATE["head.bias"])
        key = "student" if "student" in content else "model.student"
        found = loaded(tmp_path / "w.pth", key=key)
        assert torch.equal(found["head.bias"], OTHER["head.bias"])


def test_the_scales_of_deit_3_have_another_name_in_its_own_files(tmp_path: Path) -> None:
    deit3 = replace(VIT, arch="deit3_small_patch16_224")
    state = dict(network(1, deit3).vit.state_dict())
    assert "blocks.1.ls2.gamma" in state
    released = {name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): value
                for name, value in state.items()}  # fmt: skip
    torch.save({"model": released}, tmp_path / "deit3.pth")
    found = loaded(tmp_path / "deit3.pth", deit3)
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_half_and_double_precision_are_read_as_fp32(tmp_path: Path) -> None:
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        torch.save({name: value.to(kind) for name, value in STATE.items()}, tmp_path / "w.pth")
        found = loaded(tmp_path / "w.pth")["norm.weight"]
        assert found.dtype == torch.float32
        assert torch.equal(found, STATE["norm.weight"].to(kind).float())


ODD: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "complex": (lambda value: value.to(torch.complex64), "numbers of type complex64"),
    "integers": (lambda value: value.to(torch.int64), "numbers of type int64"),
    "8 bits": (lambda value: value.to(torch.float8_e4m3fn), "numbers of type float8_e4m3fn"),
    "sparse": (lambda value: value.to_sparse(), "is sparse_coo: save plain dense"),
    "meta": (lambda value: value.to("meta"), "is without values|not a whole torch"),
    "NaN": (lambda value: value / 0 * 0, r"norm\.weight has 16 of 16 numbers .* not finite"),
    "too large": (lambda value: value.double() * 1e300, r"norm\.weight has \d+ of 16 numbers"),
    "infinite": (lambda value: value / 0, r"norm\.weight has \d+ of 16 numbers"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ODD)
def test_numbers_that_stand_for_no_weights(name: str, tmp_path: Path) -> None:
    change, words = ODD[name]
    torch.save({**STATE, "norm.weight": change(STATE["norm.weight"])}, tmp_path / "w.pth")
    for head in ("own", "new"):
        with pytest.raises(WeightsError, match=words):
            loaded(tmp_path / "w.pth", head=head)


def test_weights_that_are_all_zero_are_no_network(tmp_path: Path) -> None:
    torch.save({name: value * 0 for name, value in STATE.items()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="all weights are 0"):
        loaded(tmp_path / "w.pth", head="new")


def test_a_network_that_is_not_finite_is_never_left_behind(tmp_path: Path) -> None:
    model = network(2)
    with torch.no_grad():
        model.vit.norm.bias[3] = float("nan")
    with pytest.raises(WeightsError, match=r"the trained network: norm\.bias has 1 of 16"):
        save_model(model, tmp_path / "model.safetensors")
    assert not (tmp_path / "model.safetensors").exists()


def test_a_mismatch_names_both_sides(tmp_path: Path) -> None:
    state = {**STATE, "more": torch.ones(2), "pos_embed": torch.ones(1, 5, 16)}
    del state["cls_token"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as failed:
        loaded(tmp_path / "w.pth")
    assert str(failed.value).endswith(
        "weights of another model: 3 of 32 parameters differ: of another shape: pos_embed "
        "(1, 5, 16), wanted (1, 17, 16); the file lacks cls_token (1, 1, 16); only the file has "
        "more (2,)"
    )


def test_a_whole_network_is_not_unpickled_and_the_recipe_takes_its_tensors(tmp_path: Path) -> None:
    for content in (NETWORK.vit, {"teacher": nn.ModuleDict({"net": NETWORK.vit}), "at": Path("a")}):
        torch.save(content, tmp_path / "whole $(x) 'y'.pth")
        with pytest.raises(WeightsError, match="beside tensors, and unpickling that") as failed:
            loaded(tmp_path / "whole $(x) 'y'.pth")
        text = str(failed.value).replace("whole $(x) 'y'.tensors", "whole.tensors")
        (tmp_path / "whole.pth").write_bytes((tmp_path / "whole $(x) 'y'.pth").read_bytes())
        with pytest.raises(WeightsError) as failed:
            loaded(tmp_path / "whole.pth")
        text = str(failed.value)
        found = loaded(convert(text, tmp_path))
        assert all(torch.equal(found[name], value) for name, value in STATE.items())


def test_metadata_says_how_images_are_scaled(tmp_path: Path) -> None:
    save = lambda **about: save_file(STATE, tmp_path / "w.safetensors", metadata=about)  # noqa: E731
    for about in ({}, {"format": "pt"}, {"mean": "0.5", "std": "(0.25,)"}):
        save(**about)
        loaded(tmp_path / "w.safetensors")
    for about in (
        {"mean": "0.5"},
        {"mean": "0.5", "std": "0"},
        {"mean": "nan", "std": "1"},
        {"mean": "0.5,0.5", "std": "1,1"},
        {"mean": "a", "std": "b"},
    ):
        save(**about)
        with pytest.raises(WeightsError, match="should give both mean and std"):
            loaded(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        ("123.675", "58.395", r"mean 123\.675 and std 58\.395 .* divide by 255$"),
        ("0.5", "127.5", "divide by 255$"),
        ("-0.5", "0.5", "at most 1$"),
        ("1e30", "1e-30", "at most 1$"),
    ],
)
def test_images_are_scaled_from_0_to_1(mean: str, std: str, words: str, tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.safetensors", metadata={"mean": mean, "std": std})
    with pytest.raises(WeightsError, match=r"w\.safetensors: mean .* pixels in 0\.\.1") as failed:
        loaded(tmp_path / "w.safetensors")
    assert re.search(words, str(failed.value))


def test_spectrograms_have_another_scale(tmp_path: Path) -> None:
    norm = Normalisation(mean=(-0.7,), std=(0.4,))
    config = replace(VIT, weights=Weights(file=str(tmp_path / "w.safetensors")))
    save_file(STATE, tmp_path / "w.safetensors", metadata={"mean": "-0.6", "std": "0.5"})
    assert build(config, 10, channels=1, norm=norm).weights_norm == Normalisation(
        mean=(-0.6,), std=(0.5,)
    )


def test_a_mapping_that_holds_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": STATE}
    content["again"] = content
    torch.save(content, tmp_path / "w.pth")
    assert torch.equal(loaded(tmp_path / "w.pth")["head.bias"], STATE["head.bias"])


def test_an_index_of_parts_is_no_file_of_weights(tmp_path: Path) -> None:
    index = {"metadata": {}, "weight_map": {"norm.weight": "model-00001-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="an index of several files has to be merged"):
        loaded(tmp_path / "model.safetensors.index.json")
