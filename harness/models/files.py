"""The one place that opens files of weights: what a file is, is told by its content, not its name.

Two formats are read: safetensors, and torch checkpoints in both of torch's forms. Whatever else a
file turns out to be is named, with what to do about it. Nothing but tensors and plain values is
ever unpickled, and only a file that is a torch checkpoint gets the advice how to convert it.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final, Literal

from harness.errors import WeightsError

MOST_BYTES: Final = 32 << 30
"""No checkpoint of these networks comes near, with optimiser and all; a file is read whole."""

FileFormat = Literal["safetensors", "torch"]

_LEGACY: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch's older form begins
_LONGEST_HEADER: Final = 100_000_000  # bytes, as safetensors itself says
_BEGINNINGS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"\x1f\x8b", "a gzip archive: unpack it, and give the file inside"),
    (b"BZh", "a bzip2 archive: unpack it, and give the file inside"),
    (b"\xfd7zXZ\x00", "an xz archive: unpack it, and give the file inside"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive: unpack it, and give the file inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it, and give the file inside"),
    (b"Rar!", "a RAR archive: unpack it, and give the file inside"),
    (b"\x89HDF", "an HDF5 file (Keras): give the network's torch or safetensors weights"),
    (b"\x93NUMPY", "a NumPy array: give a torch checkpoint or safetensors file"),
    (b"GGUF", "a GGUF file: give the network's torch or safetensors weights"),
    (b"\x80", "a Python pickle and no torch checkpoint; it was not opened, for that can run code"),
    (b"%PDF", "a PDF document: fetch the weights again"),
)
_DANGEROUS: Final = frozenset(
    {"os", "posix", "nt", "subprocess", "sys", "shutil", "socket", "runpy", "importlib", "ctypes"}
    | {"pty", "webbrowser", "pickle", "_pickle", "marshal", "code", "codeop", "timeit", "pdb"}
    | {"bdb", "asyncio", "multiprocessing"}
)
_DANGEROUS_BUILTINS: Final = frozenset(
    {"eval", "exec", "compile", "open", "getattr", "setattr", "delattr", "input", "breakpoint"}
    | {"globals", "locals", "vars", "apply", "execfile", "__import__", "__build_class__"}
)


def read_content(path: Path) -> bytes:
    """What `path` holds; WeightsError where it cannot be read or is no ordinary file."""
    try:
        if path.is_dir():
            raise WeightsError(f"{path}: is a folder: give the file of weights in it")
        if path.exists() and not path.is_file():
            raise WeightsError(f"{path}: is no ordinary file: give a file of weights")
        if path.stat().st_size > MOST_BYTES:
            raise WeightsError(
                f"{path}: has {path.stat().st_size / 2**30:,.0f} GiB, more than the "
                f"{MOST_BYTES >> 30} that are read: give a file of the weights alone"
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WeightsError(f"{path}: cannot read the weights: {reason}") from error


def format_of(path: Path, beginning: bytes, size: int) -> FileFormat:
    """What the file is, from its first bytes; WeightsError names what cannot be read as weights.

    A few hundred bytes tell, so that `harness check` can say it too, without torch.
    """
    wrong = _other(beginning, size)
    if wrong is not None:
        raise WeightsError(f"{path}: is {wrong}")
    if beginning.startswith(b"PK\x03\x04") or _is_legacy(beginning):
        return "torch"
    return "safetensors"


def peek(path: Path) -> FileFormat:
    """`format_of` of a file that is not read further."""
    try:
        with path.open("rb") as file:
            return format_of(path, file.read(512), path.stat().st_size)
    except OSError as error:
        raise WeightsError(f"{path}: cannot read the weights: {error.strerror}") from error


def open_weights(path: Path, content: bytes) -> tuple[Any, Mapping[str, str]]:
    """What the file holds, tensors by name as its format nests them, and what it says of them.

    Raises WeightsError where `content`, which is what `path` holds, is not whole or not safe.
    """
    if format_of(path, content[:512], len(content)) == "safetensors":
        return _safetensors(path, content)
    if content.startswith(b"PK"):
        _check_sums(path, open_archive(path, io.BytesIO(content), len(content)))
    return _unpickled(path, content), {}


def _is_legacy(beginning: bytes) -> bool:
    """Whether the file begins as torch's older form does, as far as it goes."""
    return beginning[: len(_LEGACY)] == _LEGACY[: len(beginning)]


def _other(beginning: bytes, size: int) -> str | None:
    if size == 0:
        return "empty: fetch or train it again"
    header = int.from_bytes(beginning[:8], "little")
    if _is_legacy(beginning) or (beginning[8:9] == b"{" and header <= _LONGEST_HEADER):
        return None
    for sign, what in _BEGINNINGS:
        if beginning.startswith(sign):
            return what
    text = beginning.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<!--")):
        return "a web page, not weights: the download answered with a page; fetch it again"
    if text.startswith((b"{", b"[")):
        return (
            "JSON text, not weights: an index of several files has to be merged into one "
            "safetensors file first"
        )
    if beginning[257:262] == b"ustar":
        return "a tar archive: unpack it, and give the file inside"
    if beginning.startswith(b"PK\x03\x04"):
        return None
    if beginning.startswith(b"\x08") and re.search(rb"(?i)onnx|pytorch|producer", beginning):
        return "an ONNX model: give the network's torch or safetensors weights"
    if b"saved_model" in beginning or b"tensorflow" in beginning.lower():
        return "a TensorFlow model: give the network's torch or safetensors weights"
    return (
        "neither a safetensors file nor a torch checkpoint, or is damaged at its beginning: "
        "fetch or train it again"
    )


def _safetensors(path: Path, content: bytes) -> tuple[dict[str, Any], Mapping[str, str]]:
    import safetensors.torch

    try:
        tensors = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        return tensors, json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    except Exception as error:  # a parser on bytes that anybody may have written
        reason = str(error).split("\n")[0] or type(error).__name__
        raise WeightsError(
            f"{path}: not a whole safetensors file ({reason}); fetch or train it again"
        ) from error


def open_archive(path: Path, file: IO[bytes], size: int) -> zipfile.ZipFile:
    """A zip of `size` bytes that torch wrote: a pickle and uncompressed tensors, and no program.

    Raises WeightsError for any other.
    """
    try:
        archive = zipfile.ZipFile(file)
    except Exception as error:  # a parser on bytes that anybody may have written
        raise WeightsError(
            f"{path}: not a whole torch checkpoint ({error}); fetch or train it again"
        ) from error
    members = archive.infolist()
    names = [member.filename for member in members]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise WeightsError(
            f"{path}: is a TorchScript program, not a checkpoint: save the network's "
            "`state_dict()` with torch.save, and give that file"
        )
    if not any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        inside = ", ".join(names[:3]) or "nothing"
        kind = "NumPy arrays" if names and names[0].endswith(".npy") else "a zip archive"
        raise WeightsError(
            f"{path}: is {kind}, not a torch checkpoint (it holds {inside}): "
            "unpack it, and give the torch or safetensors file inside"
        )
    if sum(member.file_size for member in members) > size:
        raise WeightsError(
            f"{path}: is compressed, as torch never writes a checkpoint: it was not opened"
        )
    for member in members:
        if member.CRC == 0:  # as torch leaves it where it was told to compute none
            del member.CRC  # and zipfile compares nothing
    return archive


def _check_sums(path: Path, archive: zipfile.ZipFile) -> None:
    """Hold every part against its CRC-32, which torch writes and never reads."""
    for member in archive.infolist():
        try:
            with archive.open(member) as part:
                while part.read(1 << 20):
                    pass
        except Exception as error:  # a parser on bytes that anybody may have written
            raise WeightsError(
                f"{path}: is damaged: its part {member.filename} has another checksum; "
                "fetch or train it again"
            ) from error


class Unpicklable(Exception):
    """Bytes are no torch file of tensors and plain values; `named` is what else they hold."""

    def __init__(self, reason: str, named: str | None) -> None:
        self.reason, self.named = reason, named
        super().__init__(reason)


def unpickle(content: bytes) -> Any:
    """What torch saved in `content`, on the CPU; Unpicklable where that is more than tensors and
    plain values, or is not whole. No code of the file is ever run.
    """
    import argparse

    import torch

    try:
        # the options of a command, which nearly all published checkpoints have beside the weights
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:  # the machine's fault
        raise
    except Exception as error:  # a parser on bytes that anybody may have written
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        if re.search("(?i)weights.only", reason):  # torch's advice how to switch safety off
            reason = "its pickle is damaged"
        raise Unpicklable(reason, named and named[1]) from error


def _unpickled(path: Path, content: bytes) -> Any:
    try:
        return unpickle(content)
    except Unpicklable as error:
        if error.named is not None:
            raise WeightsError(f"{path}: {_unsafe(path, error.named)}") from error
        raise WeightsError(
            f"{path}: not a whole torch checkpoint ({error.reason}); fetch or train it again"
        ) from error


def _unsafe(path: Path, named: str) -> str:
    module, _, function = named.rpartition(".")
    builtin = module in ("", "builtins", "__builtin__")
    if module.partition(".")[0] in _DANGEROUS or (builtin and function in _DANGEROUS_BUILTINS):
        return f"would run {named} when it is opened, which no weights do: it was not opened"
    return (
        f"holds {named} beside tensors, and unpickling that could run any code. If you trust "
        f"whoever made the file, keep its tensors alone by running {conversion(path)} where that "
        f"can be imported, and give {converted(path).name}"
    )


def converted(path: Path) -> Path:
    """The file that `conversion` writes."""
    return path.with_name(f"{path.name.partition('.')[0] or path.name}.tensors.pth")


def conversion(path: Path) -> str:
    """A command that keeps the tensors of a checkpoint, nested as they are, and nothing else.

    It takes dictionaries and whole pickled networks alike.
    """
    tensors = (
        "t = lambda x: x.detach().clone() if torch.is_tensor(x) else "
        'dict((str(k), t(v)) for k, v in x.items()) if hasattr(x, "items") else '
        't(x.state_dict()) if hasattr(x, "state_dict") else None'
    )
    load = f'torch.load({json.dumps(str(path))}, map_location="cpu", weights_only=False)'
    code = f"import torch; {tensors}; torch.save(t({load}), {json.dumps(str(converted(path)))})"
    return f"python -c {shlex.quote(code)}"
