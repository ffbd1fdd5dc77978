"""The one place that decodes image files: which formats, how large, and what becomes of modes.

Every failure is Damaged or UnsupportedPicture and says the cause; whoever knows the file adds its
name.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

T = TypeVar("T")
FORMATS: Final = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
"""Pillow's names of what is opened. Its others are not for photographs, and one of them starts
Ghostscript."""
MOST_BYTES: Final = 256 * 2**20
MOST_PIXELS: Final = 100_000_000
MOST_RATIO: Final = 200
"""Of the longer side to the shorter: resizing a sliver to a square crop would take any memory."""

_PNG = b"\x89PNG\r\n\x1a\n"
_STARTS = (b"\xff\xd8\xff", _PNG, b"GIF8", b"BM", b"II*\0", b"MM\0*")
# modes that Pillow turns into RGB and grey by formulas of their own
_CONVERTED = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"})
_CONVERTED_COLOUR = frozenset({"CMYK", "YCbCr", "HSV"})
_NO_RANGE = {"I": "32-bit integers", "F": "floating-point numbers", "LAB": "Lab colours"}
_UNCHECKED = ("BMP", "PPM", "TIFF", "WEBP")  # zeros in place of a lost end are pixels to Pillow
_ZEROS = 512  # bytes, and a twentieth: flat WebP files end with up to 400
_ZEROS_OF_JPEG = 16  # bytes
_ORIENTATION = 0x0112  # EXIF
_BITS, _PHOTOMETRIC = 258, 262  # TIFF: bits per sample, and what they mean
_WHITE_IS_ZERO = 0


class Damaged(Exception):
    """No image, or one that is not whole, and why."""


class UnsupportedPicture(Exception):
    """An image that is not taken as it is, and why."""


def decode(content: bytes, *, channels: int) -> Image:
    """The picture in `content`, RGB or grey (8 bits); Damaged if it is none, UnsupportedPicture if
    it is too large or holds numbers of an unknown range.

    The first frame of an animation. Transparency is dropped and EXIF orientation is not applied,
    as in torchvision's ImageFolder. 16-bit values are divided by 257.
    """
    return _opened(
        content, lambda image: _eight_bits(image).convert("RGB" if channels == 3 else "L")
    )


def decode_mask(content: bytes) -> NDArray[np.uint8]:
    """The labels (H, W) in a picture of one byte a pixel, grey or numbers of a palette; Damaged and
    UnsupportedPicture as of `decode`.
    """
    import numpy as np

    def labels(image: ImageFile) -> NDArray[np.uint8]:
        if image.format in ("JPEG", "WEBP"):
            what = f"it is a {image.format}, which does not keep every label; save it as PNG"
            raise UnsupportedPicture(what)
        if image.mode not in ("L", "P"):
            what = f"a mask has one byte a pixel, this has pixels of Pillow's mode {image.mode}"
            raise UnsupportedPicture(f"{what}; save it in grey or with a palette")
        if image.mode == "L" and not all(_as_stored(tile) for tile in image.tile):
            what = "its grey values are not stored as bytes from 0 for black to 255 for white"
            raise UnsupportedPicture(f"{what}, so labels would change; save it as PNG, 8 bits")
        return np.array(image)

    return _opened(content, labels)


def _opened(content: bytes, use: Callable[[ImageFile], T]) -> T:
    """What `use` makes of the picture in `content`."""
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise Damaged("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd EXIF data and palettes
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check_size(*image.size)
                if image.format == "PNG":
                    _check_png(content)
                elif image.format in ("JPEG", "MPO"):
                    _check_jpeg(content)
                return use(image)
    except UnsupportedPicture:
        raise
    except UnidentifiedImageError as error:
        raise Damaged(f"no known image format{_looks_like(content)}") from error
    except Image.DecompressionBombError as error:
        raise UnsupportedPicture(_too_many_pixels("it has")) from error
    except MemoryError as error:
        raise UnsupportedPicture("it takes more memory than there is") from error
    except Exception as error:  # decoders raise whatever damaged bytes lead them to
        raise Damaged(str(error).strip() or type(error).__name__) from error


def _check_png(content: bytes) -> None:
    """Damaged unless every chunk is what its checksum says, up to the one that ends the file: of
    pixels Pillow looks at none, and takes zeros in place of a lost end for some.
    """
    view, at = memoryview(content), len(_PNG)
    while content[at + 4 : at + 8] != b"IEND":
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        if end + 4 > len(content):
            raise Damaged("the PNG is truncated")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            raise Damaged("the PNG is damaged, a checksum in it is wrong")
        at = end + 4


def _check_jpeg(content: bytes) -> None:
    """Damaged where zeros stand in place of its end: to Pillow they are short codes of pixels."""
    if content.endswith(bytes(_ZEROS_OF_JPEG)) and not _jpeg_ends(content):
        raise Damaged("the JPEG is truncated, zeros are in place of its end")


def _jpeg_ends(content: bytes) -> bool:
    """Whether the end of an image comes behind the last start of pixels: that of a thumbnail comes
    before.
    """
    return content.rfind(b"\xff\xd9") > content.rfind(b"\xff\xda")


def _as_stored(tile: Any) -> bool:
    """Whether Pillow hands on the grey bytes of a file: it stretches those of 2 and 4 bits and of
    anymaps with another maximum, and inverts those whose 0 is white.
    """
    codec, *_, about = tile
    given = about if isinstance(about, tuple) else (about,)
    if codec.startswith("ppm"):
        return bool(given == ("L", 255))
    return codec == "gif" or bool(given[0] == "L")


def remarks(content: bytes) -> Iterator[str]:
    """What `decode` leaves out of this image, where a person might expect otherwise."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            more: Any = image
            if getattr(image, "n_frames", 1) > 1 and image.format not in ("MPO", "TIFF"):
                yield "with an animation, of which the first picture is read"
            elif image.format == "TIFF" and more.n_frames > 1:
                yield "with several pages, of which the first is read"
            if "A" in image.getbands() or "transparency" in image.info:
                yield "with transparent parts, of which the colours below are read"
            if image.getexif().get(_ORIENTATION, 1) not in (0, 1):
                yield "with an EXIF orientation, which is not applied"
            if image.format == "JPEG" and not _jpeg_ends(content):
                yield "with JPEG data that do not end, probably cut off"
            zeros = len(content) - len(content.rstrip(b"\0"))
            if image.format in _UNCHECKED and zeros >= max(_ZEROS, len(content) // 20):
                yield "with nothing but zeros at the end of the file: cut off, or black there"


def looks_like_image(head: bytes) -> bool:
    """Whether a file that begins with `head` (16 bytes) is an image of a format that is opened."""
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    anymap = head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace()
    return webp or anymap or head.startswith(_STARTS)


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise UnsupportedPicture(_too_many_pixels(f"{width:,} x {height:,} are"))
    short, long = sorted((width, height))
    if short < 1:
        raise Damaged("it has no pixels")
    if long > MOST_RATIO * short:
        raise UnsupportedPicture(
            f"{width:,} x {height:,} pixels: one side is more than {MOST_RATIO} times the other; "
            "cut it, or leave it out"
        )


def _too_many_pixels(which: str) -> str:
    return f"{which} more than {MOST_PIXELS // 1_000_000} million pixels; make it smaller"


def _eight_bits(image: Image) -> Image:
    """The same with 8 bits a channel, where it has more and their range is known."""
    if _sixteen_bits(image):
        import numpy as np
        from PIL.Image import fromarray

        values = np.asarray(image).astype(np.uint32)
        if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            values = 65535 - values
        return fromarray(((values + 128) // 257).astype(np.uint8))
    mode = image.mode
    if mode in _CONVERTED_COLOUR:
        return image.convert("RGB")
    if mode not in _CONVERTED:
        what = _NO_RANGE.get(mode, f"pixels of Pillow's mode {mode}")
        raise UnsupportedPicture(
            f"it holds {what}, whose range is not known; save it with 8 or 16 bits"
        )
    return image


def _sixteen_bits(image: Image) -> bool:
    """Whether it is grey with values of 0 to 65,535."""
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS, (1,))
        if image.mode.startswith("I;16") and tuple(bits) != (16,):
            raise UnsupportedPicture(f"it has {bits[0]} bits a pixel; save it with 8 or 16 bits")
    # anymaps of more than 8 bits are read as 32-bit integers that go up to 65,535
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")


def _looks_like(content: bytes) -> str:
    """What a file that is no image may be instead."""
    head = content[:512].lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        return ": a pointer of Git LFS, run `git lfs pull`"
    if head.startswith((b"<!doctype html", b"<html")):
        return ": an HTML page"
    return ""
