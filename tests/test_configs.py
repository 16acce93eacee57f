"""The YAML files of the scripts, and the files for launchers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import finetune_mos
import numpy as np
import pretrain_contrastive
import pytest
import soundfile
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from runs import RATE, REPOSITORY, SCRIPTS, write_corpus

from jsqa_hf import JSQAForMOSRegression
from jsqa_hf.training import RunArguments, parse_arguments

CONFIGS = SCRIPTS / "configs"
LAUNCH = SCRIPTS / "launch"
STAGES = {
    "pretrain": ("pretrain_contrastive", "PretrainingArguments"),
    "finetune": ("finetune_mos", "FinetuningArguments"),
}
# What no file can know: where things are, and that there is no GPU here.
HERE = ["--output_dir=unused", "--use_cpu=true", "--report_to=none", "--ratings=unused"]


def parse(config: Path, *words: str):
    name, arguments = STAGES[config.stem]
    module = import_module(name)
    given = [word for word in HERE if config.stem == "finetune" or not word.startswith("--ratings")]
    return module, *parse_arguments((getattr(module, arguments), RunArguments), [str(config), *given, *words])


@pytest.mark.parametrize(
    "config",
    sorted(path for stage in STAGES for path in CONFIGS.glob(f"*/{stage}.yaml")),
    ids=lambda path: path.parts[-2:],
)
def test_every_value_of_a_file_arrives_and_the_command_line_overrides_it(config):
    _, args, training_args = parse(config)
    for name, value in yaml.safe_load(config.read_text()).items():
        if name != "ratings":
            assert getattr(args if hasattr(args, name) else training_args, name) == value
    _, _, overridden = parse(config, "--learning_rate=0.125", "--seed=7")
    assert (overridden.learning_rate, overridden.seed) == (0.125, 7)


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_every_script_has_help(path, capsys):
    with pytest.raises(SystemExit) as leaving:
        import_module(path.stem).main(["--help"])
    assert leaving.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_the_setting_of_the_paper():
    module, args, training_args = parse(CONFIGS / "paper" / "pretrain.yaml")
    parameters = sum(parameter.numel() for parameter in module.build_model(args).jsqa.parameters())
    assert parameters == pytest.approx(26e6, rel=0.02)
    assert args.duration_s == 30
    assert (args.speech.partition(":")[0], args.noise.partition(":")[0]) == ("librispeech", "chime3")
    assert training_args.eval_batch_size * 16 <= args.eval_ladders, "two nodes with eight GPUs can't share it"
    module, args, _ = parse(CONFIGS / "paper" / "finetune.yaml")
    assert (args.mos_dropout, args.mos_loss, args.max_duration_s, args.outputs) == (0.1, "mse", 30, ["mos"])


@pytest.mark.parametrize("name", ["paper", "hubert_base"])
def test_an_evaluation_takes_no_more_clips_at_once_than_training(name):
    _, args, training_args = parse(CONFIGS / name / "pretrain.yaml")
    assert training_args.per_device_eval_batch_size * 2 * args.levels <= args.loss_chunk_size


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LibriSpeech, CHiME-3 and NISQA with their layouts, one second a clip."""
    root = tmp_path_factory.mktemp("official")
    rng = np.random.default_rng(0)

    def write(path: Path, rate: int = RATE) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(0, 0.1, rate), rate)

    for part, speaker, chapter in (("train-clean-360", 14, 208), ("dev-clean", 1272, 128104)):
        for number in range(3):
            write(root / "LibriSpeech" / part / f"{speaker}/{chapter}/{speaker}-{chapter}-{number:04d}.flac")
    backgrounds = root / "CHiME3" / "data" / "audio" / "16kHz" / "backgrounds"
    for kind in ("BUS", "CAF", "PED", "STR"):
        write(backgrounds / f"BGD_150203_010_{kind}.CH5.wav")
    for part in ("TRAIN_SIM", "TRAIN_LIVE", "VAL_SIM", "VAL_LIVE"):
        folder = root / "NISQA_Corpus" / f"NISQA_{part}"
        lines = ["db,con,file,filename_deg,filename_ref,votes,mos,noi,dis,col,loud,filepath_deg,filepath_ref"]
        for number in range(4):
            file = f"NISQA_{part}/deg/c{number}.wav"
            write(root / "NISQA_Corpus" / file, 48000)
            lines.append(f"NISQA_{part},1,c{number},c{number}.wav,,5,{1 + number},3,3,3,3,{file},")
        (folder / f"NISQA_{part}_file.csv").write_text("\n".join(lines) + "\n")
    return root


SMALLER = ["--use_cpu=true", "--report_to=none", "--disable_tqdm=true", "--max_steps=2", "--dataloader_num_workers=0"]


@pytest.mark.slow
def test_both_stages_run_from_the_files_of_the_paper(official, tmp_path):
    """With a smaller model, shorter clips and two steps; mixed precision and all else as in the files."""
    arguments = [
        str(CONFIGS / "paper" / "pretrain.yaml"),
        f"--speech=librispeech:{official}/LibriSpeech/train-clean-360",
        f"--eval_speech=librispeech:{official}/LibriSpeech/dev-clean",
        f"--noise=chime3:{official}/CHiME3",
        f"--eval_noise=chime3:{official}/CHiME3",
        "--model_size=tiny",
        "--duration_s=0.5",
        "--per_device_train_batch_size=2",
        "--per_device_eval_batch_size=2",
        "--eval_ladders=4",
        "--loss_chunk_size=4",
        f"--output_dir={tmp_path / 'pretrained'}",
        *SMALLER,
    ]
    metrics = pretrain_contrastive.main(arguments)
    assert metrics["train_steps"] == 2
    assert np.isfinite([metrics["train_loss"], metrics["initial_eval_loss"], metrics["eval_loss"]]).all()
    arguments = [
        str(CONFIGS / "paper" / "finetune.yaml"),
        f"--ratings=nisqa:{official}/NISQA_Corpus",
        f"--model={tmp_path / 'pretrained'}",
        "--per_device_train_batch_size=2",
        f"--output_dir={tmp_path / 'mos'}",
        *SMALLER,
    ]
    assert finetune_mos.main(arguments)["eval_n"] == 8
    JSQAForMOSRegression.from_pretrained(tmp_path / "mos")


@pytest.mark.slow
def test_both_stages_start_from_a_pretrained_hubert(official, tmp_path):
    """A small one that lies in a folder stands in for facebook/hubert-base-ls960."""
    corpus = write_corpus(tmp_path / "corpus")
    arguments = [
        str(CONFIGS / "hubert_base" / "pretrain.yaml"),
        f"--backbone={corpus / 'hubert'}",
        f"--speech={corpus / 'speech'}",
        f"--noise={corpus / 'noise'}",
        "--duration_s=0.5",
        "--per_device_train_batch_size=2",
        f"--output_dir={tmp_path / 'pretrained'}",
        *SMALLER,
    ]
    assert pretrain_contrastive.main(arguments)["train_steps"] == 2
    arguments = [
        str(CONFIGS / "hubert_base" / "finetune.yaml"),
        f"--ratings={corpus / 'rated' / 'ratings.csv'}",
        "--split=train",
        "--eval_split=test",
        "--per_device_train_batch_size=2",
        "--head_only_steps=1",
        *SMALLER,
    ]
    for model, output in ((tmp_path / "pretrained", "mos"), (corpus / "hubert", "baseline")):
        metrics = finetune_mos.main([*arguments, f"--model={model}", f"--output_dir={tmp_path / output}"])
        assert metrics["eval_n"] == 4


@pytest.mark.parametrize(
    ("name", "processes", "machines"),
    [("one_gpu", 1, 1), ("eight_gpus", 8, 1), ("two_nodes", 16, 2), ("fsdp", 8, 1)],
)
def test_accelerate_reads_its_files(name, processes, machines):
    """It refuses keys that it doesn't know."""
    config = load_config_from_file(str(LAUNCH / f"{name}.yaml"))
    assert (config.num_processes, config.num_machines) == (processes, machines)


def test_fsdp_wraps_the_layers_of_the_backbone():
    import transformers.models.hubert.modeling_hubert as hubert

    config = yaml.safe_load((LAUNCH / "fsdp.yaml").read_text())["fsdp_config"]
    for layer in config["fsdp_transformer_layer_cls_to_wrap"].split(","):
        assert hasattr(hubert, layer)


@pytest.mark.parametrize(("code", "requeued"), [(1, True), (0, False)])
def test_the_slurm_job_passes_the_signal_on_and_goes_back_to_the_queue(code, requeued, tmp_path):
    """Slurm's commands are stand-ins: this tests our script, not Slurm."""
    stand_ins = {
        "srun": f'echo "$@" > words; trap "exit {code}" TERM; echo $$ > pid; while :; do sleep 0.05; done',
        "scontrol": 'case "$1" in show) echo node1; echo node2;; requeue) echo "$2" > requeued;; esac',
        "scancel": 'echo "$@" > cancelled; kill -TERM "$(cat pid)"',
    }
    for name, body in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_NNODES": "2",
    }
    job = subprocess.Popen(["bash", str(LAUNCH / "slurm.sh"), "finetune_mos", "a.yaml"], env=environment, cwd=tmp_path)
    begin = time.monotonic()
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert job.poll() is None and time.monotonic() - begin < 30
        time.sleep(0.02)
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=30) == code
    assert (tmp_path / "cancelled").read_text().split() == ["--signal=TERM", "77.0"]
    assert (tmp_path / "requeued").exists() == requeued
    words = (tmp_path / "words").read_text().split()
    assert (
        words[0] == "torchrun"
        and "node1:29500" in words
        and words[-2:] == ["training_scripts/finetune_mos.py", "a.yaml"]
    )


@pytest.mark.slow
def test_accelerate_launches_with_a_file(tmp_path):
    """The file for one GPU also starts one process where there is none."""
    corpus = write_corpus(tmp_path / "corpus")
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "accelerate.commands.launch",
                "--config_file",
                str(LAUNCH / "one_gpu.yaml"),
                "--cpu",
            ),
            *(str(SCRIPTS / "finetune_mos.py"), str(CONFIGS / "hubert_base" / "finetune.yaml")),
            f"--ratings={corpus / 'rated' / 'ratings.csv'}",
            "--split=train",
            "--eval_split=test",
            f"--model={corpus / 'hubert'}",
            f"--output_dir={tmp_path / 'mos'}",
            *SMALLER,
        ],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "mos" / "model.safetensors").is_file()
