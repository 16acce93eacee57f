"""Pairs that are read while training."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pretrain_contrastive
import pytest
import soundfile
from runs import RATE, assert_same_weights, environment, pretraining, run_command, write_corpus

from jsqa_hf.training import RunArguments, load_pairs

FILES, LADDERS = 4, 8


def clip(level: float) -> dict[str, bytes | None]:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(0).normal(0, level, RATE // 2), RATE, format="FLAC")
    return {"bytes": buffer.getvalue(), "path": None}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parquet files with the columns that stage 1 needs."""
    root = tmp_path_factory.mktemp("pairs")
    (root / "data").mkdir()
    for file in range(FILES):
        rows = {
            "content_id": [f"{file}-{row}" for row in range(LADDERS)],
            "clips": [[clip(0.01 * (1 + row + 2 * level)) for level in (0, 0, 1, 1)] for row in range(LADDERS)],
            "severity_jnd": [[0.0, 0.5, 5.0, 5.5]] * LADDERS,
            "distortion": ["noise"] * LADDERS,
            "chain": ["noise"] * LADDERS,
        }
        table = datasets.Dataset.from_dict(rows).cast_column("clips", datasets.List(datasets.Audio(decode=False)))
        table.to_parquet(root / "data" / f"train-{file:05d}-of-{FILES:05d}.parquet")
    return root


def arguments(tmp_path: Path, **kwargs) -> RunArguments:
    return RunArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none", **{"max_steps": 1, **kwargs})


def test_a_pass_gives_every_ladder_once_and_the_next_pass_another_order(pairs, tmp_path):
    stream = load_pairs(str(pairs), arguments(tmp_path), streaming=True)
    count = FILES * LADDERS
    ids = [row["content_id"] for row in itertools.islice(stream, 2 * count)]
    first, second = ids[:count], ids[count:]
    assert sorted(first) == sorted(second) == [f"{file}-{row}" for file in range(FILES) for row in range(LADDERS)]
    assert first != second
    again = load_pairs(str(pairs), arguments(tmp_path), streaming=True)
    assert [row["content_id"] for row in itertools.islice(again, 2 * count)] == ids
    other = load_pairs(str(pairs), arguments(tmp_path, seed=1), streaming=True)
    assert [row["content_id"] for row in itertools.islice(other, count)] != first


def test_more_rows_than_the_buffer_holds_are_each_given_once(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr("jsqa_hf.training.streaming.SHUFFLE_BUFFER", 5)
    stream = load_pairs(str(pairs), arguments(tmp_path), streaming=True)
    assert len({row["content_id"] for row in itertools.islice(stream, FILES * LADDERS)}) == FILES * LADDERS


def test_a_stream_and_a_table_hold_the_same(pairs, tmp_path):
    table = load_pairs(str(pairs), arguments(tmp_path))
    stream = load_pairs(str(pairs), arguments(tmp_path), streaming=True)
    rows = {row["content_id"]: row for row in itertools.islice(stream, len(table))}
    assert all(rows[row["content_id"]] == row for row in table)


def test_arrays_are_read_as_they_are(tmp_path):
    clips = [[[0.25, -0.5]] * 4] * 2
    datasets.Dataset.from_dict({"clips": clips}).to_parquet(tmp_path / "train-00000-of-00001.parquet")
    assert load_pairs(str(tmp_path), arguments(tmp_path))["clips"][:] == clips
    stream = load_pairs(str(tmp_path), arguments(tmp_path), streaming=True)
    assert [row["clips"] for row in itertools.islice(stream, 2)] == clips


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"dataloader_num_workers": 3}, r"has 4 file\(s\), which 1 process\(es\) of 3 worker\(s\) each can't share"),
        ({"max_steps": -1}, "give --max_steps"),
    ],
)
def test_what_cannot_be_shared_or_never_ends_is_refused(kwargs, message, pairs, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_pairs(str(pairs), arguments(tmp_path, **kwargs), streaming=True)


def test_what_is_no_table_of_pairs_is_refused(tmp_path):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "ratings.csv").write_text("file,mos\na.wav,3\n")
    datasets.Dataset.from_dict({"file": ["a.wav"]}).save_to_disk(tmp_path / "arrow")
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "train.csv").write_text("a,b\n1,2\n")
    (tmp_path / "mixed" / "train2.csv").write_text("c\n1\n")
    for name, message in (("csv", "no column `clips`"), ("arrow", "no column `clips`"), ("mixed", "can't be read")):
        with pytest.raises(ValueError, match=message):
            load_pairs(str(tmp_path / name), arguments(tmp_path))


def test_a_folder_of_arrow_files_is_refused(pairs, tmp_path):
    load_pairs(str(pairs), arguments(tmp_path)).save_to_disk(str(tmp_path / "arrow"))
    assert len(load_pairs(str(tmp_path / "arrow"), arguments(tmp_path))) == FILES * LADDERS
    with pytest.raises(ValueError, match="--format parquet"):
        load_pairs(str(tmp_path / "arrow"), arguments(tmp_path), streaming=True)


def test_a_stream_without_a_row_is_refused_instead_of_read_for_ever(pairs, tmp_path):
    whole = datasets.Dataset.from_parquet(str(next((pairs / "data").iterdir())), cache_dir=str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    whole.select([]).to_parquet(tmp_path / "empty" / "train-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="hold no pairs"):
        next(iter(load_pairs(str(tmp_path / "empty"), arguments(tmp_path), streaming=True)))


def test_a_finished_run_on_a_stream_ends_when_it_is_started_again(pairs, tmp_path):
    corpus, output = write_corpus(tmp_path / "corpus"), tmp_path / "run"
    options = pretraining(corpus, output, f"--pairs={pairs}", "--streaming=true", "--max_steps=2", "--save_steps=1")
    for _ in range(2):
        pretrain_contrastive.main(options)
    starts = json.loads((output / "run.json").read_text())["starts"]
    assert [start["last_step"] for start in starts] == [2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_no_two_workers_of_any_process_see_the_same_ladder(workers, pairs, tmp_path):
    batches = FILES * LADDERS // 2 // 2
    worker = str(Path(__file__).with_name("stream_worker.py"))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launcher, worker, str(pairs), str(tmp_path), str(workers), str(2 * batches)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [one["processes"] for one in found] == [2, 2]
    for number in range(2):
        part = slice(number * batches, (number + 1) * batches)
        seen = Counter(tuple(ids) for one in found for batch in one["seen"][part] for ids in batch)
        assert len(seen) == FILES * LADDERS and set(seen.values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_stopped_run_goes_on_in_the_stream_where_it_was(processes, pairs, tmp_path):
    """Over the end of a pass, with workers, and from a checkpoint in the second one."""
    corpus = write_corpus(tmp_path / "corpus")

    def words(output: Path, *extra: str) -> list[str]:
        streaming = [f"--pairs={pairs}", "--streaming=true", "--dataloader_num_workers=2", "--save_steps=10"]
        given = pretraining(corpus, output, *streaming, "--max_steps=24", *extra)
        return [word for word in given if not word.startswith(("--speech", "--noise", "--duration"))]

    done = run_command("pretrain_contrastive", words(tmp_path / "whole"), processes)
    assert done.returncode == 0, done.stderr[-3000:]
    # The state after step 20, as a run leaves it that is killed later on.
    (tmp_path / "broken").mkdir()
    os.rename(tmp_path / "whole" / "checkpoint-20", tmp_path / "broken" / "checkpoint-20")
    done = run_command("pretrain_contrastive", words(tmp_path / "broken"), processes)
    assert done.returncode == 0, done.stderr[-3000:]
    (start,) = json.loads((tmp_path / "broken" / "run.json").read_text())["starts"]
    assert start["resumed_from"].endswith("checkpoint-20")
    assert start["hardware"]["processes"] == processes
    assert_same_weights(tmp_path / "whole", tmp_path / "broken")
