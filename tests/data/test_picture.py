"""What becomes of image files of every kind."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.data.picture import (
    Damaged,
    UnsupportedPicture,
    decode,
    decode_mask,
    looks_like_image,
    remarks,
)

RGB = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
NOISE = np.random.default_rng(1).integers(0, 256, (60, 50, 3), dtype=np.uint8)
SIXTEEN = np.array([[0, 257, 65535, 30000], [128, 129, 384, 386]], dtype=np.uint16)
EIGHT = [[0, 1, 255, 117], [0, 1, 1, 2]]  # value / 257, rounded


def saved(pixels: NDArray[Any] | Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, kind, **options)
    return file.getvalue()


def anymap(kind: str, pixels: NDArray[Any], most: int) -> bytes:
    height, width = pixels.shape[:2]
    return f"{kind} {width} {height} {most}\n".encode() + pixels.astype(">u2").tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checked


def png(width: int, height: int, *extra: bytes) -> bytes:
    """One colour, 1 bit a pixel."""
    pixels = zlib.compress((b"\0" + b"\xff" * ((width + 7) // 8)) * height, 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    "content",
    [
        saved(SIXTEEN, "PNG"),
        saved(SIXTEEN, "TIFF"),
        saved(SIXTEEN.astype(">u2"), "TIFF"),
        anymap("P5", SIXTEEN, 65535),
    ],
)
def test_sixteen_bits_are_scaled(content: bytes) -> None:
    assert np.asarray(decode(content, channels=1)).tolist() == EIGHT
    assert np.asarray(decode(content, channels=3))[..., 2].tolist() == EIGHT


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_grey_whose_zero_is_white_is_turned_round(bits: int, compression: str) -> None:
    grey = np.array(EIGHT, np.uint8) if bits == 8 else SIXTEEN
    content = saved(np.iinfo(grey.dtype).max - grey, "TIFF", compression=compression)
    black_is_zero, white_is_zero = (
        struct.pack("<HHIHH", 262, 3, 1, is_zero, 0) for is_zero in (1, 0)
    )
    assert content.count(black_is_zero) == 1
    content = content.replace(black_is_zero, white_is_zero)
    assert np.asarray(decode(content, channels=1)).tolist() == EIGHT


def test_sixteen_bits_of_colour_keep_their_high_byte() -> None:
    colour = np.stack([SIXTEEN, SIXTEEN // 2, SIXTEEN // 3], axis=2)
    header = struct.pack(">IIBBBBB", 4, 2, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colour)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    assert np.array_equal(np.asarray(decode(content, channels=3)), colour >> 8)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (saved(RGB, "PNG"), RGB),
        (saved(RGB, "BMP"), RGB),
        (saved(RGB, "PPM"), RGB),
        (saved(RGB, "TIFF", compression="tiff_lzw"), RGB),
        (saved(RGB, "WEBP", lossless=True), RGB),
        (saved(np.dstack([RGB, RGB[..., 0]]), "PNG"), RGB),  # alpha
        (saved(RGB[..., 0], "PNG"), np.dstack([RGB[..., 0]] * 3)),
        (saved(np.dstack([RGB[..., 0], RGB[..., 1]]), "PNG"), np.dstack([RGB[..., 0]] * 3)),
        (saved(RGB[..., 0] > 99, "PNG"), np.dstack([(RGB[..., 0] > 99) * 255] * 3)),
        (
            saved(RGB, "PNG", save_all=True, append_images=[Image.fromarray(RGB[::-1])]),
            RGB,
        ),
    ],
)
def test_the_pixels_are_those_that_were_saved(content: bytes, expected: NDArray[Any]) -> None:
    image = decode(content, channels=3)
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), expected)
    assert decode(content, channels=1).mode == "L"


def test_palettes_and_print_colours() -> None:
    whole = Image.fromarray(RGB)
    palette = whole.convert("P")
    see_through = bytes([0] * 128 + [255] * 128)
    content = saved(palette, "PNG", transparency=see_through)
    assert np.array_equal(np.asarray(decode(content, channels=3)), palette.convert("RGB"))
    flat = Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK")
    found = np.asarray(decode(saved(flat, "JPEG", quality=100), channels=3)).astype(int)
    assert abs(found - [200, 40, 90]).max() <= 3


def test_orientation_is_not_applied_and_told() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(RGB, "JPEG", exif=exif)
    assert decode(content, channels=3).size == (5, 6)
    assert list(remarks(content)) == ["with an EXIF orientation, which is not applied"]
    see_through = saved(np.dstack([RGB, RGB[..., 0]]), "PNG")
    assert list(remarks(see_through)) == [
        "with transparent parts, of which the colours below are read"
    ]
    moving = saved(
        Image.fromarray(RGB), "GIF", save_all=True, append_images=[Image.new("RGB", (5, 6))]
    )
    assert list(remarks(moving)) == ["with an animation, of which the first picture is read"]
    assert list(remarks(saved(RGB, "JPEG"))) == []


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (saved(np.zeros((2, 2), np.float32), "TIFF"), "floating-point numbers, whose range is not"),
        (saved(np.zeros((2, 2), np.int32), "TIFF"), "32-bit integers, whose range is not known"),
        (b"Pf 2 2 -1.0\n" + bytes(16), "floating-point numbers"),
        (png(12_500, 8_001), "12,500 x 8,001 are more than 100 million pixels; make it smaller"),
        (png(15_000, 12_500), "more than 100 million pixels"),
        (png(1, 201), "1 x 201 pixels: one side is more than 200 times the other"),
    ],
)
def test_what_is_refused(content: bytes, what: str) -> None:
    with pytest.raises(UnsupportedPicture, match=what):
        decode(content, channels=3)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the file is empty"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no known image format"),
        (b"<html>404</html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull`"),
        (saved(RGB, "JPEG")[:-20], "truncated"),
        (saved(RGB, "PNG")[:60], "truncated"),
        (
            png(2, 2, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9))),
            "Decompressed data too large",
        ),
        (b"BM" + bytes(60), "."),
        (b"II*\0" + b"\xff" * 60, "."),
    ],
)
def test_what_is_damaged(content: bytes, what: str) -> None:
    with pytest.raises(Damaged, match=what):
        decode(content, channels=3)


def lost_end(content: bytes, share: float) -> bytes:
    """As a download leaves it that was given up, where the file had its length from the start."""
    kept = int(len(content) * share)
    return content[:kept] + bytes(len(content) - kept)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.68, 0.8, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF"])
def test_zeros_in_place_of_a_lost_end_are_damage(kind: str, share: float) -> None:
    options = {"PNG": {"compress_level": 0}, "TIFF": {"compression": "tiff_lzw"}}
    whole = saved(NOISE, kind, **options.get(kind, {}))
    decode(whole, channels=3)
    with pytest.raises(Damaged):
        decode(lost_end(whole, share), channels=3)


@pytest.mark.parametrize("kind", ["BMP", "PPM", "TIFF", "WEBP"])
def test_zeros_that_may_be_pixels_are_told(kind: str) -> None:
    whole = saved(NOISE, kind)
    assert list(remarks(whole)) == []
    content = lost_end(whole, 0.8)
    decode(content, channels=3)
    assert list(remarks(content)) == [
        "with nothing but zeros at the end of the file: cut off, or black there"
    ]
    flat = Image.new("RGB", (2000, 2000))
    assert kind != "WEBP" or list(remarks(saved(flat, kind))) == []


def test_a_jpeg_ends_behind_its_pixels() -> None:
    """Not with its thumbnail, and whatever comes behind."""
    thumbnail = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + saved(RGB, "JPEG")
    picture = saved(NOISE, "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = picture[:2] + segment + picture[2:]
    expected = np.asarray(decode(picture, channels=3))
    assert np.array_equal(decode(whole + bytes(999), channels=3), expected)
    assert list(remarks(whole + bytes(999))) == []
    assert list(remarks(whole[:-2])) == ["with JPEG data that do not end, probably cut off"]
    with pytest.raises(Damaged, match="zeros are in place of its end"):
        decode(lost_end(whole, 0.9), channels=3)


def test_a_png_is_what_its_checksums_say() -> None:
    """Bytes behind its end are no part of it."""
    whole = saved(NOISE, "PNG")
    assert np.array_equal(decode(whole + bytes(9), channels=3), NOISE)
    changed = bytearray(saved(NOISE, "PNG", compress_level=0))
    changed[1000] ^= 1
    with pytest.raises(Damaged, match="a checksum in it is wrong"):
        decode(bytes(changed), channels=3)
    with pytest.raises(Damaged, match="the PNG is truncated"):
        decode(whole[:-12], channels=3)
    with pytest.raises(Damaged, match="a checksum in it is wrong"):
        decode_mask(lost_end(saved(NOISE[..., 0], "PNG"), 0.99))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
def test_every_format_is_known_by_its_first_bytes(kind: str) -> None:
    assert looks_like_image(saved(RGB, kind)[:16])
    assert not looks_like_image(b"# read me\n")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_any_damage_is_one_of_two_errors(kind: str) -> None:
    """Bytes changed and cut at random: a picture, Damaged or UnsupportedPicture."""
    draws = np.random.default_rng(0)
    whole = saved(RGB, kind)
    for _ in range(150):
        content = bytearray(whole[: int(draws.integers(1, len(whole) + 1))])
        for at in draws.integers(0, len(content), 4):
            content[at] = int(draws.integers(256))
        with suppress(Damaged, UnsupportedPicture):
            assert decode(bytes(content), channels=3).mode == "RGB"
