"""What a command of `jsqa` costs in a process of its own: `python benchmarks/command_cost.py score FILE ...`.

Prints what the command prints, and on the last line, as JSON, the seconds since the start of the process' imports and
the peak of its memory. Nothing but the command itself is imported, so that those without torch stay without.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

_START = time.perf_counter()


def peak_mib() -> float:
    """The most memory that this process has had so far, in MiB."""
    # Not `ru_maxrss`, which a process takes over from the one that started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def cost_of(*arguments: str) -> tuple[str, dict[str, float]]:
    """Run a command to its end; returns what it printed, and `wall_s`, `cpu_s` and `peak_memory_mib`.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, __file__, *arguments]
    *lines, costs = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return "\n".join(lines), json.loads(costs)


def main() -> int:
    """Run the command of the command line."""
    # By this name the package knows the command, and leaves it to it whether torch is needed.
    sys.argv[0] = "jsqa"
    from jsqa_hf.cli import main as main_of_jsqa

    code = main_of_jsqa(sys.argv[1:])
    costs = {"wall_s": time.perf_counter() - _START, "cpu_s": time.process_time(), "peak_memory_mib": peak_mib()}
    print(json.dumps({name: round(value, 1) for name, value in costs.items()}))
    return code


if __name__ == "__main__":
    sys.exit(main())
