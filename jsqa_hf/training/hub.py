"""To the Hugging Face Hub: the check before a run, and the push of what it wrote."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy

from ..model_card import THIS_FOLDER

# The client speaks HTTP through httpx in version 1 and httpx2 in version 2: its own error tells which.
_HTTPError: Any = HfHubHTTPError.__bases__[0]

CARD_NAME = "README.md"
TRAINING_ARGUMENTS_NAME = "training_args.json"

# No pickles: neither training_args.bin nor the states of optimizer and random generators.
_MODEL_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "adapter_config.json",
    "preprocessor_config.json",
    "*.py",
)
_RUN_FILES = (CARD_NAME, TRAINING_ARGUMENTS_NAME, "metrics.json", "runs/**/events.out.tfevents.*")


def prepare_push(args: TrainingArguments) -> None:
    """Find out before a run whether it can be pushed after it, and create the repository if there is none.

    All processes must call this; the first one asks the Hub. Without `push_to_hub` it does nothing. Afterwards
    `hub_model_id` names the repository in full.

    Args:
        args: of the run: `push_to_hub`, `hub_model_id` (default: name of the output folder), `hub_token`,
            `hub_private_repo`, `hub_revision`, `hub_strategy`.

    Raises:
        ValueError: if it can't be pushed; the message says why, and what to do.
    """
    if not args.push_to_hub:
        return
    answer: list[Any] = [None, None]
    if PartialState().is_main_process:
        try:
            answer[0] = _checked_repository(args)
        except ValueError as error:
            answer[1] = str(error)
    if PartialState().num_processes > 1:
        broadcast_object_list(answer)
    if answer[1] is not None:
        raise ValueError(f"--push_to_hub: {answer[1]}")
    args.hub_model_id = answer[0]


def _checked_repository(args: TrainingArguments) -> str:
    """The full id of a repository that can be written to."""
    refuse_pickles(args)
    name = args.hub_model_id or Path(str(args.output_dir)).absolute().name
    api = HfApi(token=args.hub_token)
    return create_repository(api, name, private=args.hub_private_repo, revision=args.hub_revision)


def refuse_pickles(args: TrainingArguments) -> None:
    """See that `hub_strategy` is none that pushes the optimizer's state.

    Raises:
        ValueError: if it is.
    """
    if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
        raise ValueError(
            f"--hub_strategy {HubStrategy(args.hub_strategy).value} would push the optimizer's state, a pickle, "
            "and pickles are never pushed: choose end or every_save"
        )


def create_repository(api: HfApi, name: str, *, private: bool | None = True, revision: str | None = None) -> str:
    """Create a repository for a model, and a branch, unless they are there, and make sure they can be written to.

    Args:
        api: with the token, if that isn't the one of the environment.
        name: `user/model`, or `model` alone for the owner of the token.
        private: whether a new repository is private; None leaves it to the Hub.
        revision: name of the branch; `main` if None.

    Returns:
        Its id, `user/model`.

    Raises:
        ValueError: if the Hub can't be reached or refuses; the message says why.
    """
    if constants.is_offline_mode():
        raise ValueError(
            "HF_HUB_OFFLINE is set, so the Hub can't be reached: unset it, or push the output folder of a run from "
            "another machine with training_scripts/push_to_hub.py"
        )
    if (api.token or get_token()) is None:
        raise ValueError("there is no token: log in with `hf auth login`, or set HF_TOKEN to one that can write")
    try:
        validate_repo_id(name)
        user = api.whoami()
        if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise ValueError(
                f"the token of {user['name']} may only read: make one that may write at {api.endpoint}/settings/tokens"
            )
        repo_id = api.create_repo(name, private=private, exist_ok=True).repo_id
        _check_write(api, repo_id)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
    except HFValidationError as error:
        raise ValueError(f"{name!r} can't be the name of a repository ({error}): give another one") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            raise ValueError(f"{api.endpoint} does not accept the token: log in again with `hf auth login`") from error
        if status in (402, 403):
            raise ValueError(
                f"the token may not write to {name}: name a repository of yours or of your organisation, "
                "or make a token that may"
            ) from error
        raise ValueError(f"{api.endpoint} refuses {name}: {_first_line(error)}") from error
    except (_HTTPError, OSError) as error:
        raise ValueError(f"{api.endpoint} can't be reached ({_first_line(error)}); is HF_ENDPOINT right?") from error
    return repo_id


def _check_write(api: HfApi, repo_id: str) -> None:
    try:
        api.auth_check(repo_id, write=True)
    except HfHubHTTPError as error:
        # The repository is there, so it is the question that a server other than the Hub does not know.
        if error.response.status_code != 404:
            raise


def files_to_push(output: Path, model: Path | None = None) -> dict[str, Path]:
    """What a run pushes: weights, configuration, code, card, arguments, metrics, TensorBoard logs; nothing pickled.

    The arguments hold the paths of the data as they were given, the configuration of an adapter of PEFT that of its
    base model, and the names of TensorBoard's files that of the machine.

    Args:
        output: folder of the run.
        model: folder with the model, such as a checkpoint; `output` if None.

    Returns:
        Path in the repository → file.

    Raises:
        FileNotFoundError: if there are no weights, or no configuration.
    """
    model = model or output
    files = {path.name: path for pattern in _MODEL_FILES for path in sorted(model.glob(pattern))}
    package = Path(__file__).parents[1]
    # Code that is not ours may lie there, too.
    files = {name: path for name, path in files.items() if path.suffix != ".py" or (package / name).is_file()}
    configured = "config.json" in files or "adapter_config.json" in files
    if not configured or not any(name.endswith(".safetensors") for name in files):
        raise FileNotFoundError(
            f"{model} holds no model: *.safetensors and config.json, or adapter_config.json, are needed"
        )
    for pattern in _RUN_FILES:
        files |= {path.relative_to(output).as_posix(): path for path in sorted(output.glob(pattern)) if path.is_file()}
    return files


def push_files(
    api: HfApi,
    repo_id: str,
    files: Mapping[str, Path],
    message: str,
    *,
    revision: str | None = None,
    background: bool = False,
) -> CommitInfo | Future[CommitInfo]:
    """Push files in one commit; a card that was written for no repository then shows how to load from this one.

    Args:
        api: with the token, if that isn't the one of the environment.
        repo_id: `user/model`.
        files: path in the repository → file.
        message: of the commit.
        revision: branch; `main` if None.
        background: return at once, with a future.

    Raises:
        OSError: if the Hub can't be reached or refuses; the message says how to push later.
    """
    operations = [
        CommitOperationAdd(name, _card(path, repo_id) if name == CARD_NAME else path) for name, path in files.items()
    ]
    if background:
        return api.create_commit(repo_id, operations, commit_message=message, revision=revision, run_as_future=True)
    try:
        return api.create_commit(repo_id, operations, commit_message=message, revision=revision)
    except (_HTTPError, OSError, ValueError) as error:
        folder = os.path.commonpath([str(path.parent) for path in files.values()])
        raise OSError(
            f"the model is saved in {folder}, but could not be pushed to {repo_id} ({_first_line(error)}): push it "
            f"later with `python training_scripts/push_to_hub.py --folder {folder} --repo_id {repo_id}"
            f"{f' --revision {revision}' if revision else ''}`"
        ) from error


def _card(path: Path, repo_id: str) -> bytes:
    return path.read_bytes().replace(THIS_FOLDER.encode(), repo_id.encode())


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
