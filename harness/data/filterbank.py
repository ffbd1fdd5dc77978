"""Log-mel filter banks as Kaldi computes them: what spectrogram transformers see of a sound.

Written here, because AST asks for what Kaldi and its ports in C++ refuse: 128 filters at 16 kHz,
of which the lowest are narrower than a line of the spectrum and so hold none. Where those agree
to compute (tests), the values are theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOW_MS: Final = 25
SHIFT_MS: Final = 10
PREEMPHASIS: Final = 0.97
LOWEST: Final = 20.0  # hertz
FLOOR: Final = 2.0**-23  # of an energy, before its logarithm
PADDING: Final = 0.0
"""What stands behind the last window, before normalisation (AST, as released)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterBank:
    """Kaldi's filter bank with the settings of AST (arXiv 2104.01778, as released): a Hanning
    window of 25 ms every 10 ms, no dither, no energy. The rest is Kaldi's default: the offset of
    each window removed, pre-emphasis 0.97, power spectrum of the next power of two, triangles on
    the mel scale from 20 Hz to half the rate, natural logarithm of at least 2^-23.
    """

    rate: int  # samples a second
    bins: int  # mel filters
    frames: int  # windows: more are cut off, fewer are padded with `PADDING`

    def __call__(self, samples: NDArray[np.float32], *, where: str) -> NDArray[np.float32]:
        """(bins, frames), the lowest bin first, of samples (N,) in [-1, 1], less their mean.

        DataError, which begins with `where`, where there is not one whole window.
        """
        import numpy as np

        length, shift = (self.rate * ms // 1000 for ms in (WINDOW_MS, SHIFT_MS))
        if len(samples) < length:
            raise DataError(
                f"{where}: {len(samples)} samples at {self.rate:,} a second, one window of "
                f"{WINDOW_MS} ms has {length}: too short; remove it, or get it again"
            )
        exact = samples.astype(np.float64)
        cut = np.lib.stride_tricks.sliding_window_view(exact - exact.mean(), length)
        windows = cut[::shift][: self.frames]
        windows = windows - windows.mean(axis=1, keepdims=True)
        before = np.concatenate([windows[:, :1], windows[:, :-1]], axis=1)
        shape, weights = _tables(self.rate, self.bins, length)
        size = 2 * weights.shape[1]
        spectrum = np.fft.rfft((windows - PREEMPHASIS * before) * shape, size)[:, :-1]
        energies = (spectrum.real**2 + spectrum.imag**2) @ weights.T
        padded = np.full((self.bins, self.frames), PADDING, np.float32)
        padded[:, : len(energies)] = np.log(np.maximum(energies, FLOOR)).T
        return padded


@cache
def _tables(rate: int, bins: int, length: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The window's shape (length,), and the filters over the lines of a spectrum, (bins, lines),
    without the highest line.
    """
    import numpy as np

    shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))
    lines = 2 ** (math.ceil(math.log2(length)) - 1)
    edges = np.linspace(_mel(LOWEST), _mel(rate / 2), bins + 2)[:, None]
    mel = _mel(np.arange(lines) * rate / (2 * lines))
    rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    return shape, np.maximum(np.minimum(rising, falling), 0)


def _mel(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    import numpy as np

    return np.asarray(1127 * np.log1p(np.asarray(hertz) / 700), np.float64)
