"""`python -m hardening_trainer <stage> --config stage.json`: one stage, from its config to its result.

Only the module of the stage asked for is imported, since torch takes seconds. Exit codes: see `errors`.
"""

from __future__ import annotations

import signal
import sys


def _run() -> int:
    # Until a stage catches it, Ctrl-C ends the process at once and without a traceback, also while it imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from hardening_trainer.commands.main import main  # noqa: PLC0415  # as above

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(_run())
