"""The log of a stage: one line an event, on stderr."""

from __future__ import annotations

import logging
import os
import sys


def set_up_logging() -> None:
    """Log one line an event to stderr, and keep libraries from drawing bars and giving advice."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    logging.captureWarnings(True)
    for name in ("httpx", "fsspec", "urllib3", "datasets", "transformers", "huggingface_hub", "py.warnings"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for variable in ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ.setdefault(variable, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
