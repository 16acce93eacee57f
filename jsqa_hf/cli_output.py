"""What commands write to: the terminal, standard output and files."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from typing import TextIO

from .audio_files import AUDIO_EXTENSIONS
from .cli_errors import UsageError
from .score_formats import printable

__all__ = ["check_outputs", "complain", "only_our_messages", "open_output"]


def complain(message: str) -> None:
    """Tell the user on stderr, if it is open."""
    # Without a file, print would write to standard output, where the results go.
    if sys.stderr is not None:
        print(f"jsqa: {message}", file=sys.stderr, flush=True)


def check_outputs(
    outputs: Mapping[str, str | None], inputs: Iterable[str | None] = (), *, new_folder: bool = False
) -> None:
    """Refuse, before anything is rated, to write where nothing can be written, over audio, an input or another output.

    Args:
        outputs: files by the options that name them; None if an option was not given.
        inputs: what is read, as far as these are paths; None likewise.
        new_folder: whether their folders will be made if they are not there.

    Raises:
        UsageError: in these cases.
    """
    given = {option: path for option, path in outputs.items() if path is not None}
    if not given:
        return
    # No file has a name with a null character, which `realpath` does not take.
    files = (one for one in inputs if one is not None and "\0" not in one and not os.path.isdir(one))
    read = {os.path.realpath(one) for one in files}
    written: dict[str, str] = {}
    for option, path in given.items():
        where = f"{option} {printable(path)}"
        _check_output(where, path, new_folder)
        real = os.path.realpath(path)
        if real in read:
            raise UsageError(f"{where} is one of the inputs")
        # What is no file, such as /dev/null, takes any number of them.
        if real in written and (os.path.isfile(real) or not os.path.exists(real)):
            raise UsageError(f"{where} is also written by {written[real]}: name two files")
        written[real] = option


def _check_output(where: str, path: str, new_folder: bool) -> None:
    if path == "-":
        raise UsageError(f"{where}: give the name of a file")
    if os.path.splitext(path)[1].lower() in AUDIO_EXTENSIONS:
        raise UsageError(f"{where} is the name of an audio file, which would be overwritten")
    if os.path.isdir(path):
        raise UsageError(f"{where}: no file can be written there, as it is a folder")
    if not (new_folder or os.path.isdir(os.path.dirname(path) or ".")):
        raise UsageError(f"{where}: no file can be written there, as its folder does not exist")


@contextmanager
def open_output(path: str | None, format_name: str) -> Iterator[TextIO]:
    """The file, or stdout. For programs it is UTF-8, with those bytes of file names that aren't UTF-8 as they are."""
    if path is None:
        if isinstance(sys.stdout, TextIOWrapper):
            if format_name == "table":
                sys.stdout.reconfigure(errors="backslashreplace")
            else:
                sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")
        yield sys.stdout
        return
    try:
        stream = open(  # noqa: SIM115  closed below, where its errors aren't those of opening
            path, "w", encoding="utf-8", errors="surrogateescape", newline=""
        )
    except OSError as error:
        raise UsageError(f"--output {printable(path)}: {error.strerror}") from error
    with stream:
        yield stream


@contextmanager
def only_our_messages(of_transformers: bool = True) -> Iterator[None]:
    """Keep the loading reports, progress bars and warnings of libraries from the terminal.

    Args:
        of_transformers: whether transformers will be used; it is imported then.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not of_transformers:
            yield
            return
        # Before transformers: it sees to it that a torchaudio that doesn't load does no harm there.
        import_module(".scoring", __package__)
        from huggingface_hub import utils as hub
        from transformers.utils import logging

        verbosity, progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
        hub_verbosity = hub.logging.get_verbosity()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        hub.disable_progress_bars()
        hub.logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            hub.logging.set_verbosity(hub_verbosity)
            if progress:
                logging.enable_progress_bar()
                hub.enable_progress_bars()
