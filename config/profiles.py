"""Write the configuration files of ``init``, one per profile."""

from pathlib import Path

import faser_align.templates
from faser_align.system import account

PROFILES = ("local", "lxplus")


def profile_text(profile: str) -> str:
    """Return the commented configuration of a profile, with this user's paths and none of this installation."""
    text = Path(faser_align.templates.__file__).with_name(f"{profile}.toml").read_text(encoding="utf-8")
    user = account.user()
    return text.replace("{initial}", user[:1]).replace("{user}", user)
