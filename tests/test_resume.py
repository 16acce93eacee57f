"""Runs that are interrupted: by signals, by a kill, by a full disk, by a clip that can't be read."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import psutil
import pytest
import torch
from runs import (
    assert_same_weights,
    command,
    environment,
    finetuning,
    pretraining,
    run_command,
    write_corpus,
)
from transformers import Trainer, TrainerCallback

from jsqa_hf.training.checkpoints import MANIFEST_NAME, why_incomplete
from jsqa_hf.training.runs import run_script

STAGE = {"pretrain_contrastive": pretraining, "finetune_mos": finetuning}
EVALUATING = ["--eval_split=test", "--eval_strategy=epoch", "--eval_on_start=true"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def run(name: str, corpus: Path, output: Path, *extra: str) -> dict[str, float]:
    return import_module(name).main(STAGE[name](corpus, output, *extra))


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stage 1 without a break."""
    output = tmp_path_factory.mktemp("whole")
    run("pretrain_contrastive", corpus, output)
    return output


def statuses(output: Path) -> list[str]:
    return [start["status"] for start in json.loads((output / "run.json").read_text())["starts"]]


class AtStep(TrainerCallback):
    """Does something in the midst of the step after `step`."""

    def __init__(self, step: int, action: Callable[[], None]) -> None:
        self.step = step
        self.action = action

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        if state.global_step == self.step:
            self.action()


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch):
    """Have something happen once, in the first run from now on."""

    def arrange(step: int, action: Callable[[], None]) -> None:
        train = Trainer.train
        pending = [AtStep(step, action)]

        def train_with_action(self, *args, **kwargs):
            if pending:
                self.add_callback(pending.pop())
            return train(self, *args, **kwargs)

        monkeypatch.setattr(Trainer, "train", train_with_action)

    return arrange


class Stopped(Exception):
    """Something that ends a run in these tests."""


def stop() -> None:
    raise Stopped


def truncate(folder: Path, name: str) -> None:
    with open(folder / name, "r+b") as file:
        file.truncate(100)


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


DAMAGE = {
    "optimizer.pt has 100 bytes instead of": lambda folder: truncate(folder, "optimizer.pt"),
    "model.safetensors is missing": lambda folder: (folder / "model.safetensors").unlink(),
    "model.safetensors has changed": flip_a_bit,
    "it was not written to its end": lambda folder: (folder / MANIFEST_NAME).unlink(),
    "complete.json can't be used": lambda folder: truncate(folder, MANIFEST_NAME),
}


@pytest.mark.parametrize("reason", DAMAGE)
def test_damage_to_a_checkpoint_is_seen(reason, whole, tmp_path):
    folder = tmp_path / "checkpoint-4"
    shutil.copytree(whole / "checkpoint-4", folder)
    assert why_incomplete(folder) is None
    DAMAGE[reason](folder)
    assert reason in why_incomplete(folder)


def test_a_damaged_checkpoint_is_passed_over_with_a_message(whole, corpus, tmp_path, at_step, caplog):
    at_step(5, stop)
    with pytest.raises(Stopped):
        run("pretrain_contrastive", corpus, tmp_path)
    truncate(tmp_path / "checkpoint-4", "optimizer.pt")
    run("pretrain_contrastive", corpus, tmp_path)
    assert "checkpoint-4 is not used (optimizer.pt has 100 bytes" in caplog.text
    assert json.loads((tmp_path / "run.json").read_text())["starts"][1]["resumed_from"].endswith("checkpoint-2")
    assert (tmp_path / "incomplete-checkpoint-4").is_dir()
    assert why_incomplete(tmp_path / "checkpoint-4") is None
    assert_same_weights(whole, tmp_path)


@pytest.mark.parametrize("named", [False, True])
def test_a_checkpoint_of_weights_alone_is_not_gone_on_from(named, corpus, tmp_path):
    output = tmp_path / "run"
    run("pretrain_contrastive", corpus, output, "--save_only_model=true")
    record = (output / "run.json").read_text()
    extra = [f"--resume_from_checkpoint={output / 'checkpoint-4'}"] if named else []
    if not named:
        shutil.rmtree(output / "checkpoint-6")
    with pytest.raises(ValueError, match="checkpoint-4 was saved with save_only_model"):
        run("pretrain_contrastive", corpus, output, *extra)
    assert (output / "run.json").read_text() == record


def test_without_any_whole_checkpoint_the_run_starts_anew(whole, corpus, tmp_path, at_step):
    at_step(3, stop)
    with pytest.raises(Stopped):
        run("pretrain_contrastive", corpus, tmp_path)
    truncate(tmp_path / "checkpoint-2", "scheduler.pt")
    run("pretrain_contrastive", corpus, tmp_path)
    assert_same_weights(whole, tmp_path)
    assert statuses(tmp_path) == ["failed", "finished"]


@pytest.mark.parametrize(
    ("name", "extra", "number", "code"),
    [
        pytest.param(
            "pretrain_contrastive",
            ["--dataloader_num_workers=2", "--gradient_accumulation_steps=2"],
            signal.SIGTERM,
            143,
            marks=pytest.mark.slow,
        ),
        ("finetune_mos", EVALUATING, signal.SIGINT, 130),
    ],
)
def test_a_signal_saves_and_stops_and_the_run_goes_on_as_if_it_had_not(
    name, extra, number, code, corpus, tmp_path, at_step
):
    run(name, corpus, tmp_path / "whole", *extra)
    before = signal.getsignal(number)
    at_step(2, lambda: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as stopped:
        run(name, corpus, tmp_path / "broken", *extra)
    assert stopped.value.code == code
    assert signal.getsignal(number) == before
    assert why_incomplete(tmp_path / "broken" / "checkpoint-3") is None
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    run(name, corpus, tmp_path / "broken", *extra)
    assert_same_weights(tmp_path / "whole", tmp_path / "broken")
    assert statuses(tmp_path / "broken") == [f"stopped by {signal.Signals(number).name}", "finished"]
    evaluations = [
        {(log["step"], log["eval_loss"]) for log in state["log_history"] if "eval_loss" in log and log["step"]}
        for state in (json.loads((tmp_path / run / "trainer_state.json").read_text()) for run in ("whole", "broken"))
    ]
    assert evaluations[0] == evaluations[1]


def test_old_checkpoints_go_once_the_new_one_is_whole(corpus, tmp_path, at_step, monkeypatch):
    """With one to keep, a failure to write the next must not cost the last."""
    at_step(5, stop)
    with pytest.raises(Stopped):
        run("pretrain_contrastive", corpus, tmp_path, "--save_total_limit=1")
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-4"]

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("jsqa_hf.training.checkpoints.write_manifest", full)
    with pytest.raises(OSError, match=r"checkpoint-6 could not be written \(No space left on device\)"):
        run("pretrain_contrastive", corpus, tmp_path, "--save_total_limit=1")
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-4"]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [40_000, 100_000])
def test_a_full_disk_is_named_and_leaves_the_last_checkpoint(limit, whole, corpus, tmp_path, at_step):
    """A limit on the size of files makes the writing of the weights, or of the optimizer's state, fail midway."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    at_step(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard)))
    try:
        with pytest.raises(OSError, match="checkpoint-4 could not be written .* make room"):
            run("pretrain_contrastive", corpus, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    assert why_incomplete(tmp_path / "checkpoint-2") is None
    run("pretrain_contrastive", corpus, tmp_path)
    assert_same_weights(whole, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_clip_is_named_and_leaves_the_last_checkpoint(workers, tmp_path, at_step, capsys):
    corpus = write_corpus(tmp_path / "corpus")
    good = {path: path.read_bytes() for path in (corpus / "rated").glob("*.wav")}

    def spoil() -> None:
        for path in good:
            path.write_bytes(b"no sound")

    at_step(2, spoil)
    extra = [f"--dataloader_num_workers={workers}", "--dataloader_prefetch_factor=1"] if workers else []
    assert run_script(lambda: run("finetune_mos", corpus, tmp_path / "run", *extra)) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "rated/clip" in message and ".wav" in message and "Traceback" not in message
    assert why_incomplete(tmp_path / "run" / "checkpoint-2") is None
    assert statuses(tmp_path / "run") == ["failed"]
    for path, data in good.items():
        path.write_bytes(data)
    run("finetune_mos", corpus, tmp_path / "run")
    run("finetune_mos", corpus, tmp_path / "whole")
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("steps", [5, 6])
def test_a_finished_run_that_is_started_again_stays_as_it_is(steps, corpus, tmp_path):
    """An epoch has 6 steps; with a constant learning rate a step too many would change the weights."""
    extra = [f"--max_steps={steps}", "--lr_scheduler_type=constant"]
    run("pretrain_contrastive", corpus, tmp_path / "again", *extra)
    shutil.copytree(tmp_path / "again", tmp_path / "once")
    run("pretrain_contrastive", corpus, tmp_path / "again", *extra)
    assert_same_weights(tmp_path / "once", tmp_path / "again")
    folders = [{path.name for path in (tmp_path / name).glob("checkpoint-*")} for name in ("once", "again")]
    assert folders[0] == folders[1]
    starts = json.loads((tmp_path / "again" / "run.json").read_text())["starts"]
    assert [start["last_step"] for start in starts] == [steps, steps]


def test_another_learning_rate_on_resuming_is_reported(corpus, tmp_path, at_step, caplog):
    at_step(3, stop)
    with pytest.raises(Stopped):
        run("pretrain_contrastive", corpus, tmp_path)
    run("pretrain_contrastive", corpus, tmp_path, "--learning_rate=1e-3")
    assert "learning_rate was 0.01 and is now 0.001" in caplog.text


def wait_for(path: Path, process: subprocess.Popen, limit_s: float = 300) -> None:
    begin = time.monotonic()
    while not path.exists():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() - begin < limit_s
        time.sleep(0.02)


def start(name: str, arguments: list[str], processes: int) -> subprocess.Popen:
    return subprocess.Popen(
        command(name, arguments, processes),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill_family(pid: int) -> None:
    """SIGKILL to a process, its workers and, under torchrun, its processes."""
    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "processes"),
    [
        ("pretrain_contrastive", 1),
        ("pretrain_contrastive", 2),
        ("finetune_mos", 1),
    ],
)
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_weights(name, processes, corpus, tmp_path):
    """SIGKILL at random moments, in steps and while checkpoints are written."""
    extra = ["--dataloader_num_workers=1", "--save_steps=1"]
    if name == "pretrain_contrastive":
        extra.append("--max_steps=40")
    else:
        extra += [*EVALUATING, "--num_train_epochs=5"]
    done = run_command(name, STAGE[name](corpus, tmp_path / "whole", *extra), processes)
    assert done.returncode == 0, done.stderr[-3000:]
    rng = random.Random(0)
    arguments = STAGE[name](corpus, tmp_path / "broken", *extra)
    for step in (1, 8, 15):
        process = start(name, arguments, processes)
        wait_for(tmp_path / "broken" / f"checkpoint-{step}", process)
        time.sleep(rng.uniform(0, 0.3))
        kill_family(process.pid)
        process.wait()
    done = run_command(name, arguments, processes)
    assert done.returncode == 0, done.stderr[-3000:]
    ends = statuses(tmp_path / "broken")
    # A fast machine may have finished before the last kill; a run that was killed in its midst stays "running".
    assert ends.count("running") >= 2 and ends[-1] == "finished"
    assert_same_weights(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_to_the_command_saves_and_stops(processes, corpus, tmp_path):
    """Under torchrun the signal goes to the launcher, which passes it on, also to the workers that load data."""
    extra = ["--max_steps=40", "--save_steps=1000", "--dataloader_num_workers=1", "--logging_steps=1"]
    done = run_command("pretrain_contrastive", pretraining(corpus, tmp_path / "whole", *extra), processes)
    assert done.returncode == 0, done.stderr[-3000:]
    arguments = pretraining(corpus, tmp_path / "broken", *extra, "--save_steps=1")
    process = start("pretrain_contrastive", arguments, processes)
    wait_for(tmp_path / "broken" / "checkpoint-3", process)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == (143 if processes == 1 else 1), error[-3000:]
    assert statuses(tmp_path / "broken") == ["stopped by SIGTERM"], error[-3000:]
    last = json.loads((tmp_path / "broken" / "run.json").read_text())["starts"][0]["last_step"]
    assert 3 <= last < 40
    assert why_incomplete(tmp_path / "broken" / f"checkpoint-{last}") is None
    done = run_command("pretrain_contrastive", arguments, processes)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (
        f"checkpoint-{last}" in json.loads((tmp_path / "broken" / "run.json").read_text())["starts"][1]["resumed_from"]
    )
    assert_same_weights(tmp_path / "whole", tmp_path / "broken")


def test_random_numbers_are_drawn_in_every_step(corpus, tmp_path):
    """Otherwise the tests above could not tell whether their state is restored."""
    from jsqa_hf import JSQAForContrastivePretraining

    run("pretrain_contrastive", corpus, tmp_path, "--max_steps=1")
    model = JSQAForContrastivePretraining.from_pretrained(tmp_path).train()
    values = torch.ones(2, 8000)
    assert not torch.equal(model(values).projections, model(values).projections)
