"""Pushes over real HTTP to a stand-in for the Hub (tests/hub_server.py), and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import push_to_hub
import pytest
import runs
import torch
from hub_server import HubServer, Repository
from huggingface_hub import HfApi, ModelCard, constants
from safetensors.torch import load
from small import small_config

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression
from jsqa_hf.training import RunArguments, prepare_push
from jsqa_hf.training.hub import create_repository, files_to_push, push_files

TIMEOUT = 300

# Loading as somebody does who has transformers, but not this package.
LOAD = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "jsqa_hf":
            raise ImportError("jsqa_hf is not installed")

sys.meta_path.insert(0, Blocker())
import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModel, pipeline

repo_id = sys.argv[1]
model = AutoModel.from_pretrained(repo_id, trust_remote_code=True)
extractor = AutoFeatureExtractor.from_pretrained(repo_id, trust_remote_code=True)
assert "transformers_modules" in type(model).__module__, type(model).__module__
samples = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
inputs = extractor(samples, sampling_rate=16000, return_tensors="pt")
output = model.eval()(**inputs)
print(type(model).__name__, *output[0].flatten().tolist()[:1])
if type(model).__name__ == "JSQAForMOSRegression":
    rate = pipeline("speech-quality-assessment", model=repo_id, trust_remote_code=True)
    assert "transformers_modules" in type(rate).__module__, type(rate).__module__
    print(rate({"array": samples, "sampling_rate": 16000})["mos"])
"""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder as a run leaves it, with what must not be pushed as well."""
    folder = tmp_path / "run"
    torch.manual_seed(0)
    JSQAForMOSRegression(small_config()).save_pretrained(folder)
    JSQAFeatureExtractor().save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    for name in ("training_args.json", "metrics.json", "run.json"):
        (folder / name).write_text("{}")
    for name in (
        "training_args.bin",
        "optimizer.pt",
        "checkpoint-2/model.safetensors",
        "checkpoint-2/optimizer.pt",
        "runs/one/events.out.tfevents.1.host.1.0",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"0")
    return folder


def environment(hub: HubServer, home: Path, token: str | None = "hf_writer", **extra: str) -> dict[str, str]:
    """Of a process that takes the stand-in for the Hub: the client reads it when it is imported."""
    values = runs.environment(
        HF_ENDPOINT=hub.endpoint, HF_HOME=str(home), HF_HUB_DISABLE_XET="1", HF_HUB_OFFLINE="0", **extra
    )
    values.pop("HF_TOKEN", None)
    return values if token is None else {**values, "HF_TOKEN": token}


def run(command: list[str], values: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=values, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT)


def arguments(folder: Path, **values: object) -> RunArguments:
    return RunArguments(output_dir=str(folder), push_to_hub=True, report_to="none", use_cpu=True, **values)


@pytest.fixture
def online(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The client of this process talks to the stand-in."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    monkeypatch.setattr("jsqa_hf.training.hub.HfApi", lambda token=None: HfApi(endpoint=hub.endpoint, token=token))
    return hub


def test_only_what_the_hub_should_have_is_pushed(checkpoint: Path):
    (checkpoint / "my_notes.py").write_text("SECRET = 1")
    files = set(files_to_push(checkpoint))
    (checkpoint / "my_notes.py").unlink()
    assert files == {
        "model.safetensors",
        "config.json",
        "preprocessor_config.json",
        "README.md",
        "training_args.json",
        "metrics.json",
        "runs/one/events.out.tfevents.1.host.1.0",
        *(path.name for path in checkpoint.glob("*.py")),
    }
    assert {"modeling_jsqa.py", "configuration_jsqa.py", "losses.py"} <= files


def test_an_adapter_is_pushed_without_its_base_model(checkpoint: Path):
    (checkpoint / "config.json").rename(checkpoint / "adapter_config.json")
    (checkpoint / "model.safetensors").rename(checkpoint / "adapter_model.safetensors")
    files = set(files_to_push(checkpoint))
    assert {"adapter_config.json", "adapter_model.safetensors", "preprocessor_config.json", "README.md"} <= files
    assert not {"config.json", "model.safetensors"} & files


def test_a_folder_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="holds no model"):
        files_to_push(tmp_path)


def test_the_first_push_makes_a_private_repository(online: HubServer, tmp_path: Path):
    args = arguments(tmp_path / "my-model")
    prepare_push(args)
    assert args.hub_model_id == "tester/my-model"
    assert online.repositories["tester/my-model"].private


def test_a_repository_is_public_only_if_asked_for(online: HubServer, tmp_path: Path):
    prepare_push(arguments(tmp_path, hub_model_id="tester/open", hub_private_repo=False))
    assert not online.repositories["tester/open"].private


def test_a_repository_that_is_there_is_left_as_it_is(online: HubServer, tmp_path: Path):
    online.repositories["tester/open"] = Repository(private=False)
    prepare_push(arguments(tmp_path, hub_model_id="tester/open"))
    assert not online.repositories["tester/open"].private


def test_without_push_to_hub_nothing_is_asked(online: HubServer, tmp_path: Path):
    prepare_push(RunArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True))
    assert online.requests == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hub_token": "hf_reader"}, "may only read"),
        ({"hub_token": "hf_unknown"}, "does not accept the token"),
        ({"hub_model_id": "somebody/model"}, "may not write to somebody/model"),
        ({"hub_model_id": "somebody/public"}, "may not write to somebody/public"),
        ({"hub_model_id": "no good/name"}, "can't be the name of a repository"),
        ({"hub_strategy": "checkpoint"}, "pickle"),
        ({"hub_strategy": "all_checkpoints"}, "pickle"),
    ],
)
def test_what_can_not_be_pushed_is_said_before_training(
    online: HubServer, tmp_path: Path, values: dict[str, str], message: str
):
    online.repositories["somebody/public"] = Repository(private=False)
    with pytest.raises(ValueError, match=message) as error:
        prepare_push(arguments(tmp_path, **values))
    assert str(error.value).startswith("--push_to_hub: ")
    assert "\n" not in str(error.value)


def test_without_a_token(online: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("jsqa_hf.training.hub.get_token", lambda: None)
    with pytest.raises(ValueError, match="there is no token: log in with `hf auth login`"):
        prepare_push(arguments(tmp_path))


def test_offline(online: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        prepare_push(arguments(tmp_path))
    assert online.requests == []


def test_an_endpoint_where_nobody_answers(online: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gone = HubServer()
    gone._server.server_close()
    monkeypatch.setattr("jsqa_hf.training.hub.HfApi", lambda token=None: HfApi(endpoint=gone.endpoint, token=token))
    with pytest.raises(ValueError, match=f"{gone.endpoint} can't be reached"):
        prepare_push(arguments(tmp_path))


def test_an_endpoint_that_is_out_of_order(online: HubServer, tmp_path: Path):
    online.failing["create"] = 500
    with pytest.raises(ValueError, match="refuses"):
        prepare_push(arguments(tmp_path))


def test_pushed_files_arrive_byte_for_byte(online: HubServer, checkpoint: Path):
    api = HfApi(endpoint=online.endpoint)
    repo_id = create_repository(api, "copy")
    files = files_to_push(checkpoint)
    push_files(api, repo_id, files, "all")
    assert online.repositories[repo_id].files == {name: path.read_bytes() for name, path in files.items()}


def test_the_card_of_what_is_pushed_later_shows_how_to_load_from_the_hub(online: HubServer, checkpoint: Path):
    card = "---\nlicense: mit\n---\n`pipeline({task}, {model})`\n"
    here = card.format(task="é", model="path/to/this/folder")
    (checkpoint / "README.md").write_text(here, encoding="utf-8")
    push_to_hub.main([f"--folder={checkpoint}", "--repo_id=later"])
    pushed = online.repositories["tester/later"].files["README.md"].decode()
    assert pushed == card.format(task="é", model="tester/later")
    assert (checkpoint / "README.md").read_text(encoding="utf-8") == here


def test_a_branch_is_made_before_the_run(online: HubServer, checkpoint: Path):
    args = arguments(checkpoint, hub_revision="trial")
    prepare_push(args)
    assert args.hub_model_id == "tester/run"
    assert online.repositories["tester/run"].branches == {"main", "trial"}
    push_files(HfApi(endpoint=online.endpoint), "tester/run", files_to_push(checkpoint), "all", revision="trial")
    online.failing["commit"] = 400
    with pytest.raises(OSError, match=r"--repo_id tester/run --revision trial`"):
        push_files(HfApi(endpoint=online.endpoint), "tester/run", files_to_push(checkpoint), "all", revision="trial")


def test_a_push_that_fails_says_how_to_push_later(online: HubServer, checkpoint: Path):
    api = HfApi(endpoint=online.endpoint)
    repo_id = create_repository(api, "copy")
    online.failing["commit"] = 400
    with pytest.raises(OSError, match=r"push_to_hub\.py --folder .*run --repo_id tester/copy"):
        push_files(api, repo_id, files_to_push(checkpoint), "all")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.mark.slow
def test_a_run_of_stage_2_is_pushed_and_loads_without_the_package(hub: HubServer, corpus: Path, tmp_path: Path):
    options = ["--eval_split=test", "--push_to_hub", "--hub_model_id=mos", "--license=apache-2.0", "--language=en"]
    options += ["--card_datasets=openslr/librispeech_asr", "--report_to=tensorboard", "--hub_always_push"]
    command = runs.command("finetune_mos", runs.finetuning(corpus, tmp_path / "mos", *options))
    trained = run(command, environment(hub, tmp_path / "home"), tmp_path)
    assert trained.returncode == 0, trained.stderr
    repository = hub.repositories["tester/mos"]
    assert repository.private
    messages = [message for _, message, _ in repository.commits]
    # After every second of 12 steps; what had changed nothing would still be a commit here.
    assert [f"Training in progress, step {step}" for step in range(2, 13, 2)] == messages[:-1]
    assert messages[-1] == "End of training"
    assert_no_pickles(repository)
    assert any("events.out.tfevents" in path for path in repository.files)
    assert json.loads(repository.files["training_args.json"])["learning_rate"] == 1e-2
    assert "hf_writer" not in repository.files["training_args.json"].decode()
    assert (tmp_path / "mos" / "model.safetensors").read_bytes() == repository.files["model.safetensors"]
    assert not list((tmp_path / "mos").glob(".push-*"))
    early = ModelCard(repository.commits[0][2]["README.md"].decode())
    assert "Training is in progress: step 2 of 12." in early.text
    card = ModelCard(repository.files["README.md"].decode())
    assert "in progress" not in card.text
    assert (card.data.license, card.data.language) == ("apache-2.0", ["en"])
    assert card.data.datasets == ["openslr/librispeech_asr"]
    metrics = json.loads(repository.files["metrics.json"])
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == pytest.approx(
        {name: metrics[f"eval_{name}"] for name in ("rmse", "mae", "pcc", "srcc")}, abs=1e-4
    )
    # 12 clips of half a second, twice.
    assert "12.0 seconds of audio" in card.text
    first_weights = load(repository.commits[0][2]["model.safetensors"])
    last_weights = load(repository.files["model.safetensors"])
    assert any(not torch.equal(first_weights[name], last_weights[name]) for name in last_weights)

    loaded = run([sys.executable, "-c", LOAD, "tester/mos"], environment(hub, tmp_path / "other"), tmp_path)
    assert loaded.returncode == 0, loaded.stderr
    words = loaded.stdout.split()
    model = JSQAForMOSRegression.from_pretrained(tmp_path / "mos").eval()
    assert words[0] == "JSQAForMOSRegression"
    # From the model, and from the pipeline.
    assert [float(word) for word in words[1:]] == pytest.approx([expected_score(model)] * 2, abs=1e-4)
    # A private repository is not there for others.
    values = environment(hub, tmp_path / "third", token=None)
    assert run([sys.executable, "-c", LOAD, "tester/mos"], values, tmp_path).returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_of_stage_1_is_pushed_once_at_its_end(hub: HubServer, corpus: Path, tmp_path: Path, processes: int):
    options = ["--push_to_hub", "--hub_strategy=end", f"--eval_speech={corpus / 'speech'}"]
    options += [f"--eval_noise={corpus / 'noise'}", "--eval_ladders=4", "--per_device_eval_batch_size=2"]
    command = runs.command("pretrain_contrastive", runs.pretraining(corpus, tmp_path / "pre", *options), processes)
    trained = run(command, environment(hub, tmp_path / "home"), tmp_path)
    assert trained.returncode == 0, trained.stderr
    repository = hub.repositories["tester/pre"]
    assert [message for _, message, _ in repository.commits] == ["End of training"]
    assert hub.requests.count(("GET", "/api/whoami-v2")) == 1
    assert_no_pickles(repository)
    card = repository.files["README.md"].decode()
    assert f"{processes} × CPU process" in card
    assert "It gives embeddings and no ratings" in card
    loaded = run([sys.executable, "-c", LOAD, "tester/pre"], environment(hub, tmp_path / "other"), tmp_path)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.startswith("JSQAForContrastivePretraining")


@pytest.mark.slow
def test_a_run_that_can_not_be_pushed_does_not_begin(hub: HubServer, corpus: Path, tmp_path: Path):
    for name, make in (("finetune_mos", runs.finetuning), ("pretrain_contrastive", runs.pretraining)):
        command = runs.command(name, make(corpus, tmp_path / "out", "--push_to_hub"))
        ended = run(command, environment(hub, tmp_path / "home", token=None), tmp_path)
        assert ended.returncode == 1
        assert ended.stderr.strip().splitlines()[-1].startswith(f"{name}.py: --push_to_hub: there is no token")
        assert "Traceback" not in ended.stderr
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_survives_pushes_that_fail_and_is_pushed_later(hub: HubServer, corpus: Path, tmp_path: Path):
    hub.failing["preupload"] = 400
    values, output = environment(hub, tmp_path / "home"), tmp_path / "mos"
    command = runs.command("finetune_mos", runs.finetuning(corpus, output, "--push_to_hub", "--hub_always_push"))
    trained = run(command, values, tmp_path)
    assert trained.returncode == 1
    assert "step 2 could not be pushed" in trained.stderr
    assert f"the model is saved in {output}" in trained.stderr.strip().splitlines()[-1]
    assert json.loads((output / "metrics.json").read_text())["train_steps"] == 12
    assert not list(output.glob(".push-*"))
    hub.failing.clear()
    pushed = run(
        [sys.executable, str(runs.SCRIPTS / "push_to_hub.py"), f"--folder={output}", "--repo_id=tester/mos"],
        values,
        tmp_path,
    )
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.strip().endswith(f"{hub.endpoint}/tester/mos")
    assert hub.repositories["tester/mos"].files["model.safetensors"] == (output / "model.safetensors").read_bytes()


@pytest.mark.hub
@pytest.mark.skipif(not os.environ.get("HF_TOKEN"), reason="needs HF_TOKEN of an account that may create repositories")
def test_on_the_real_hub(checkpoint: Path):
    """With `HF_TOKEN=... HF_HUB_OFFLINE=0 pytest -m hub`; it creates a private repository and deletes it."""
    api = HfApi()
    repo_id = create_repository(api, "jsqa-hf-test-of-pushing")
    try:
        assert api.model_info(repo_id).private
        files = files_to_push(checkpoint)
        push_files(api, repo_id, files, "test")
        assert set(files) <= set(api.list_repo_files(repo_id))
        model = JSQAForMOSRegression.from_pretrained(repo_id)
        assert expected_score(model.eval()) == expected_score(JSQAForMOSRegression.from_pretrained(checkpoint).eval())
    finally:
        api.delete_repo(repo_id)


def assert_no_pickles(repository: Repository) -> None:
    for _, _, files in repository.commits:
        assert not [path for path in files if path.endswith((".bin", ".pt", ".pth", ".pkl"))]
        # Zip archives are what torch.save writes.
        assert not [path for path, content in files.items() if content[:2] in (b"PK", b"\x80\x02")]
        assert {"model.safetensors", "config.json", "modeling_jsqa.py", "training_args.json", "README.md"} <= set(
            files
        )


def expected_score(model: JSQAForMOSRegression) -> float:
    """Of the clip that `LOAD` rates."""
    samples = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    inputs = JSQAFeatureExtractor()(samples, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        return float(model(**inputs)[0].flatten()[0])
