"""Log-mel features equal those of their definition, whole or in chunks; masks hide what they may."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longspan.tasks.speech.features import LogMel, Normalizer, SpecAugment

pytest.importorskip("kaldi_native_fbank", reason="kaldi-native-fbank is not installed")


def noise(samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


def mel(frequency: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log(1.0 + frequency / 700.0)


def by_definition(sound: np.ndarray, rate: int, bins: int) -> np.ndarray:
    """Kaldi's features in float64: no offset, pre-emphasis, Povey's window, power, mel filters, logarithm."""
    length, shift = rate // 40, rate // 100
    size = 1 << (length - 1).bit_length()
    frames = np.lib.stride_tricks.sliding_window_view(sound.astype(np.float64) * 32768, length)[::shift]
    frames = frames - frames.mean(1, keepdims=True)
    frames = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))) ** 0.85
    power = np.abs(np.fft.rfft(frames * window, size)) ** 2
    edges = np.linspace(mel(np.array(20.0)), mel(np.array(rate / 2)), bins + 2)
    place = mel(np.arange(size // 2) * rate / size)
    low, center, high = (edges[at : at + bins, None] for at in range(3))
    filters = np.clip(np.minimum((place - low) / (center - low), (high - place) / (high - center)), 0, None)
    return np.log(power[:, : size // 2] @ filters.T)


@pytest.mark.parametrize(("rate", "bins"), [(16000, 80), (8000, 40)])
def test_features_are_those_of_their_definition(rate: int, bins: int) -> None:
    sound = noise(rate)
    features = LogMel(rate, bins)(sound).numpy()
    assert features.shape == (98, bins)
    np.testing.assert_allclose(features, by_definition(sound, rate, bins), atol=2e-3)


def test_chunks_give_the_frames_of_the_whole() -> None:
    sound, log_mel = noise(5000), LogMel(8000, 20)
    stream = log_mel.stream()
    parts = [stream.read(part) for part in np.split(sound, [10, 190, 205, 3000, 3000])]
    assert torch.equal(torch.cat(parts), log_mel(sound))
    assert len(parts[0]) == 0 and len(log_mel(noise(199))) == 0 and len(log_mel(noise(200))) == 1


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100])
def test_a_saved_stream_gives_the_same_frames(rate: int) -> None:
    sound, log_mel = noise(8000), LogMel(rate, 20)
    frames, state = [], torch.zeros(0)
    for part in np.split(sound, [10, 190, 1205, 3000, 3000, 7001]):
        stream = log_mel.stream()
        stream.restore(state)
        frames.append(stream.read(part))
        state = stream.state()
    assert torch.equal(torch.cat(frames), log_mel(sound))


def test_frames_stay_as_they_are_while_others_are_computed() -> None:
    sounds = [noise(4000 + 100 * row) for row in range(30)]
    log_mel = LogMel(8000, 20)
    first = [log_mel(sound).clone() for sound in sounds]
    assert all(torch.equal(log_mel(sound), before) for sound, before in zip(sounds, first, strict=True))
    assert max(float(rows.abs().max()) for rows in first) < 40


def test_another_rate_gives_nearly_the_same_features() -> None:
    pytest.importorskip("soxr", reason="soxr is not installed")
    tone = (0.3 * np.sin(np.arange(16000) * 2 * np.pi * 500 / 16000)).astype(np.float32)
    log_mel = LogMel(8000, 20)
    loud = log_mel(tone[::2]) > 15
    difference = (log_mel(tone, 16000) - log_mel(tone[::2]))[loud]
    assert loud.any() and float(difference.abs().max()) < 0.1


def test_the_training_part_has_mean_0_and_deviation_1() -> None:
    rows = [torch.randn(50, 3) * 4 + 2, torch.randn(9, 3) * 4 + 2]
    normalizer = Normalizer().fit(rows)
    frames = torch.cat([normalizer(part) for part in rows])
    assert torch.allclose(frames.mean(0), torch.zeros(3), atol=1e-2)
    assert torch.allclose(frames.std(0), torch.ones(3), atol=0.05)
    assert float(normalizer(torch.full((1, 3), 1e9)).max()) == 5.0
    restored = Normalizer().restore(normalizer.state())
    assert torch.equal(restored(rows[0]), normalizer(rows[0]))


def test_masks_are_as_wide_as_they_may_be() -> None:
    torch.manual_seed(0)
    x, lengths = torch.ones(200, 50, 40), torch.full((200,), 50)
    bins = 40 - SpecAugment(2, 0.25, 0, 0.0)(x, lengths)[:, 0].sum(1)
    steps = 50 - SpecAugment(0, 0.0, 1, 0.2)(x, lengths)[:, :, 0].sum(1)
    assert 0 <= bins.min() < 5 and 12 < bins.max() <= 20
    assert 0 <= steps.min() < 2 and 8 <= steps.max() <= 10
    assert torch.equal(SpecAugment(0, 0.2, 0, 0.2)(x, lengths), x)


def test_time_masks_follow_the_length_of_each_sound() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([10] * 100 + [100] * 100)
    hidden = SpecAugment(0, 0.0, 1, 0.5)(torch.ones(200, 100, 1), lengths)[:, :, 0] == 0
    assert not hidden[:100, 10:].any() and hidden[:100].sum(1).max() <= 5 < hidden[100:].sum(1).max() <= 50
