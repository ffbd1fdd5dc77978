"""Log-mel filter banks as Kaldi computes them: what spectrogram transformers see of a sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOW_MS: Final = 25
SHIFT_MS: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterBank:
    """Kaldi's filter bank with the settings of AST (arXiv 2104.01778, as released): a Hanning
    window of 25 ms every 10 ms, no dither, no energy; the rest is Kaldi's default (pre-emphasis 0.97, the
    offset of each window removed, power spectrum, mel from 20 Hz to half the rate, natural
    logarithm of at least 2^-23).
    """

    rate: int  # samples a second
    bins: int  # mel filters
    frames: int  # windows: more are cut off, fewer are padded with `PADDING`

    def __call__(self, samples: NDArray[np.float32], *, where: str) -> NDArray[np.float32]:
        """(bins, frames), the lowest bin first, of samples (N,) in [-1, 1], less their mean.

        DataError, which begins with `where`, where there is not one whole window.
        """
        import kaldi_native_fbank as kaldi
        import numpy as np

        window = self.rate * WINDOW_MS // 1000
        if len(samples) < window:
            raise DataError(
                f"{where}: {len(samples)} samples at {self.rate:,} a second, one window of "
                f"{WINDOW_MS} ms has {window}: too short; remove it, or get it again"
            )
        options = kaldi.FbankOptions()
        options.frame_opts.samp_freq = self.rate
        options.frame_opts.frame_length_ms = WINDOW_MS
        options.frame_opts.frame_shift_ms = SHIFT_MS
        options.frame_opts.window_type = "hanning"
        options.frame_opts.dither = 0.0
        options.mel_opts.num_bins = self.bins
        options.htk_compat = True
        options.use_energy = False
        bank = kaldi.OnlineFbank(options)
        centred = samples - samples.mean(dtype=np.float64)
        bank.accept_waveform(self.rate, centred.astype(np.float32).tolist())
        bank.input_finished()
        count = min(bank.num_frames_ready, self.frames)
        padded = np.full((self.bins, self.frames), PADDING, np.float32)
        for index in range(count):
            padded[:, index] = bank.get_frame(index)
        return padded


PADDING: Final = 0.0
"""What stands behind the last window, before normalisation (AST, as released)."""
