"""`python -m hardening_trainer <stage> --config stage.json`: one stage, from its config to its result.

Only the module of the stage asked for is imported, since torch takes seconds. Exit codes: see `errors`.
"""

from __future__ import annotations

import sys

from hardening_trainer.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
