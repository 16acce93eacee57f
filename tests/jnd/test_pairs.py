from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile
from datasets.distributed import split_dataset_by_node
from datasets.fingerprint import Hasher

from jsqa_hf.data import load_noise
from jsqa_hf.jnd import JNDPairGenerator, active_speech_level, loop_to_length, rms_level

SAMPLING_RATE = 16000


def decode(clip: dict[str, Any]) -> np.ndarray:
    samples, sampling_rate = soundfile.read(io.BytesIO(clip["bytes"]))
    assert sampling_rate == SAMPLING_RATE
    return samples


def rows(dataset: datasets.Dataset | datasets.IterableDataset) -> list[dict[str, Any]]:
    return sorted(dataset, key=lambda row: row["content_id"])


def read(dataset: datasets.Dataset, index: int = 0) -> np.ndarray:
    return soundfile.read(dataset[index]["audio"]["path"])[0]


class TestRows:
    def test_row_has_the_documented_columns_and_2k_clips(
        self, speech: datasets.Dataset, noise: datasets.Dataset
    ) -> None:
        generator = JNDPairGenerator(noise, levels=3, seed=5)
        output = generator(speech[:2])
        assert set(output) == set(generator.features)
        assert all(len(column) == 2 for column in output.values())
        assert output["content_id"] == [f"{speech_id}#0" for speech_id in speech[:2]["speech_id"]]
        assert output["speaker_id"] == speech[:2]["speaker_id"]
        assert len(output["clips"][0]) == len(output["snr_db"][0]) == 6
        assert output["seed"] == [5, 5] and output["sampling_rate"] == [SAMPLING_RATE] * 2
        assert {len(decode(clip)) / SAMPLING_RATE for clip in output["clips"][0]} == {output["duration_s"][0]}
        snrs = np.reshape(output["snr_db"][0], (3, 2))
        assert np.abs(snrs[:, 0] - snrs[:, 1]).max() <= 3
        assert min(np.abs(snrs[i] - snrs[j][::-1]).min() for i in range(3) for j in range(i)) >= 8

    def test_clips_are_equally_loud_and_hold_the_noise_at_the_reported_snr(
        self, speech: datasets.Dataset, noise: datasets.Dataset
    ) -> None:
        noise = noise.select(range(3))  # Those at the rate of the clips.
        output = JNDPairGenerator(noise, snr_range=(-5.0, 30.0), seed=3)(speech[:])
        noises = {row["noise_id"]: read(noise, index) for index, row in enumerate(noise)}
        for index in range(len(speech)):
            clean = read(speech, index)
            start = round(output["noise_offset_s"][index] * SAMPLING_RATE)
            added = loop_to_length(noises[output["noise_id"][index]], start, len(clean))
            columns = (output[name][index] for name in ("clips", "snr_db", "level_dbov"))
            for clip, snr_db, level_dbov in zip(*columns, strict=True):
                samples = decode(clip)
                level = active_speech_level(samples, SAMPLING_RATE).level_dbov
                assert level == pytest.approx(level_dbov, abs=0.05)
                assert level == pytest.approx(output["level_dbov"][index][0], abs=0.05)
                # The two gains by least squares, from nothing but the files.
                (speech_gain, noise_gain), *_ = np.linalg.lstsq(np.stack([clean, added], 1), samples, rcond=None)
                speech_level = active_speech_level(speech_gain * clean, SAMPLING_RATE).level_dbov
                assert speech_level - rms_level(noise_gain * added) == pytest.approx(snr_db, abs=0.05)

    def test_flac_and_array_encodings_hold_the_same_clips(
        self, speech: datasets.Dataset, noise: datasets.Dataset
    ) -> None:
        flac = JNDPairGenerator(noise, encoding="flac")(speech[:])
        array = JNDPairGenerator(noise, encoding="array")(speech[:])
        for encoded, plain in zip(sum(flac.pop("clips"), []), sum(array.pop("clips"), []), strict=True):
            assert plain.dtype == np.float32
            np.testing.assert_allclose(decode(encoded), plain, atol=0.501 / 32768)
        assert flac == array

    def test_repetitions_and_seeds_give_other_ladders_of_the_same_speech(
        self, speech: datasets.Dataset, noise: datasets.Dataset
    ) -> None:
        repeated = {key: [value[0]] * 3 for key, value in speech[:1].items()} | {"repetition": [0, 1, 2]}
        first, again = JNDPairGenerator(noise)(repeated), JNDPairGenerator(noise, seed=1)(repeated)
        speech_id = speech[0]["speech_id"]
        assert first["content_id"] == [f"{speech_id}#0", f"{speech_id}#1", f"{speech_id}#2"]
        assert len({tuple(snrs) for snrs in first["snr_db"] + again["snr_db"]}) == 6

    def test_crop_has_the_duration_and_comes_from_its_offset(
        self, speech: datasets.Dataset, noise: datasets.Dataset
    ) -> None:
        output = JNDPairGenerator(noise, duration_s=0.5, snr_range=(50.0, 70.0), encoding="array")(speech[:])
        assert output["duration_s"] == [0.5] * len(speech)
        assert len(set(output["speech_offset_s"])) > 1
        for index, offset_s in enumerate(output["speech_offset_s"]):
            start = round(offset_s * SAMPLING_RATE)
            excerpt = read(speech, index)[start : start + SAMPLING_RATE // 2]
            assert np.corrcoef(excerpt, output["clips"][index][0])[0, 1] > 0.999

    def test_crops_of_a_mostly_silent_utterance_hold_its_speech(self, noise: datasets.Dataset) -> None:
        rng = np.random.default_rng(0)
        samples = 1e-4 * rng.standard_normal(10 * SAMPLING_RATE)
        samples[4 * SAMPLING_RATE : 7 * SAMPLING_RATE] += 0.1 * rng.standard_normal(3 * SAMPLING_RATE)
        audio = {"array": samples, "sampling_rate": SAMPLING_RATE}
        count = 40
        batch = {
            "audio": [audio] * count,
            "speech_id": ["pauses"] * count,
            "speaker_id": ["x"] * count,
            "repetition": list(range(count)),
        }
        offsets = np.array(JNDPairGenerator(noise, duration_s=1.0)(batch)["speech_offset_s"])
        # Taken blindly, 60 % of the crops would hold less than 0.3 s of the speech.
        assert np.mean((offsets >= 3.25) & (offsets <= 6.75)) > 0.9

    def test_short_utterances_stay_whole(self, speech: datasets.Dataset, noise: datasets.Dataset) -> None:
        output = JNDPairGenerator(noise, duration_s=30.0)(speech[:])
        assert output["speech_offset_s"] == [0.0] * len(speech)
        assert output["duration_s"] == [len(read(speech, index)) / SAMPLING_RATE for index in range(len(speech))]

    def test_level_is_drawn_once_per_ladder_from_its_range(
        self, speech: datasets.Dataset, noise: datasets.Dataset
    ) -> None:
        output = JNDPairGenerator(noise, level_dbov=(-36.0, -26.0), snr_range=(10.0, 40.0))(speech[:])
        assert np.ptp(output["level_dbov"], axis=1).max() < 1e-6
        levels_dbov = [levels[0] for levels in output["level_dbov"]]
        assert all(-36 <= level <= -26 for level in levels_dbov)
        assert len(set(levels_dbov)) == len(speech)

    def test_audio_may_be_a_path_a_struct_bytes_or_an_array_of_another_rate(
        self, speech: datasets.Dataset, noise: datasets.Dataset
    ) -> None:
        path = speech[0]["audio"]["path"]
        samples = read(speech)
        sources = [
            path,
            {"path": path, "bytes": None},
            {"path": None, "bytes": Path(path).read_bytes()},
            {"array": samples, "sampling_rate": SAMPLING_RATE},
            {"array": np.stack([samples, samples]), "sampling_rate": SAMPLING_RATE},
        ]
        batch = {"audio": sources, "speech_id": ["a"] * 5, "speaker_id": ["b"] * 5}
        clips = JNDPairGenerator(noise, encoding="array")(batch)["clips"]
        for ladder in clips[1:]:
            np.testing.assert_allclose(ladder[0], clips[0][0], atol=1e-6)

    def test_other_sampling_rates_are_resampled(self, noise: datasets.Dataset) -> None:
        time = np.arange(3 * 48000) / 48000
        tone = {"array": 0.1 * np.sin(2 * np.pi * 440 * time), "sampling_rate": 48000}
        generator = JNDPairGenerator(noise, snr_range=(50.0, 70.0), encoding="array")
        output = generator({"audio": [tone], "speech_id": ["tone"], "speaker_id": ["a"]})
        clip = output["clips"][0][0]
        assert len(clip) == 3 * SAMPLING_RATE
        assert np.argmax(np.abs(np.fft.rfft(clip))) == 440 * 3


class TestDatasets:
    @pytest.fixture(scope="class")
    def repeated(self, speech: datasets.Dataset) -> datasets.Dataset:
        repetition = [index // len(speech) for index in range(3 * len(speech))]
        return speech.repeat(3).add_column("repetition", repetition)

    @pytest.fixture(scope="class")
    def generator(self, noise: datasets.Dataset) -> JNDPairGenerator:
        return JNDPairGenerator(noise, duration_s=0.6, level_dbov=(-30.0, -20.0))

    @pytest.fixture(scope="class")
    def mapped(self, repeated: datasets.Dataset, generator: JNDPairGenerator) -> datasets.Dataset:
        return repeated.map(
            generator,
            batched=True,
            batch_size=64,
            features=generator.features,
            remove_columns=repeated.column_names,
            load_from_cache_file=False,
        )

    @pytest.mark.parametrize(("num_proc", "batch_size"), [(None, 1), (2, 64), (4, 1)])
    def test_processes_and_batch_sizes_do_not_matter(
        self,
        repeated: datasets.Dataset,
        generator: JNDPairGenerator,
        mapped: datasets.Dataset,
        num_proc: int | None,
        batch_size: int,
    ) -> None:
        other = repeated.map(
            generator,
            batched=True,
            batch_size=batch_size,
            num_proc=num_proc,
            features=generator.features,
            remove_columns=repeated.column_names,
            load_from_cache_file=False,
        )
        assert list(other) == list(mapped)

    def test_order_of_the_rows_does_not_matter(
        self, repeated: datasets.Dataset, generator: JNDPairGenerator, mapped: datasets.Dataset
    ) -> None:
        shuffled = repeated.shuffle(seed=0).map(
            generator, batched=True, features=generator.features, remove_columns=repeated.column_names
        )
        assert rows(shuffled) == rows(mapped)

    def test_streaming_gives_the_same_rows(
        self, repeated: datasets.Dataset, generator: JNDPairGenerator, mapped: datasets.Dataset
    ) -> None:
        streamed = repeated.to_iterable_dataset(num_shards=2).map(
            generator,
            batched=True,
            batch_size=4,
            features=generator.features,
            remove_columns=repeated.column_names,
        )
        assert rows(streamed) == rows(mapped)

    @pytest.mark.parametrize("stop", [1, 5, 12])
    def test_a_resumed_stream_goes_on_with_the_same_rows(
        self, repeated: datasets.Dataset, generator: JNDPairGenerator, mapped: datasets.Dataset, stop: int
    ) -> None:
        def stream() -> datasets.IterableDataset:
            shards = repeated.to_iterable_dataset(num_shards=2)
            return shards.map(generator, batched=True, batch_size=4, features=generator.features)

        interrupted = stream()
        before = [row for _, row in zip(range(stop), interrupted, strict=False)]
        resumed = stream()
        resumed.load_state_dict(interrupted.state_dict())
        columns = mapped.column_names
        assert [{name: row[name] for name in columns} for row in [*before, *resumed]] == list(mapped)

    def test_processes_that_share_a_stream_make_every_row_once(
        self, repeated: datasets.Dataset, generator: JNDPairGenerator, mapped: datasets.Dataset
    ) -> None:
        stream = repeated.to_iterable_dataset(num_shards=4).map(
            generator, batched=True, features=generator.features, remove_columns=repeated.column_names
        )
        shares = [split_dataset_by_node(stream, rank=rank, world_size=2) for rank in range(2)]
        assert sorted((row for share in shares for row in share), key=lambda row: row["content_id"]) == rows(mapped)

    def test_other_epochs_give_other_pairs_of_the_same_speech(
        self, speech: datasets.Dataset, noise: datasets.Dataset
    ) -> None:
        generator = JNDPairGenerator(noise)
        first = generator(speech[:])
        generator.set_epoch(3)
        third = generator(speech[:])
        assert third == JNDPairGenerator(noise, epoch=3)(speech[:])
        assert third["content_id"] == [f"{speech_id}#3.0" for speech_id in speech["speech_id"]]
        assert all(one != other for one, other in zip(first["snr_db"], third["snr_db"], strict=True))

    def test_set_transform_gives_the_same_rows(
        self, repeated: datasets.Dataset, generator: JNDPairGenerator, mapped: datasets.Dataset
    ) -> None:
        on_the_fly = repeated.with_transform(generator)
        assert [on_the_fly[index] for index in range(len(repeated))] == list(mapped)
        assert on_the_fly[3:7] == mapped[3:7]

    def test_array_encoding_survives_map(self, speech: datasets.Dataset, noise: datasets.Dataset) -> None:
        generator = JNDPairGenerator(noise, encoding="array")
        mapped = speech.map(generator, batched=True, features=generator.features, remove_columns=speech.column_names)
        direct = generator(speech[:])["clips"]
        clips = mapped.with_format("numpy")[1]["clips"]
        np.testing.assert_array_equal(np.stack(list(clips)), np.stack(direct[1]))

    def test_pairs_survive_disk_and_parquet(self, mapped: datasets.Dataset, tmp_path: Path) -> None:
        mapped.save_to_disk(tmp_path / "disk")
        mapped.to_parquet(tmp_path / "pairs.parquet")
        from_disk = datasets.load_from_disk(tmp_path / "disk")
        from_parquet = datasets.Dataset.from_parquet(
            str(tmp_path / "pairs.parquet"), cache_dir=str(tmp_path / "cache")
        )
        for loaded in (from_disk, from_parquet):
            assert loaded.features == mapped.features
            assert list(loaded) == list(mapped)

    def test_equal_generators_pickle_and_hash_alike_and_different_ones_do_not(self, noise: datasets.Dataset) -> None:
        generator = JNDPairGenerator(noise, seed=1)
        assert Hasher.hash(generator) == Hasher.hash(JNDPairGenerator(noise, seed=1))
        assert Hasher.hash(generator) == Hasher.hash(pickle.loads(pickle.dumps(generator)))
        assert Hasher.hash(generator) != Hasher.hash(JNDPairGenerator(noise, seed=2))
        assert Hasher.hash(generator) != Hasher.hash(JNDPairGenerator(noise.select([0, 1]), seed=1))

    def test_hash_and_rows_are_the_same_in_another_process(
        self, speech: datasets.Dataset, speech_folder: Path, noise_folder: Path
    ) -> None:
        code = (
            "import sys; from datasets.fingerprint import Hasher; from jsqa_hf.data import *; "
            "from jsqa_hf.jnd import JNDPairGenerator; "
            "generator = JNDPairGenerator(load_noise('folder', sys.argv[2])); "
            "print(Hasher.hash(generator), generator(load_speech('folder', sys.argv[1])[:])['snr_db'])"
        )
        command = [sys.executable, "-c", code, str(speech_folder), str(noise_folder)]
        other_process = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        generator = JNDPairGenerator(load_noise("folder", noise_folder))
        assert f"{Hasher.hash(generator)} {generator(speech[:])['snr_db']}" == other_process


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"levels": 6}, "widen the range"),
            ({"level_dbov": (-20.0, -30.0)}, "level_dbov"),
            ({"level_dbov": 3.0}, "level_dbov"),
            ({"duration_s": 0.0}, "duration_s"),
            ({"speech_level": "loudness"}, "speech_level"),
            ({"encoding": "mp3"}, "encoding"),
            ({"sampling_rate": 0}, "sampling_rate"),
        ],
    )
    def test_arguments_are_checked_when_the_generator_is_made(
        self, noise: datasets.Dataset, arguments: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            JNDPairGenerator(noise, **arguments)

    def test_noise_needs_rows_and_columns(self, noise: datasets.Dataset) -> None:
        with pytest.raises(ValueError, match="empty"):
            JNDPairGenerator([])
        with pytest.raises(ValueError, match="noise_type"):
            JNDPairGenerator(noise.remove_columns("noise_type"))

    def test_single_rows_are_refused(self, speech: datasets.Dataset, noise: datasets.Dataset) -> None:
        with pytest.raises(ValueError, match="a single row, not as a batch: pass batched=True to map"):
            speech.map(JNDPairGenerator(noise))

    def test_speech_without_a_column_is_refused(self, speech: datasets.Dataset, noise: datasets.Dataset) -> None:
        with pytest.raises(ValueError, match="speaker_id"):
            JNDPairGenerator(noise)(speech.remove_columns("speaker_id")[:1])

    @pytest.mark.parametrize(
        ("audio", "message"),
        [
            ({"array": np.zeros(SAMPLING_RATE), "sampling_rate": SAMPLING_RATE}, "silence"),
            ({"array": np.full(SAMPLING_RATE, np.nan), "sampling_rate": SAMPLING_RATE}, "NaN"),
            ({"array": np.zeros(0), "sampling_rate": SAMPLING_RATE}, "no samples"),
            ({"path": "nowhere.wav", "bytes": None}, "nowhere.wav"),
            ({"path": None, "bytes": None}, r"Audio\(decode=False\)"),
            (object(), r"Audio\(decode=False\)"),
        ],
    )
    def test_unusable_speech_is_named(self, noise: datasets.Dataset, audio: Any, message: str) -> None:
        with pytest.raises(ValueError, match=f"'bad one'.*{message}"):
            JNDPairGenerator(noise)({"audio": [audio], "speech_id": ["bad one"], "speaker_id": ["a"]})

    def test_silent_or_unreadable_noise_is_named(self, speech: datasets.Dataset) -> None:
        faint = 1e-5 * np.random.default_rng(0).standard_normal(SAMPLING_RATE)
        for audio, message in (
            ({"array": np.zeros(SAMPLING_RATE), "sampling_rate": SAMPLING_RATE}, "silent"),
            ({"array": faint, "sampling_rate": SAMPLING_RATE}, "silent"),
            ("nowhere.wav", "nowhere.wav"),
        ):
            noise = [{"audio": audio, "noise_id": "hush", "noise_type": "none"}]
            with pytest.raises(ValueError, match=f"'hush'.*{message}"):
                JNDPairGenerator(noise)(speech[:1])

    def test_a_short_sound_in_a_long_silence_is_found(self, speech: datasets.Dataset) -> None:
        samples = np.zeros(600 * SAMPLING_RATE)
        samples[400 * SAMPLING_RATE : 400 * SAMPLING_RATE + 800] = 0.5
        audio = {"array": samples, "sampling_rate": SAMPLING_RATE}
        output = JNDPairGenerator([{"audio": audio, "noise_id": "n", "noise_type": "t"}], duration_s=0.5)(speech[:1])
        assert 399.5 <= output["noise_offset_s"][0] <= 400.05

    def test_silent_stretches_of_a_noise_are_passed_over(self, speech: datasets.Dataset) -> None:
        samples = np.zeros(20 * SAMPLING_RATE)
        samples[: 8 * SAMPLING_RATE] = 0.1 * np.random.default_rng(0).standard_normal(8 * SAMPLING_RATE)
        audio = {"array": samples, "sampling_rate": SAMPLING_RATE}
        output = JNDPairGenerator([{"audio": audio, "noise_id": "n", "noise_type": "t"}])(speech[:])
        assert max(output["noise_offset_s"]) < 8
