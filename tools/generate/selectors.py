"""Which series the panels ask for: selectors over the dashboard's variables."""

from __future__ import annotations

NAMESPACE = 'namespace=~"$namespace"'
RUN = f'{NAMESPACE},run="$run"'
JUDGED = f'{RUN},judge="$judge"'
MONITOR = f'{NAMESPACE},monitor="$monitor"'
