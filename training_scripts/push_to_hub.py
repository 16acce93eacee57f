"""Push a run that was trained without `--push_to_hub`, such as on a machine without internet.

    python training_scripts/push_to_hub.py --folder runs/mos --repo_id user/model

Pushes what the run itself would have: weights, configuration, code, model card, arguments, metrics and TensorBoard
logs. A new repository is private unless `--private false` is given.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi

from jsqa_hf.training import parse_arguments, run_script
from jsqa_hf.training.hub import create_repository, files_to_push, push_files


@dataclass
class PushArguments:
    """What to push, and where to."""

    folder: str = field(metadata={"help": "output folder of a training script"})
    repo_id: str = field(metadata={"help": "user/model"})
    private: bool = field(default=True, metadata={"help": "whether a new repository is private"})
    revision: str | None = field(default=None, metadata={"help": "branch, made if it is not there; default: main"})


def main(argv: Sequence[str] | None = None) -> None:
    """Push."""
    (args,) = parse_arguments((PushArguments,), argv)
    files = files_to_push(Path(args.folder))
    api = HfApi()
    repo_id = create_repository(api, args.repo_id, private=args.private, revision=args.revision)
    push_files(api, repo_id, files, "Upload the run", revision=args.revision)
    print(f"{api.endpoint}/{repo_id}")


if __name__ == "__main__":
    sys.exit(run_script(main))
