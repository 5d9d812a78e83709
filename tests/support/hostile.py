"""List names that somebody may type, or give to a folder, with any characters.

Each has a canary command that a shell would execute.
"""

import json
from pathlib import Path

HOSTILE: list[str] = json.loads(Path(__file__).with_name("hostile.json").read_text(encoding="utf-8"))
