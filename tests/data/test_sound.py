"""Decoding, resampling and filter banks: against sines, a port of Kaldi, and its definition in
float64.
"""

from __future__ import annotations

import io
import math
from typing import Any

import kaldi_native_fbank
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from harness.data.filterbank import PADDING, FilterBank
from harness.data.sound import decode, resampled
from harness.errors import DataError

EPSILON = 2.0**-23


def sine(rate: int, seconds: float = 0.5, hertz: float = 440.0) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def encoded(samples: Any, rate: int, kind: str = "WAV", **more: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, **more)
    return stream.getvalue()


def kaldi(samples: NDArray[Any], rate: int, bins: int) -> NDArray[np.float64]:
    """Kaldi's filter bank (feature-window.cc, mel-computations.cc), one window at a time in
    float64: (windows, bins).
    """
    length, shift = rate * 25 // 1000, rate * 10 // 1000
    size = 2 ** math.ceil(math.log2(length))

    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    low, high = mel(20), mel(rate / 2)
    step = (high - low) / (bins + 1)
    weights = np.zeros((bins, size // 2))
    for one in range(bins):
        left, centre, right = (low + (one + k) * step for k in range(3))
        for line in range(size // 2):
            here = mel(line * rate / size)
            if left < here < right:
                up = (here - left) / (centre - left)
                weights[one, line] = up if here <= centre else (right - here) / (right - centre)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))
    x = np.asarray(samples, np.float64)
    x = x - x.mean()
    rows = []
    for start in range(0, len(x) - length + 1, shift):
        frame = x[start : start + length].copy()
        frame -= frame.mean()
        emphasised = frame.copy()
        emphasised[1:] -= 0.97 * frame[:-1]
        emphasised[0] -= 0.97 * frame[0]
        spectrum = np.abs(np.fft.rfft(emphasised * window, size)) ** 2
        rows.append(np.log(np.maximum(weights @ spectrum[: size // 2], EPSILON)))
    return np.stack(rows)


@pytest.mark.parametrize(("rate", "bins"), [(8000, 64), (16_000, 128), (16_000, 40)])
def test_filter_banks_are_kaldis(rate: int, bins: int) -> None:
    draws = np.random.default_rng(0)
    noise = draws.normal(0, 0.1, rate // 3) + sine(rate, 1 / 3 + 1 / rate)[: rate // 3] + 0.2
    samples = noise.astype(np.float32)
    expected = kaldi(samples, rate, bins)
    found = FilterBank(rate=rate, bins=bins, frames=len(expected))(samples, where="it")
    assert found.shape == (bins, len(expected))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.T, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("rate", "bins"), [(8000, 64), (16_000, 80)])
@pytest.mark.parametrize("what", ["noise", "click", "sine"])
def test_filter_banks_are_those_of_a_port_of_kaldi(rate: int, bins: int, what: str) -> None:
    """`kaldi-native-fbank`, set as AST says; it knows no 128 bins at this rate."""
    samples = {
        "noise": np.random.default_rng(2).normal(0, 0.1, rate // 4),
        "click": np.eye(1, rate // 4, 700)[0],
        "sine": sine(rate, 0.25),
    }[what].astype(np.float32)
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = rate
    options.frame_opts.window_type = "hanning"
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = bins
    options.htk_compat, options.use_energy = True, False
    assert (options.frame_opts.frame_length_ms, options.frame_opts.frame_shift_ms) == (25, 10)
    assert (options.frame_opts.preemph_coeff, options.mel_opts.low_freq) == (
        pytest.approx(0.97),
        20,
    )
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(rate, (samples - samples.mean()).tolist())
    bank.input_finished()
    theirs = np.stack([bank.get_frame(one) for one in range(bank.num_frames_ready)])
    ours = FilterBank(rate=rate, bins=bins, frames=len(theirs))(samples, where="it").T
    audible = np.exp(theirs) > 1e-4  # below, 32 bits of theirs are noise
    np.testing.assert_allclose(ours[audible], theirs[audible], atol=1e-4, rtol=0)
    assert audible.mean() > (0.9 if what == "noise" else 0.05)


def test_filters_that_hold_no_line_are_at_the_floor() -> None:
    noise = np.random.default_rng(3).normal(0, 0.1, 4000).astype(np.float32)
    found = FilterBank(rate=16_000, bins=128, frames=20)(noise, where="it")
    empty = (found == np.float32(math.log(EPSILON))).all(axis=1)
    assert empty.sum() == (kaldi(noise, 16_000, 128) == math.log(EPSILON)).all(axis=0).sum() > 0
    assert empty[:30].sum() == empty.sum()  # the narrow ones, at the bottom


def test_a_click_and_its_silence_are_kaldis_too() -> None:
    samples = np.zeros(2000, np.float32)
    samples[700] = 1.0
    expected = kaldi(samples, 8000, 64)
    found = FilterBank(rate=8000, bins=64, frames=len(expected))(samples, where="it")
    np.testing.assert_allclose(found.T, expected, atol=1e-4, rtol=0)


def test_short_clips_are_padded_and_long_ones_cut() -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, 4000).astype(np.float32)
    windows = 1 + (4000 - 200) // 80
    whole = FilterBank(rate=8000, bins=20, frames=windows)(samples, where="it")
    padded = FilterBank(rate=8000, bins=20, frames=windows + 3)(samples, where="it")
    assert (padded[:, windows:] == PADDING).all()
    np.testing.assert_array_equal(padded[:, :windows], whole)
    cut = FilterBank(rate=8000, bins=20, frames=10)(samples, where="it")
    np.testing.assert_array_equal(cut, whole[:, :10])


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_silence_is_the_floor(level: float) -> None:
    samples = np.full(1000, level, np.float32)
    found = FilterBank(rate=8000, bins=20, frames=5)(samples, where="it")
    np.testing.assert_allclose(found, math.log(EPSILON), rtol=1e-6)


def test_less_than_a_window_is_told() -> None:
    bank = FilterBank(rate=8000, bins=20, frames=5)
    with pytest.raises(
        DataError, match=r"it: 199 samples .*one window of 25 ms has 200.*too short"
    ):
        bank(np.zeros(199, np.float32), where="it")
    assert bank(np.zeros(200, np.float32), where="it").shape == (20, 5)


@pytest.mark.parametrize(
    ("kind", "more", "near"),
    [
        ("WAV", {"subtype": "FLOAT"}, 1e-6),
        ("WAV", {"subtype": "PCM_16"}, 1e-4),
        ("WAV", {"subtype": "PCM_U8"}, 1e-2),
        ("FLAC", {}, 1e-4),
        ("OGG", {}, 0.05),
    ],
)
def test_wav_flac_and_ogg_are_read(kind: str, more: dict[str, str], near: float) -> None:
    wanted = sine(8000)
    found = decode(encoded(wanted, 8000, kind, **more), rate=8000, where="it")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=near)


@pytest.mark.parametrize(
    ("kind", "more"), [("WAV", {"endian": "BIG"}), ("RF64", {}), ("WAV", {"subtype": "FLOAT"})]
)
def test_other_kinds_of_wav_are_the_same_sound(kind: str, more: dict[str, str]) -> None:
    found = decode(encoded(sine(16_000), 16_000, kind, **more), rate=16_000, where="it")
    assert np.abs(found - sine(16_000)).max() < 1e-4


def test_floats_may_lie_beyond_full_scale() -> None:
    found = decode(encoded(4 * sine(16_000), 16_000, subtype="FLOAT"), rate=16_000, where="it")
    assert found.max() == pytest.approx(2, rel=1e-3)


def test_channels_are_averaged() -> None:
    left, right = sine(8000), sine(8000, hertz=300)
    both = encoded(np.stack([left, right], axis=1), 8000, subtype="FLOAT")
    found = decode(both, rate=8000, where="it")
    np.testing.assert_allclose(found, (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("source", [44_100, 48_000, 22_050, 11_025, 8000])
def test_another_rate_is_the_same_sound(source: int) -> None:
    found = decode(encoded(sine(source), source, subtype="FLOAT"), rate=16_000, where="it")
    wanted = sine(16_000)
    assert len(found) == len(wanted)
    np.testing.assert_allclose(found[800:-800], wanted[800:-800], atol=2e-3)


def test_what_is_too_high_for_a_rate_goes_away() -> None:
    high = sine(44_100, hertz=12_000).astype(np.float32)
    assert np.abs(resampled(high, 44_100, 16_000)[400:-400]).max() < 5e-3


WAV = encoded(sine(8000), 8000)


def at_rate(rate: int) -> bytes:
    """Its header says so."""
    return WAV[:24] + rate.to_bytes(4, "little") + WAV[28:]


def endless() -> bytes:
    """A FLAC file of 2^36 - 1 samples, if its header were right."""
    content = bytearray(encoded(sine(8000), 8000, "FLAC"))
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    return bytes(content)


NOT_FINITE = encoded(np.array([0.0, np.nan, 0.0], np.float32), 8000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "clip.wav: empty"),
        (b"no sound at all, but text", "clip.wav: no WAV, FLAC or Ogg file"),
        (WAV[:-100], "clip.wav: cut off, 100 bytes are missing"),
        (WAV[:60], "clip.wav: cut off"),
        (encoded(sine(8000), 8000, endian="BIG")[:-100], "cut off, 100 bytes are missing"),
        (encoded(sine(8000), 8000, "RF64")[:-100], "cut off, 100 bytes are missing"),
        (
            encoded(sine(8000) * 2**15, 8000, subtype="FLOAT"),
            "clip.wav: holds floating-point samples of up to 16,384, and full scale is 1; divide",
        ),
        (encoded(sine(8000), 8000, "FLAC")[:50], "clip.wav: (cannot be read as sound|holds no)"),
        (encoded(np.zeros(0), 8000), "clip.wav: holds no sample"),
        (at_rate(2**31 - 1), "clip.wav: has 2,147,483,647 samples a second, 1,000 to 400,000 are"),
        (at_rate(1), "clip.wav: has 1 samples a second"),
        (endless(), "clip.wav: its header tells of 68,719,476,735 samples of 1 channel, more than"),
        # libsndfile takes this for MP3, and finds sound in it
        (b"\xff\xfb\x90\x64" + bytes(413) + b"\xff\xfb\x90\x64" + bytes(413), "no WAV, FLAC or"),
        (NOT_FINITE, "clip.wav: holds samples that are no finite numbers"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence(content: bytes, what: str) -> None:
    with pytest.raises(DataError, match=what) as raised:
        decode(content, rate=8000, where="clip.wav")
    assert "\n" not in str(raised.value)
    assert "get it again" in str(raised.value)
