"""`python -m hardening_trainer.dpo.torchrun ...`: torchrun, ending with the stage that started it."""

from __future__ import annotations

import sys

from torch.distributed.run import main

from hardening_trainer.dpo.processes import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    main(sys.argv[1:])
