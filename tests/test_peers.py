"""The benchmarks beside other measures: what they make of results, and the measures that are installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import accuracy
import inference
import inference_limits
import numpy as np
import pytest
import rated_sets
import scipy.io
import soundfile
from peers import PEERS, SAMPLING_RATE

from jsqa_hf import load_default

MODULES = {"dnsmos": "speechmos", "distillmos": "distillmos", "pesq": "pesq"}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_measures_hear_noise(name: str) -> None:
    pytest.importorskip(MODULES[name])
    clean = inference.make_speech(3.0, 1)[1][0]
    noise = np.random.default_rng(0).normal(0, 0.3 * np.abs(clean).max(), len(clean))
    noisy = (clean + noise).astype(np.float32)
    peer = PEERS[name].load("", 1)
    for scores in peer.rate([clean, noisy], [clean, clean]).values():
        assert scores.shape == (2,)
        assert scores[0] > scores[1]
    assert (peer.parameters is None) == (PEERS[name].runtime == "signal")


def test_a_trial_never_replaces_the_results_and_unknown_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--limit .* another --output_dir"):
        accuracy.main(["--limit=3", "--peers", "dnsmos"])
    with pytest.raises(ValueError, match="--peers has no dnsmoss: there are jsqa, .*dnsmos"):
        accuracy.main(["--peers", "dnsmoss", f"--output_dir={tmp_path}"])


def test_measures_have_licences() -> None:
    assert all(peer.licence and peer.title for peer in PEERS.values())


def test_speech_of_the_benchmark() -> None:
    noisy, clean = inference.make_speech(2.5, 3)
    assert [len(clip) for clip in noisy + clean] == [int(2.5 * SAMPLING_RATE)] * 6
    assert not np.array_equal(clean[0], clean[1])
    assert np.std(noisy[0] - clean[0]) == pytest.approx(0.01, rel=0.05)
    assert np.array_equal(noisy[2], inference.make_speech(2.5, 3)[0][2])


def test_the_best_of_the_rounds_counts() -> None:
    rounds = [{"3 s x 1": 0.02, "files_per_s": 10.0}, {"3 s x 1": 0.01, "files_per_s": 8.0}]
    assert inference.merge(rounds) == {"3 s x 1": 0.01, "files_per_s": 10.0}


def test_tables_of_speed() -> None:
    measured = {
        "speed, threads=1": {"3 s x 1": 0.0123, "files_per_s": 7.0},
        "first": {"start_up_s": 3.0},
        "memory": {"loaded_mib": 100.0, "peak_mib": 300.0},
    }
    results = {"jsqa": measured, "nisqa": {"error": "no weights"}}
    text = inference.as_markdown([results], {"machine": "a machine", "lines": ["share"]}, quick=True)
    assert "| JSQA, PyTorch | 0.0123 | 7.0 |" in text
    assert "| JSQA, PyTorch | 3.00 | 100 | 300 |" in text
    assert "Left out: NISQA 2.0 (torchmetrics) (no weights)" in text
    assert "no figures to quote" in text


def test_a_process_measures(tmp_path: Path) -> None:
    pytest.importorskip("pesq")
    inference.write_files(tmp_path, 2)
    options = {"sizes": [[1, 2]], "budget_s": 0.0, "folder": str(tmp_path)}
    speed = inference.work("speed", "pesq", "", 1, json.dumps(options))
    assert sorted(speed) == ["1 s x 2", "files_per_s"]
    assert all(value > 0 for value in speed.values())
    first = inference.work("first", "pesq", "", 1, str(tmp_path / "noisy" / "0001.wav"))
    assert 1.0 < first["score"] < 4.7
    memory = inference.work("memory", "pesq", "", 1, "1")
    assert 0 < memory["loaded_mib"] <= memory["peak_mib"]


def test_a_failing_process_tells_why() -> None:
    with pytest.raises(RuntimeError, match="KeyError: 'nothing'"):
        inference.run_apart("first", "nothing", "", 1, "")


def test_operations_are_those_of_the_parts() -> None:
    import torch

    model = load_default()[0]
    operations = inference_limits.operations_by_part(model, torch.zeros(1, SAMPLING_RATE))
    total = operations.pop("all")
    backbone = model.config.hubert_config
    # Clips that begin later are padded to the same length.
    frames = model.config.averaged_starts * int(model.jsqa._frame_counts(torch.tensor(SAMPLING_RATE)))
    # The rest are the levels: frequencies to mel bands in each window of a frame, and their projection.
    spectra = 2 * (model.jsqa.level_window_length // 2 + 1) * model.config.level_bands * model.config.level_windows
    rest = frames * (spectra + 2 * model.jsqa.level_projection.weight.numel())
    assert sum(operations.values()) + rest == pytest.approx(total, rel=0.01)
    # 2 operations per weight of the two products of every layer.
    per_frame = backbone.num_hidden_layers * 2 * 2 * backbone.hidden_size * backbone.intermediate_size
    assert operations["feed-forward"] == frames * per_frame
    assert model.config.hubert_config._attn_implementation == "sdpa"


def test_agreement() -> None:
    ratings = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 4.5])
    rated = rated_sets.RatedClips([], [], ratings)
    assert accuracy.figures(0.5 * ratings + 1, rated)["rmse_first_order"] == pytest.approx(0.0, abs=1e-9)
    only_ranks = rated_sets.RatedClips([], [], ratings, are_mos=False)
    values = accuracy.figures(np.array([1.0, 2.0, np.nan, 4.0, 5.0, 4.6]), only_ranks)
    assert values == {"srcc": pytest.approx(1.0), "n": 5, "n_unpredicted": 1}


def test_sets_of_the_repository() -> None:
    rated = rated_sets.p835(rated_sets.DATA / "p835", "wb", 4)
    assert len(rated.clips) == len(rated.references) == len(rated.ratings) == 4
    assert all(len(clip) == len(clean) for clip, clean in zip(rated.clips, rated.references, strict=True))
    sweep = rated_sets.noise_sweep(len(rated_sets.SNRS_DB))
    powers = [np.mean((clip - clean) ** 2) for clip, clean in zip(sweep.clips, sweep.references, strict=True)]
    assert list(sweep.ratings) == list(rated_sets.SNRS_DB)
    assert powers == sorted(powers, reverse=True)


def test_tables_of_accuracy() -> None:
    values = {"srcc": 0.9, "pcc": 0.8, "rmse": 0.5, "rmse_first_order": 0.4, "rmse_third_order": 0.3, "n": 26}
    better = {**values, "srcc": 0.95}
    lines = accuracy.table(
        {
            "jsqa": {"scores": {"mos": values}},
            "nisqa": {"scores": {"MOS": better}},
            "pesq": {"error": "no reference"},
        },
        are_mos=True,
    )
    assert (
        lines[2].startswith("| NISQA")
        and lines[3] == "| JSQA, PyTorch | mos | 0.90 | 0.80 | 0.50 | 0.40 | 0.30 | 26 |"
    )
    assert lines[-1] == "Left out: PESQ wideband (no reference)"


def test_the_readme_gives_what_compares_and_marks_no_measure_as_best_where_intervals_overlap() -> None:
    sets = json.loads((accuracy.RESULTS / "accuracy.json").read_text(encoding="utf-8"))["sets"]
    page = (accuracy.RESULTS.parents[1] / "README.md").read_text(encoding="utf-8")
    table = page.partition("| PCC with listeners (RMSE after a line is fitted) | clips |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in table.splitlines()[2:]]
    measures = {"jsqa": "mos", "distillmos": "MOS", "nisqa": "MOS", "dnsmos": "P.808"}
    for name, (count, *cells) in zip(
        ["p835", "p835_fullband", "slotest", "enhancement", "neural_codecs"], rows, strict=True
    ):
        peers = sets[accuracy.SETS[name]]["peers"]
        figures = [peers[peer]["scores"][score] for peer, score in measures.items()]
        assert {one["n"] for one in figures} == {int(count)}
        assert cells == [f"{one['pcc']:.2f} ({one['rmse_first_order']:.2f})" for one in figures]
        intervals = [one["intervals_p1401"]["pcc"] for one in figures]
        assert max(low for low, _ in intervals) < min(high for _, high in intervals)
        if name == "p835":
            *most, last = (f"{low:.2f} to {high:.2f}" for low, high in intervals)
            assert f"{', '.join(most)} and {last}" in " ".join(page.split())


def test_the_readme_tells_what_measures_rated_apart_from_what_listeners_did() -> None:
    peers = json.loads((accuracy.RESULTS / "accuracy.json").read_text())["sets"][accuracy.SETS["simulated"]]["peers"]
    ours, nisqa = (peers[name]["scores"][score]["pcc"] for name, score in (("jsqa", "mos"), ("nisqa", "MOS")))
    rated, losses = (
        json.loads((accuracy.RESULTS / "jsqa-tiny" / f"{name}.json").read_text())["outputs"]["mos"]
        for name in ("simulated", "simulated_losses")
    )
    pages = [(accuracy.RESULTS.parents[1] / name).read_text() for name in ("README.md", "docs/pretraining.md")]
    readme, pretraining = (" ".join(page.split()) for page in pages)
    groups = "+".join(one["group"] for one in rated["residuals"] if one["group"][0] != "(")
    distortions = {name.removesuffix("-unconcealed") for name in groups.split("+")}
    assert (
        "Not rated by listeners: with the mean of PESQ and DistillMOS, which it learned to imitate, PCC is "
        f"{ours:.2f} on 300 simulated clips of unheard speakers under {len(distortions)} distortions (NISQA, which "
        f"did not, {nisqa:.2f}), and {losses['clips']['pcc']:.2f} on 150 with lost packets."
    ) in readme
    assert f"300 simulated clips of unheard speakers, under {len(distortions)} distortions" in pretraining


def test_measures_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)
    monkeypatch.setattr(accuracy, "noise_sweep", lambda limit: rated_sets.p835(rated_sets.DATA / "p835", "wb", limit))
    results = accuracy.measure(accuracy.BenchmarkArguments(peers=["pesq"], limit=2))
    assert results["peers"] == {}


def test_measures_that_are_not_asked_for_keep_their_figures(tmp_path: Path) -> None:
    first, second = accuracy.SETS["p835"], accuracy.SETS["slotest"]

    def results(name: str, sets: tuple[str, ...] = (second, first)) -> dict:
        return {"peers": {name: {"size": 1}}, "sets": {one: {"peers": {name: {"scores": {}}}} for one in sets}}

    path = tmp_path / "accuracy.json"
    assert accuracy.with_earlier(results("jsqa"), path) == results("jsqa")
    path.write_text(json.dumps(results("pesq"), sort_keys=True))
    merged = accuracy.with_earlier(results("jsqa"), path)
    assert list(merged["peers"]) == list(merged["sets"][first]["peers"]) == ["pesq", "jsqa"]
    of_one = accuracy.with_earlier(results("jsqa", (first,)), path)["sets"]
    assert list(of_one) == [first, second] and list(of_one[second]["peers"]) == ["pesq"]
    assert list(of_one[first]["peers"]) == ["pesq", "jsqa"]


def test_simulated_clips_are_not_rated_by_what_labelled_them(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, SAMPLING_RATE), SAMPLING_RATE)
    (tmp_path / "mapped.csv").write_text("file,mos\na.wav,2.5\n")
    arguments = accuracy.BenchmarkArguments(peers=["pesq"], sets=["simulated"], simulated=str(tmp_path / "mapped.csv"))
    (rated,) = accuracy.make_sets(arguments).values()
    assert rated.ratings.tolist() == [2.5] and not rated.references and "pesq" in rated.made_by
    assert all(not of_set["peers"] for of_set in accuracy.measure(arguments)["sets"].values())
    with pytest.raises(ValueError, match="no tencent"):
        accuracy.make_sets(accuracy.BenchmarkArguments(sets=["tencent"]))


def test_speed_comes_from_the_last_run_that_has_it(tmp_path: Path) -> None:
    runs = [{"jsqa": {"speed, threads=1": {"10 s x 1": 0.1}}, "pesq": {"first": {}}}]
    runs += [{"jsqa": {"speed, threads=1": {"10 s x 1": 0.2}}, "nisqa": {"speed, threads=1": {"10 s x 1": 0.3}}}]
    (tmp_path / "inference.json").write_text(json.dumps({"runs": runs}))
    assert accuracy.real_time_factors(tmp_path / "inference.json") == {"jsqa": 0.2, "nisqa": 0.3}
    assert accuracy.real_time_factors(tmp_path / "missing.json") == {}


def write_tone(path: Path, seconds: float, rate: int = 24000) -> None:
    """Stereo, as the clips of the listening tests are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.1 * np.sin(np.arange(int(seconds * rate)) * 0.1)
    soundfile.write(path, np.stack([tone, tone], 1), rate)


def test_the_page_of_scoring_compares_first_scores_within_a_run() -> None:
    first, *_ = json.loads((accuracy.RESULTS / "inference.json").read_text())["runs"]
    ours, alone, theirs = (first[name]["first"]["start_up_s"] for name in ("jsqa", "jsqa-onnx-alone", "distillmos"))
    assert (
        "In the first of those runs the first score came later than DistillMOS's from Python, where torch and "
        f"transformers are imported ({ours:.1f} against {theirs:.1f} s), and earlier on the command line "
        f"({alone:.1f} s)."
    ) in " ".join((accuracy.RESULTS.parent / "scoring.md").read_text(encoding="utf-8").split())


def test_clips_of_the_test_of_neural_codecs(tmp_path: Path) -> None:
    rows = ["signal,condition,ratings,participant_ids,file"]
    for signal in ("one", "two"):
        for condition, votes, seconds in (("Lyra 3", "[20.0, 30.0]", 0.5), ("Reference", "[100.0, 100.0]", 0.4)):
            write_tone(tmp_path / "audio" / signal / f"{condition}.wav", seconds)
            rows.append(f'{signal},{condition},"{votes}","[1, 2]",{signal}/{condition}.wav')
        rows.append(f'{signal},Anchor,"[0.0, 0.0]","[1, 2]",')
    (tmp_path / "ratings_formated_filtered.csv").write_text("\n".join(rows) + "\n")
    rated = rated_sets.neural_codecs(str(tmp_path), None)
    assert rated.ratings.tolist() == [2.0, 2.0]
    assert [len(clip) for clip in rated.clips] == [len(clip) for clip in rated.references] == [6400, 6400]
    assert len(rated_sets.neural_codecs(str(tmp_path), 1).clips) == 1


def test_clips_of_the_test_of_enhanced_speech(tmp_path: Path) -> None:
    audio = tmp_path / "gui" / "configs" / "resources" / "audio"
    votes = np.zeros((7, 6, 3))
    for column, noise in enumerate(rated_sets.NOISES):
        # Systems with and without the enhancement of magnitudes were rated on two sentences each.
        for half, talker in enumerate(("a", "b")):
            write_tone(audio / f"{talker}{column}-clean.wav", 0.3)
            for row, system in list(enumerate(rated_sets.ENHANCED))[3 * half : 3 * half + 3]:
                write_tone(audio / f"{talker}{column}-{noise}-{system}.wav", 0.3 + 0.01 * row)
                votes[row, column] = [10 * row, 10 * row, 10 * row + 3 * column]
    (tmp_path / "matlab").mkdir()
    scipy.io.savemat(tmp_path / "matlab" / "icpr_mushra_data.mat", {"data": votes})
    rated = rated_sets.enhanced_speech(str(tmp_path), None)
    expected = [1 + (10 * row + column) / 25 for row in range(6) for column in range(6)]
    assert rated.ratings == pytest.approx(np.array(expected))
    assert {len(clip) for clip in rated.clips} == {4800}
