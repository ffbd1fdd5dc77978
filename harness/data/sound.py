"""From the bytes of a sound file to samples: one channel, at the rate that is asked for."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Final

from harness.errors import DataError
from harness.text import count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_RATE: Final = 1_000
MOST_RATE: Final = 400_000
"""Samples a second: beyond these a header is damaged, and resampling would take any time."""
MOST_SAMPLES: Final = 2**28  # of all channels together: 1 GiB
MOST_LEVEL: Final = 16.0
"""Full scales: mixing adds up to a few, and integers written as floats go to thousands."""
_AGAIN: Final = "get it again, or convert it to WAV"
_BEGINNINGS: Final = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS")
_UNKNOWN_LENGTH: Final = (0, 0xFFFFFFFF)  # what programs write that cannot go back to the header


def decode(content: bytes, *, rate: int, where: str) -> NDArray[np.float32]:
    """The samples of a WAV, FLAC or Ogg file, in [-1, 1], (N,): the mean of its channels, resampled
    to `rate` per second (polyphase, with scipy's own filter).

    Floating-point samples may lie a little beyond. DataError, which begins with `where`, where it
    is empty, damaged, cut off, of another scale, or no sound.
    """
    samples, own_rate = _read(content, where)
    return resampled(samples.mean(axis=1), own_rate, rate)


def resampled(samples: NDArray[np.float32], source: int, target: int) -> NDArray[np.float32]:
    """From `source` samples a second to `target`; the same where they are equal."""
    import numpy as np

    if source == target:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(source, target)
    wanted = resample_poly(samples.astype(np.float64), target // common, source // common)
    return np.asarray(wanted, np.float32)


def _read(content: bytes, where: str) -> tuple[NDArray[np.float32], int]:
    """Samples (N, channels), and how many a second."""
    import numpy as np

    try:
        import soundfile
    except OSError as error:  # its library, which some systems lack
        raise DataError(f"sound cannot be read here ({error}): install libsndfile") from error
    if not content:
        raise DataError(f"{where}: empty; {_AGAIN}")
    if not content.startswith(_BEGINNINGS):  # libsndfile takes much for MP3, and finds noise in it
        raise DataError(f"{where}: no WAV, FLAC or Ogg file; {_AGAIN}")
    lacking = _lacking(content)
    if lacking:
        raise DataError(f"{where}: cut off, {lacking:,} bytes are missing; {_AGAIN}")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            rate = int(sound.samplerate)
            if not LEAST_RATE <= rate <= MOST_RATE:
                raise DataError(
                    f"{where}: has {rate:,} samples a second, {LEAST_RATE:,} to {MOST_RATE:,} are "
                    f"read; {_AGAIN}"
                )
            if sound.frames * sound.channels > MOST_SAMPLES:
                raise DataError(
                    f"{where}: its header tells of {sound.frames:,} samples of "
                    f"{count(sound.channels, 'channel')}, more than {MOST_SAMPLES:,} in all; "
                    f"{_AGAIN}, or cut it"
                )
            samples = sound.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        why = str(error).rpartition(": ")[2].rstrip(".") or type(error).__name__
        raise DataError(f"{where}: cannot be read as sound ({why}); {_AGAIN}") from error
    if not len(samples):
        raise DataError(f"{where}: holds no sample; {_AGAIN}")
    if not np.isfinite(samples).all():
        raise DataError(f"{where}: holds samples that are no finite numbers; {_AGAIN}")
    if (level := float(np.abs(samples).max())) > MOST_LEVEL:
        raise DataError(
            f"{where}: holds floating-point samples of up to {level:,.0f}, and full scale is 1; "
            "divide them by theirs (32,768 for 16 bits), or get it again"
        )
    return samples, rate


def _lacking(content: bytes) -> int:
    """Bytes by which a WAV file is shorter than its header says, which libsndfile passes over."""
    kind = content[:4]
    if kind in (b"RIFF", b"RIFX"):
        length = int.from_bytes(content[4:8], "little" if kind == b"RIFF" else "big")
    elif kind == b"RF64" and content[12:16] == b"ds64":  # EBU Tech 3306: a length of 64 bits
        length = int.from_bytes(content[20:28], "little")
    else:
        return 0
    return 0 if length in _UNKNOWN_LENGTH else max(0, length + 8 - len(content))
