"""Fixtures of the cluster tests. They run with `make e2e` only: without E2E set nothing here is collected."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("E2E") else ["test_*.py"]
