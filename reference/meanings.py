"""Read the meaning of each state and event, for the documentation and the report."""

import tomllib
from pathlib import Path

_TABLES: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("meanings.toml").read_text(encoding="utf-8")
)
STATES, NODE_STATES, EVENTS = (_TABLES[name] for name in ("states", "node_states", "events"))
