"""Write the configuration files of ``init``, one per profile."""

import getpass
import os

import faser_align.templates

PROFILES = ("local", "lxplus")


def profile_text(profile: str) -> str:
    """Return the commented configuration of a profile, with this user's paths and none of this installation."""
    path = os.path.join(os.path.dirname(faser_align.templates.__file__), f"{profile}.toml")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    user = getpass.getuser()
    return text.replace("{initial}", user[:1]).replace("{user}", user)
