"""What a run is told, what it leaves behind, and how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import datasets
import finetune_mos
import pytest
import torch
from runs import finetuning, pretraining, run_command, write_corpus
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import TrainingArguments

import jsqa_hf
from jsqa_hf.training import RunArguments
from jsqa_hf.training.record import changes, describe_data, git_state, package_versions
from jsqa_hf.training.runs import one_line, run_script
from jsqa_hf.training.signals import SteadyWorkers


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def starts(output: Path) -> list[dict]:
    return json.loads((output / "run.json").read_text())["starts"]


def test_the_record_tells_with_what_on_what_and_how_it_ended(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["finetune_mos.py", "--seed", "5", "--hub_token=hf_secret"])
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    extra = ["--eval_split=test", "--seed=5", "--max_steps=3", "--hub_token=hf_secret"]
    finetune_mos.main(finetuning(corpus, tmp_path, *extra))
    (record,) = starts(tmp_path)
    assert record["status"] == "finished"
    assert record["last_step"] == 3
    assert record["wall_time_s"] > 0
    assert record["resumed_from"] is None
    assert record["command"].endswith("finetune_mos.py --seed 5 --hub_token=<HUB_TOKEN>")
    assert record["arguments"]["seed"] == 5
    assert record["arguments"]["mos_dropout"] == 0.0, "values that nobody gave are recorded, too"
    assert record["data"]["train"]["rows"] == 12
    assert record["data"]["eval"]["rows"] == 4
    assert record["data"]["train"]["fingerprint"] != record["data"]["eval"]["fingerprint"]
    assert record["versions"]["jsqa_hf"] == jsqa_hf.__version__
    assert record["versions"]["torch"] == torch.__version__
    assert {"python", "transformers", "datasets", "accelerate"} <= record["versions"].keys()
    assert record["hardware"]["processes"] == 1
    assert "hf_secret" not in (tmp_path / "run.json").read_text()


@pytest.mark.slow
def test_the_fingerprint_of_the_data_is_the_same_in_every_process_and_tells_other_rows(corpus):
    program = (
        "import sys; from jsqa_hf.data import load_speech; from jsqa_hf.training import repeat_with_index;"
        "print(repeat_with_index(load_speech('folder', sys.argv[1]), 9)._fingerprint)"
    )
    command = [sys.executable, "-c", program]
    found = [subprocess.check_output([*command, str(corpus / "speech")], text=True) for _ in range(2)]
    assert found[0] == found[1]
    assert subprocess.check_output([*command, str(corpus / "noise")], text=True) != found[0]


def test_data_of_any_kind_is_described():
    table = datasets.Dataset.from_dict({"x": [1, 2, 3]})
    assert describe_data(table) == {"rows": 3, "columns": ["x"], "fingerprint": table._fingerprint}
    assert describe_data(table.to_iterable_dataset(num_shards=3))["shards"] == 3
    assert describe_data([1, 2]) == {"rows": 2, "type": "list"}
    assert describe_data({"a": [1, 2], "b": table})["b"]["rows"] == 3


def test_what_differs_between_two_starts_is_named():
    before = {"arguments": {"seed": 1, "lr": 0.1}, "data": {"train": {"rows": 3}}, "versions": {"torch": "2.6"}}
    after = {"arguments": {"seed": 2, "lr": 0.1}, "data": {"train": {"rows": 4}}, "versions": {"torch": "2.6"}}
    assert changes(before, before) == []
    assert changes(before, after) == [
        "seed was 1 and is now 2",
        "train was {'rows': 3} and is now {'rows': 4}",
    ]


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    return subprocess.check_output(["git", "-C", str(folder), *identity, *words], text=True).strip()


def test_the_revision_is_told_only_of_the_repository_of_the_package(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    (tmp_path / "module.py").write_text("")
    (tmp_path / "other.py").write_text("")
    git(tmp_path, "add", "module.py")
    git(tmp_path, "commit", "-qm", "first")
    monkeypatch.setattr("jsqa_hf.training.record.__file__", str(tmp_path / "module.py"))
    assert git_state(tmp_path) == {"revision": git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "module.py").write_text("changed")
    assert git_state(tmp_path)["dirty"]
    # As of a package that lies in an environment inside somebody's repository.
    monkeypatch.setattr("jsqa_hf.training.record.__file__", str(tmp_path / "other.py"))
    assert git_state(tmp_path) is None


def test_versions_leave_out_what_is_not_installed(monkeypatch):
    monkeypatch.setattr("jsqa_hf.training.record._PACKAGES", ("numpy", "no-such-package"))
    assert package_versions().keys() == {"jsqa_hf", "python", "torch", "numpy"}


def test_logs_go_to_tensorboard_unless_told_otherwise(tmp_path, capsys, monkeypatch):
    assert RunArguments(output_dir=str(tmp_path)).report_to == ["tensorboard"]
    assert RunArguments(output_dir=str(tmp_path), report_to="none").report_to == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert RunArguments(output_dir=str(tmp_path)).report_to == []
    assert "TensorBoard is not installed" in capsys.readouterr().err


def test_without_an_accelerator_the_cpus_are_meant(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert RunArguments(output_dir=str(tmp_path), report_to="none").use_cpu


def test_processes_that_would_train_each_for_itself_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingArguments, "__post_init__", lambda self: None)
    monkeypatch.setattr(TrainingArguments, "world_size", 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were started, but 1 of them would train together"):
        RunArguments(output_dir=str(tmp_path), report_to="none")


def test_tensorboard_gets_the_losses(corpus, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    extra = ["--report_to=tensorboard", "--logging_steps=1", "--max_steps=2", "--save_strategy=no"]
    finetune_mos.main(finetuning(corpus, tmp_path, *extra))
    (events,) = tmp_path.rglob("events.out.tfevents.*")
    accumulator = EventAccumulator(str(events))
    accumulator.Reload()
    assert [event.step for event in accumulator.Scalars("train/loss")] == [1, 2]


class Unreadable(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> None:
        raise ValueError(f"clip{index}.wav: is no audio\nat all")


def test_an_error_in_a_worker_is_told_on_one_line():
    with pytest.raises(ValueError, match="Original Traceback") as caught:
        next(iter(DataLoader(Unreadable(), num_workers=1)))
    assert one_line(caught.value) == "clip0.wav: is no audio at all"
    assert one_line(FileNotFoundError(2, "No such file or directory", "x.wav")) == "x.wav: No such file or directory"
    assert one_line(ValueError()) == "ValueError"


def test_mistakes_of_users_get_a_line_and_those_of_ours_a_traceback(capsys):
    def mistaken() -> None:
        raise ValueError("--levels must be\nat least 1")

    def broken() -> None:
        raise ZeroDivisionError

    assert run_script(lambda: None) == 0
    assert run_script(mistaken) == 1
    assert capsys.readouterr().err.endswith(": --levels must be at least 1\n")
    with pytest.raises(ZeroDivisionError):
        run_script(broken)


def test_ctrl_c_ends_a_script_with_one_line(capsys):
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert run_script(interrupted) == 130
    assert capsys.readouterr().err.endswith(": interrupted\n")


ONE_OF_SEVERAL = """
import atexit, sys, threading, time
import torch
from jsqa_hf.training import run_script

def main():
    torch.distributed.init_process_group("gloo", init_method="tcp://localhost:0", rank=0, world_size=1)
    atexit.register(print, "registered")
    threading.Thread(target=lambda: time.sleep(0.2) or print("awaited")).start()
    print("printed")
    if sys.argv[1] != "0":
        sys.exit(int(sys.argv[1]))

sys.exit(run_script(main))
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", [0, 3])
def test_one_of_several_processes_ends_what_it_began(code):
    done = subprocess.run([sys.executable, "-c", ONE_OF_SEVERAL, str(code)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert done.stdout.split() == ["printed", "awaited", "registered"]


class Number(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> int:
        return index


def started(collator: SteadyWorkers) -> tuple[Any, Any]:
    """Batches of which the first was drawn, and the worker that makes them."""
    batches = iter(DataLoader(Number(), batch_size=2, num_workers=1, collate_fn=collator, prefetch_factor=1))
    assert next(batches) == 1
    (worker,) = batches._workers
    return batches, worker


def assert_ends_by_a_signal(worker: Any) -> None:
    worker.terminate()
    worker.join(timeout=20)
    assert worker.exitcode == 0


def test_workers_outlive_a_signal_until_the_run_is_over():
    collator = SteadyWorkers(sum)
    batches, worker = started(collator)
    worker.terminate()
    assert list(batches)[-1] == 98 + 99

    batches, worker = started(collator)
    collator.end()
    assert_ends_by_a_signal(worker)


def test_workers_of_two_collators_end_together():
    training = SteadyWorkers(sum)
    batches, worker = started(training.beside(sum))
    training.end()
    assert_ends_by_a_signal(worker)


@pytest.mark.slow
@pytest.mark.parametrize(
    "extra",
    [
        ["--bf16=true", "--gradient_accumulation_steps=2"],
        ["--torch_compile=true", "--torch_compile_backend=eager"],
        ["--activation_checkpointing=true"],
    ],
    ids=lambda extra: extra[0],
)
@pytest.mark.parametrize("name", ["pretrain_contrastive", "finetune_mos"])
def test_options_of_trainer_work_in_both_stages(name, extra, corpus, tmp_path):
    arguments = (pretraining if name == "pretrain_contrastive" else finetuning)(
        corpus, tmp_path, *extra, "--max_steps=2"
    )
    metrics = import_module(name).main(arguments)
    assert metrics["train_steps"] == 2
    assert torch.tensor(metrics["train_loss"]).isfinite()
    assert all(value.dtype == torch.float32 for value in load_file(tmp_path / "model.safetensors").values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pretrain_contrastive", "finetune_mos"])
def test_two_processes_take_part(name, corpus, tmp_path):
    arguments = (pretraining if name == "pretrain_contrastive" else finetuning)(corpus, tmp_path, "--max_steps=2")
    done = run_command(name, arguments, processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    (record,) = starts(tmp_path)
    assert record["hardware"]["processes"] == 2
    assert json.loads((tmp_path / "checkpoint-2" / "complete.json").read_text())["processes"] == 2
    assert {path.name for path in (tmp_path / "checkpoint-2").glob("rng_state*")} == {
        "rng_state_0.pth",
        "rng_state_1.pth",
    }


@pytest.mark.slow
def test_another_number_of_processes_on_resuming_is_reported(corpus, tmp_path, caplog):
    done = run_command("finetune_mos", finetuning(corpus, tmp_path, "--num_train_epochs=1"), processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    finetune_mos.main(finetuning(corpus, tmp_path, "--num_train_epochs=1"))
    assert "was written by 2 process(es), this run has 1" in caplog.text


def test_run_arguments_are_those_of_transformers_but_for_the_defaults_named(tmp_path):
    ours = RunArguments(output_dir=str(tmp_path))
    theirs = TrainingArguments(output_dir=str(tmp_path), use_cpu=ours.use_cpu)
    assert not ours.remove_unused_columns
    assert ours.accelerator_config.dispatch_batches is False
    different = {name for name, value in ours.to_dict().items() if value != theirs.to_dict()[name]}
    assert different <= {"accelerator_config", *RunArguments.__annotations__}
