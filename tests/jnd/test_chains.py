from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
import pytest
from numpy.typing import NDArray

from jsqa_hf.jnd import SNR_THRESHOLD, JNDPairGenerator, Threshold, make_distortion, registered_distortions
from jsqa_hf.jnd.chains import BACKGROUND_SHARE, draw_mild_severity
from jsqa_hf.jnd.distortions import AdditiveNoise, Distorted, Distortion, Draw, Stage, register


class Hum(Distortion):
    """A tone at a level relative to full scale; the simplest distortion there can be."""

    name = "hum"
    summary = "a tone; severity: its level in dB"
    stage = Stage.TERMINAL
    threshold = Threshold("level of the hum", "dB", 2.0, 6.0, "a test", assumption=True)
    severity_range = (-60.0, -20.0)

    def draw(self, rng: np.random.Generator, length: int, sampling_rate: int) -> Draw:
        frequency = float(rng.uniform(50, 500))
        return Draw(np.sin(2 * np.pi * frequency * np.arange(length) / sampling_rate), {"hum_hz": frequency})

    def distort(
        self, speech: NDArray[np.float64], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        return [Distorted(speech + 10 ** (level / 20) * draw.values, {"hum_db": level}) for level in severities]


class Halving(Hum):
    """Sets the level."""

    name = "halving"
    stage = Stage.LEVEL
    sets_level = True

    def distort(
        self, speech: NDArray[np.float64], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        return [Distorted(speech * 10 ** (level / 20), {}) for level in severities]


def test_links_are_applied_in_the_order_of_their_stages_and_one_is_varied(
    speech: datasets.Dataset, noise: datasets.Dataset
) -> None:
    generator = JNDPairGenerator(distortions=[[Hum(), AdditiveNoise(noise)]], encoding="array")
    batch = {key: [value[0]] * 40 for key, value in speech[:1].items()} | {"repetition": list(range(40))}
    output = generator(batch)
    assert set(output["chain"]) == {"noise+hum"}
    assert set(output["distortion"]) == {"noise", "hum"}
    for varied, severities, snrs_db, provenance in zip(
        output["distortion"], output["severity"], output["snr_db"], output["provenance"], strict=True
    ):
        links = {link["distortion"]: link for link in json.loads(provenance)["chain"]}
        assert links[varied]["severity"] == severities and len(set(severities)) == 4
        (background,) = {"noise", "hum"} - {varied}
        assert len(links[background]["severity"]) == 1
        assert len(snrs_db) == 4 and (len(set(snrs_db)) == 1) == (varied == "hum")
        # The mildest third, counted in JNDs, of -5 to 40 dB SNR and of -60 to -20 dB of hum.
        (mild,) = links[background]["severity"]
        mildest = SNR_THRESHOLD.position([-5.0, 40.0]) @ [1 / 3, 2 / 3]
        assert SNR_THRESHOLD.position(mild) >= mildest if background == "noise" else mild <= -60 + 40 / 3


def test_each_ladder_draws_one_of_several_chains(speech: datasets.Dataset, noise: datasets.Dataset) -> None:
    generator = JNDPairGenerator(distortions=[Hum(), AdditiveNoise(noise), [Hum(), AdditiveNoise(noise)]])
    batch = {key: [value[0]] * 60 for key, value in speech[:1].items()} | {"repetition": list(range(60))}
    output = generator(batch)
    counts = {chain: output["chain"].count(chain) for chain in set(output["chain"])}
    assert set(counts) == {"hum", "noise", "noise+hum"} and min(counts.values()) >= 10
    for chain, snrs_db, noise_id in zip(output["chain"], output["snr_db"], output["noise_id"], strict=True):
        assert (snrs_db is None) == (noise_id is None) == (chain == "hum")


def test_severities_in_jnds_tell_pairs_from_levels(speech: datasets.Dataset) -> None:
    output = JNDPairGenerator(distortions=[Hum()], levels=3)(speech[:])
    assert output["severity_unit"] == ["dB"] * len(speech)
    for ladder in output["severity_jnd"]:
        positions = np.reshape(ladder, (3, 2))
        assert np.abs(np.diff(positions, axis=1)).max() <= 1 + 1e-9
        assert min(np.abs(positions[i][:, None] - positions[j]).min() for i in range(3) for j in range(i)) >= 3 - 1e-9


def test_distortions_that_set_the_level_keep_it(speech: datasets.Dataset) -> None:
    output = JNDPairGenerator(distortions=[Halving()])(speech[:])
    for severities, levels_dbov in zip(output["severity"], output["level_dbov"], strict=True):
        np.testing.assert_allclose(np.array(levels_dbov) - severities, -26.0, atol=1e-4)


def test_the_loudness_tells_nothing_where_a_chain_sets_the_level_once(speech: datasets.Dataset) -> None:
    generator = JNDPairGenerator(distortions=[[make_distortion("level"), make_distortion("clipping")]])
    batch = {key: [value[0]] * 12 for key, value in speech[:1].items()} | {"repetition": list(range(12))}
    output = generator(batch)
    assert set(output["distortion"]) == {"level", "clipping"}
    for varied, levels_dbov, provenance in zip(
        output["distortion"], output["level_dbov"], output["provenance"], strict=True
    ):
        (set_dbov, *others_dbov) = json.loads(provenance)["chain"][0]["severity"]
        if varied == "clipping":
            assert not others_dbov
            np.testing.assert_allclose(levels_dbov, set_dbov, atol=1e-4)
        else:
            assert np.ptp(levels_dbov) > 4


def test_rows_of_other_distortions_go_through_map_and_disk(
    speech: datasets.Dataset, noise: datasets.Dataset, tmp_path: Any
) -> None:
    generator = JNDPairGenerator(distortions=[Hum(), AdditiveNoise(noise)], duration_s=0.5)
    mapped = speech.map(generator, batched=True, features=generator.features, remove_columns=speech.column_names)
    mapped.save_to_disk(tmp_path / "pairs")
    assert list(datasets.load_from_disk(tmp_path / "pairs")) == list(mapped)
    assert len({row["distortion"] for row in mapped}) == 2


@pytest.mark.parametrize("worse", ["lower", "higher"])
def test_positions_in_jnds_rise_towards_the_better(worse: Any, speech: datasets.Dataset) -> None:
    distortion = Hum()
    distortion.worse = worse
    (severities,) = JNDPairGenerator(distortions=[distortion], duration_s=0.5)(speech[:1])["severity"]
    (positions,) = JNDPairGenerator(distortions=[distortion], duration_s=0.5)(speech[:1])["severity_jnd"]
    sign = 1 if worse == "lower" else -1
    np.testing.assert_allclose(np.diff(positions), sign * np.diff(severities) / distortion.threshold.just_noticeable)


@pytest.mark.parametrize("worse", ["lower", "higher"])
def test_background_is_mild(worse: Any, noise: datasets.Dataset) -> None:
    distortion = Hum()
    distortion.worse = worse
    rng = np.random.default_rng(0)
    severities = [draw_mild_severity(rng, distortion) for _ in range(200)]
    bound = 40 * BACKGROUND_SHARE
    assert (min(severities) >= -20 - bound) if worse == "lower" else (max(severities) <= -60 + bound)
    grid = Hum(severity_grid=(-60.0, -50.0, -40.0, -20.0))
    assert {draw_mild_severity(rng, grid) for _ in range(50)} == {-60.0, -50.0}


def test_errors_name_the_distortion_and_the_speech(speech: datasets.Dataset) -> None:
    class Broken(Hum):
        name = "broken"

        def distort(self, *arguments: Any) -> list[Distorted]:
            raise ValueError("cannot be applied")

    with pytest.raises(ValueError, match="no JND pairs for speech '10-20-0000': broken: cannot be applied"):
        JNDPairGenerator(distortions=[Broken()])(speech[:1])


def test_generator_takes_either_noise_or_distortions(noise: datasets.Dataset) -> None:
    for arguments in ({}, {"noise": noise, "distortions": [Hum()]}):
        with pytest.raises(ValueError, match="either noise or distortions"):
            JNDPairGenerator(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one"):
        JNDPairGenerator(distortions=[])
    with pytest.raises(ValueError, match="go with noise"):
        JNDPairGenerator(distortions=[Hum()], jnd_db=2.0)


class TestRegistry:
    def test_names_are_sorted_by_stage(self) -> None:
        stages = [distortion.stage for distortion in registered_distortions().values()]
        assert stages == sorted(stages)

    def test_every_distortion_is_described_by_its_class(self) -> None:
        for name, distortion in registered_distortions().items():
            assert name == distortion.name == name.lower() and " " not in name
            assert distortion.summary and distortion.threshold.source
            low, high = distortion.severity_range
            assert low < high

    def test_material_is_passed_and_asked_for(self, noise: datasets.Dataset) -> None:
        distortion = make_distortion("noise", {"noise": noise}, severity_range=(0.0, 30.0), just_noticeable=2.0)
        assert isinstance(distortion, AdditiveNoise)
        assert distortion.severity_range == (0.0, 30.0)
        assert distortion.threshold.just_noticeable == 2.0
        with pytest.raises(ValueError, match="needs recordings: give noise"):
            make_distortion("noise")
        with pytest.raises(ValueError, match="there is no distortion 'hiss'; there are .*noise"):
            make_distortion("hiss")

    def test_names_are_unique_and_classes_complete(self) -> None:
        class SecondNoise(Hum):
            name = "noise"

        with pytest.raises(ValueError, match="two distortions are called 'noise'"):
            register(SecondNoise)
        with pytest.raises(TypeError, match="Distortion lacks distort"):
            register(Distortion)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"severity_range": (3.0, 1.0)}, "severity_range"),
            ({"severity_range": (0.0, float("nan"))}, "severity_range"),
            ({"severity_grid": ()}, "holds no value"),
            ({"severity_range": (-50, -30), "severity_grid": (-60, -40)}, "has -60, outside"),
            ({"just_noticeable": 7.0}, "just_noticeable < clearly_different"),
        ],
    )
    def test_senseless_options_are_refused(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Hum(**options)


class Careless(Hum):
    """Returns something else than one signal of the same length for each severity."""

    name = "careless"

    def __init__(self, results: slice, samples: slice) -> None:
        super().__init__()
        self.results, self.samples = results, samples

    def distort(
        self, speech: NDArray[np.float64], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        return [Distorted(speech[self.samples], {}) for _ in severities[self.results]]


@pytest.mark.parametrize(
    ("results", "samples", "message"),
    [
        (slice(1), slice(None), r"careless: distort\(\) returned 1 results for 4 severities"),
        (slice(None), slice(5, None), r"careless: distort\(\) made samples of shape"),
    ],
)
def test_a_distortion_that_returns_too_little_is_named(
    speech: datasets.Dataset, results: slice, samples: slice, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        JNDPairGenerator(distortions=[Careless(results, samples)], encoding="array")(speech[:1])
