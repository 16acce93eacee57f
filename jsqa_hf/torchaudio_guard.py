"""Hides a torchaudio that is installed but does not load, which would keep transformers from importing HuBERT.

A torchaudio built for another torch raises `OSError` or `RuntimeError` when it is imported, and transformers imports
it wherever it finds it installed. Hidden, it counts as not installed, and resampling falls back to NumPy.
"""

from __future__ import annotations

import logging
import sys

try:
    import torchaudio  # noqa: F401
except ModuleNotFoundError:
    pass
except (ImportError, OSError, RuntimeError) as error:
    logging.getLogger(__name__).warning(
        "torchaudio is installed but does not load beside the installed torch (%s); resampling with NumPy instead. "
        "To mend it, install torchaudio and torch of versions that belong together, or uninstall torchaudio.",
        str(error).splitlines()[0],
    )
    # Python's own way to make an import fail: find_spec() then says that there is no such module.
    for name in [name for name in sys.modules if name == "torchaudio" or name.startswith("torchaudio.")]:
        del sys.modules[name]
    sys.modules["torchaudio"] = None  # type: ignore[assignment]
