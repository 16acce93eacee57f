"""How the result of `jsqa check` is told: in lines, as JUnit XML and as JSON."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any
from xml.etree import ElementTree

from . import __version__
from .baseline import BaselineComparison
from .gate import CheckedFile, GateOptions, GateResult
from .score_formats import printable

__all__ = ["as_json", "as_junit", "as_text"]

# Our choice: of each kind so many lines; all of them are in the JSON and JUnit files.
_MOST_LINES = 20


def as_text(result: GateResult) -> str:
    """The result in a few lines, failures first.

    Args:
        result: of the run.
    """
    failed = [file for file in result.files if not file.passed]
    lines = [f"FAILED {printable(file.name)}: {printable(_reason(file))}" for file in failed]
    lines = _shortened(lines, "files that failed")
    if result.comparison is not None:
        lines += _baseline_lines(result.comparison)
    lines += [
        f"{'passed' if verdict.passed else 'FAILED'} {printable(verdict.name)}: {verdict.message}"
        for verdict in result.verdicts
    ]
    count = len(result.files)
    lines.append(
        f"{'passed' if result.passed else 'FAILED'}: {count - len(failed)} of {count} files are good enough"
        + (
            f", {sum(not verdict.passed for verdict in result.verdicts)} of {len(result.verdicts)} checks failed"
            if result.verdicts
            else ""
        )
    )
    return "\n".join(lines)


def _baseline_lines(comparison: BaselineComparison) -> list[str]:
    drops = sorted((change, name) for name, change in comparison.differences.items() if change < 0)
    return [
        *_shortened([f"added {printable(name)}" for name in comparison.added], "added files"),
        *_shortened([f"missing {printable(name)}" for name in comparison.missing], "missing files"),
        *(f"largest drop {change:+.4f} {printable(name)}" for change, name in drops[:3]),
    ]


def _shortened(lines: list[str], what: str) -> list[str]:
    left_out = len(lines) - _MOST_LINES
    return lines if left_out <= 0 else [*lines[:_MOST_LINES], f"... and {left_out} more {what}"]


def as_json(result: GateResult, options: GateOptions, fingerprint: str) -> str:
    """The result as a JSON object.

    Its keys: `passed`; `options`; `model_fingerprint`; `verdicts`, a list with `name`, `message` and `passed`;
    `baseline`, the fields of `BaselineComparison` or null; `files`, a list with `file`, `passed`, `reason`,
    `duration_s` and the scores, rounded to 4 decimals.

    Args:
        result: of the run.
        options: that were asked for.
        fingerprint: of the model.
    """
    content = {
        "passed": result.passed,
        "options": asdict(options),
        "model_fingerprint": fingerprint,
        "verdicts": [asdict(verdict) for verdict in result.verdicts],
        "baseline": None if result.comparison is None else asdict(result.comparison),
        "files": [_file_record(file) for file in result.files],
    }
    return json.dumps(content, indent=1) + "\n"


def _file_record(file: CheckedFile) -> dict[str, Any]:
    duration = file.score.duration_s
    return {
        "file": file.name,
        "passed": file.passed,
        "reason": None if file.passed else _reason(file),
        "duration_s": None if duration is None else round(duration, 4),
        **{name: round(value, 4) for name, value in file.score.scores.items()},
    }


def as_junit(result: GateResult, started: datetime) -> bytes:
    """The result as JUnit XML, as Jenkins, GitLab, GitHub actions and others read it.

    Every file is a test case, with its folder behind `files/` as the class; so is every check beyond single files,
    with the class `jsqa check`. A file that couldn't be rated is an error, one that is not good enough a failure. The
    XML is valid by the schemas of Jenkins (junit-10.xsd of its xUnit plugin) and of Ant (JUnit.xsd). What may not
    stand in XML, such as control characters in the name of a file, is written as a `\\` escape.

    Args:
        result: of the run.
        started: when it began.
    """
    errors = sum(file.score.error is not None for file in result.files)
    failures = sum(file.failure is not None for file in result.files)
    failures += sum(not verdict.passed for verdict in result.verdicts)
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        id="0",
        package="jsqa",
        name="jsqa check",
        tests=str(len(result.files) + len(result.verdicts)),
        failures=str(failures),
        errors=str(errors),
        skipped="0",
        time=f"{sum(file.seconds for file in result.files):.3f}",
        timestamp=started.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S"),
        hostname=platform.node() or "localhost",
    )
    properties = ElementTree.SubElement(suite, "properties")
    ElementTree.SubElement(properties, "property", name="jsqa_hf", value=__version__)
    for file in result.files:
        # Jenkins takes what is before a dot for a package, so that no class is called ".".
        class_name = "files" if file.folder == "." else f"files/{file.folder}"
        case = _test_case(suite, class_name, os.path.basename(file.name), file.seconds)
        if file.score.error is not None:
            _outcome(case, "error", "unusable", file.score.error)
        elif file.failure is not None:
            _outcome(case, "failure", "quality", file.failure)
    for verdict in result.verdicts:
        case = _test_case(suite, "jsqa check", verdict.name, 0.0)
        if not verdict.passed:
            _outcome(case, "failure", "quality", verdict.message)
    output = "\n".join(f"{verdict.name}: {verdict.message}" for verdict in result.verdicts)
    ElementTree.SubElement(suite, "system-out").text = "\n".join(map(printable, output.splitlines()))
    ElementTree.SubElement(suite, "system-err")
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True) + b"\n"


def _test_case(suite: ElementTree.Element, class_name: str, name: str, seconds: float) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite, "testcase", classname=printable(class_name), name=printable(name), time=f"{seconds:.3f}"
    )


def _outcome(case: ElementTree.Element, kind: str, type_name: str, message: str) -> None:
    ElementTree.SubElement(case, kind, type=type_name, message=printable(message)).text = printable(message)


def _reason(file: CheckedFile) -> str:
    return file.score.error or file.failure or ""
