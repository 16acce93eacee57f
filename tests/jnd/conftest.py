"""Synthetic speech and noise, small enough to make ladders by the hundred."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile

SAMPLING_RATE = 16000


@pytest.fixture(scope="session")
def speech_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six utterances of 1 to 2 s: noise bursts at syllable rate with pauses, over a faint background."""
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(1)
    for index in range(6):
        time = np.arange(int((1.0 + 0.2 * index) * SAMPLING_RATE)) / SAMPLING_RATE
        syllables = np.clip(np.sin(2 * np.pi * 4 * time), 0, None) * (np.sin(2 * np.pi * 0.7 * time + index) > -0.3)
        samples = 0.1 * syllables * rng.standard_normal(time.size) + 1e-4 * rng.standard_normal(time.size)
        soundfile.write(folder / f"{10 + index}-20-{index:04d}.flac", samples, SAMPLING_RATE)
    return folder


@pytest.fixture(scope="session")
def speech(speech_folder: Path) -> datasets.Dataset:
    files = sorted(speech_folder.glob("*.flac"))
    columns = {
        "audio": [str(file) for file in files],
        "speech_id": [file.stem for file in files],
        "speaker_id": [file.stem.split("-")[0] for file in files],
    }
    return datasets.Dataset.from_dict(columns).cast_column("audio", datasets.Audio(decode=False))


@pytest.fixture(scope="session")
def noise_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four noises, some longer and some shorter than the utterances, one at another sampling rate and in stereo."""
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(2)
    for index, duration_s in enumerate((0.3, 0.9, 4.0)):
        soundfile.write(
            folder / f"hiss{index}.flac", 0.05 * rng.standard_normal(int(duration_s * SAMPLING_RATE)), SAMPLING_RATE
        )
    soundfile.write(folder / "stereo.wav", 0.02 * rng.standard_normal((44100, 2)), 44100)
    return folder


@pytest.fixture(scope="session")
def noise(noise_folder: Path) -> datasets.Dataset:
    files = sorted(noise_folder.iterdir())
    columns = {
        "audio": [str(file) for file in files],
        "noise_id": [file.stem for file in files],
        "noise_type": ["stereo" if file.stem == "stereo" else "hiss" for file in files],
    }
    return datasets.Dataset.from_dict(columns).cast_column("audio", datasets.Audio(decode=False))
