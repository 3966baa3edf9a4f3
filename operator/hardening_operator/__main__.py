"""Start the operator."""

from __future__ import annotations

import sys

from hardening_operator.controller.runtime.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
