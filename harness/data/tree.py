"""Folders of images, `<split>/<class>/*`, as a directory, or read in place from a zip or a pack."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from harness.data.image_tree import TOO_LARGE, ImageTree, OneFile
from harness.data.naming import (
    Listing,
    from_bytes,
    hidden,
    is_image,
    listed,
    shown,
    to_bytes,
    with_folders_above,
)
from harness.data.pack import Pack, is_pack
from harness.data.paths import cannot_read
from harness.data.picture import MOST_BYTES
from harness.errors import DataError

__all__ = ["Directory", "ImageTree", "Zip", "open_regular", "open_tree"]

NOT_REGULAR: Final = "no regular file (a pipe, a device or a folder); remove it"
_PACKED_AS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_METHODS: Final = {9: "Deflate64", 93: "Zstandard", 95: "xz", 96: "JPEG", 98: "PPMd"}
_ENCRYPTED: Final = 0x1
_UTF8: Final = 0x800


class Directory(ImageTree):
    """Images in a directory."""

    def listing(self) -> Listing:
        files: list[str] = []
        folders: list[str] = []
        for name, is_folder in _walk(self.path):
            (folders if is_folder else files).append(name)
        return listed(files, folders)

    def stamp(self, name: str) -> tuple[int, ...]:
        try:
            return _stamp(os.stat(self._at(name)))
        except OSError as error:
            raise self.refused(name, f"cannot be read: {error.strerror}") from error

    def head(self, name: str, length: int) -> bytes:
        try:
            with open_regular(self._at(name)) as file:
                return file.read(length)
        except NotRegularError as error:
            raise self.refused(name, error.strerror) from error
        except OSError as error:
            raise self.unreadable(name, error.strerror) from error

    def _at(self, name: str) -> bytes:
        return os.path.join(os.fsencode(self.path), to_bytes(name))


class Zip(OneFile):
    """Images in a zip, which is as the directory that was packed: names follow the same rules."""

    _open: _Opened | None

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._archive()

    def listing(self) -> Listing:
        opened = self._archive()
        found = listed(opened.files, with_folders_above(opened.folders))
        for name in found.images:
            self._check(name, opened.files[name])
        return found

    def _check(self, name: str, entry: zipfile.ZipInfo) -> None:
        """DataError where its content cannot be had."""
        if entry.flag_bits & _ENCRYPTED:
            raise self.refused(name, "is encrypted; pack the zip without a password")
        if entry.compress_type not in _PACKED_AS:
            method = _METHODS.get(entry.compress_type, f"method {entry.compress_type}")
            raise self.refused(
                name,
                f"is packed by {method}, which cannot be read "
                "here; pack the zip again with deflate, as `zip -r` does",
            )
        if entry.file_size > MOST_BYTES:
            raise self.refused(name, TOO_LARGE)

    def stamp(self, name: str) -> tuple[int, ...]:
        opened = self._archive()
        entry = opened.files[name]
        return (*opened.stamp, entry.header_offset, entry.file_size, entry.CRC)

    def read(self, name: str) -> bytes:
        opened = self._archive()
        if name in opened.refused:
            raise DataError(opened.refused[name])
        if name in opened.files:
            self._check(name, opened.files[name])
        return super().read(name)

    def head(self, name: str, length: int) -> bytes:
        opened = self._archive()
        try:
            entry = opened.files[name]
            with opened.archive.open(entry) as file:
                content = file.read(length)
            if len(content) < min(length, entry.file_size):
                raise zipfile.BadZipFile("shorter than the zip says")
        except Exception as error:  # a damaged zip leads Python's reader to errors of all kinds
            raise self.unreadable(name, str(error) or type(error).__name__) from error
        return content

    def _archive(self) -> _Opened:
        # every process reads through a file of its own: a forked one would share the position
        with self._opening:
            if self._open is None or self._open.process != os.getpid():
                self._open = _Opened(self.path)
            return self._open


class _Opened:
    """A zip opened by one process, and its files and folders by their names in the tree."""

    def __init__(self, path: Path) -> None:
        self.process = os.getpid()
        try:
            self.stamp = _stamp(os.stat(path))
            self.archive = zipfile.ZipFile(path)
        except OSError as error:
            raise cannot_read(path, error) from error
        except Exception as error:  # as above
            raise DataError(
                f"{shown(path)}: truncated or not a zip ({error}); get it again, and unpack "
                "archives of other kinds"
            ) from error
        self.files: dict[str, zipfile.ZipInfo] = {}
        self.refused: dict[str, str] = {}  # why files that are no images cannot be read
        self.folders: set[str] = set()
        entries = self.archive.infolist()
        backslashes = not any("/" in entry.filename for entry in entries)
        for entry in entries:
            self._add(path, entry, _name(entry, backslashes))

    def _add(self, path: Path, entry: zipfile.ZipInfo, name: str) -> None:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        joined = "/".join(parts)
        if ".." in parts:
            raise DataError(
                f"{shown(path)}: holds '{shown(name)}', a name that leads out of it; pack it again"
            )
        if not parts or hidden(joined):
            return
        if name.endswith("/"):
            self.folders.add(joined)
            return
        wrong = None
        if joined in self.files:
            wrong = f"{shown(path)}: holds '{shown(joined)}' twice; pack it again"
        elif stat.S_ISLNK(entry.external_attr >> 16):
            what = "a link, which a zip cannot follow; pack the files themselves"
            wrong = f"{shown(path / joined)}: {what}"
        if wrong is not None and is_image(joined):
            raise DataError(wrong)
        if wrong is not None:  # nobody may want it
            self.refused[joined] = wrong
        self.files[joined] = entry
        self.folders.add("/".join(parts[:-1]))


def open_tree(path: Path) -> ImageTree:
    """The images at `path`; DataError if there is no directory, no zip and no pack."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise DataError(f"{shown(path)}: no such directory, zip or pack") from error
    except OSError as error:
        raise cannot_read(path, error) from error
    if stat.S_ISDIR(mode):
        return Directory(path)
    if stat.S_ISREG(mode):
        return Pack(path) if is_pack(path) else Zip(path)
    raise DataError(f"{shown(path)}: no directory, no zip and no pack")


def _stamp(about: os.stat_result) -> tuple[int, ...]:
    return (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def _name(entry: zipfile.ZipInfo, backslashes: bool) -> str:
    """The name of an entry, as the directory had it that was packed."""
    name = entry.orig_filename
    if not entry.flag_bits & _UTF8:
        # zipfile takes the bytes for those of an old PC; today they are the file system's
        name = from_bytes(name.encode("cp437"))
    if backslashes or entry.create_system == 0:  # packed on Windows by a careless program
        name = name.replace("\\", "/")
    return name


def _walk(root: Path) -> Iterator[tuple[str, bool]]:
    """(name, whether it is a folder) of all that is not hidden; links are followed."""
    start = os.fsencode(root)
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        name, above = waiting.pop()
        folder = os.path.join(start, to_bytes(name)) if name else start
        try:
            here = os.stat(folder)
            if (here.st_dev, here.st_ino) in above:
                raise DataError(f"{shown(root / name)}: a link to a folder around it; remove it")
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError as error:
            raise cannot_read(root / name, error) from error
        below = above | {(here.st_dev, here.st_ino)}
        for entry in found:
            part = from_bytes(entry.name)
            if hidden(part):
                continue
            inner = f"{name}/{part}" if name else part
            if _is_folder(entry):
                yield inner, True
                waiting.append((inner, below))
            else:
                if entry.is_symlink() or is_image(part):
                    _check_there(root, inner, entry)
                yield inner, False


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, say: no folder, and its reader will say so
        return False


def _check_there(root: Path, name: str, entry: os.DirEntry[bytes]) -> None:
    """DataError for a link to nothing, and for what is called an image and cannot be one."""
    if entry.is_file(follow_symlinks=False):
        return
    where = shown(root / name)
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        if not entry.is_symlink():
            raise cannot_read(root / name, error) from error
        aim = shown(from_bytes(os.readlink(entry.path)))
        raise DataError(
            f"{where}: a link to {aim}, which cannot be opened ({error.strerror}); remove the "
            "link, or bring back what it leads to"
        ) from error
    if is_image(name) and not stat.S_ISREG(mode):
        raise DataError(f"{where}: {NOT_REGULAR}")


class NotRegularError(OSError):
    """What `open_regular` raises for anything else."""


def open_regular(path: str | bytes | os.PathLike[str]) -> BinaryIO:
    """The file at `path`, for reading; OSError if it cannot be opened or is of another kind."""
    file = open(path, "rb", opener=_at_once)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotRegularError(None, NOT_REGULAR)
    return file


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
