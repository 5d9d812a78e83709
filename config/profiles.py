"""The configuration files that ``init`` writes, one per profile."""

import getpass
import os

import faser_align.examples
import faser_align.templates

PROFILES = ("local", "lxplus")


def profile_text(profile: str) -> str:
    """The commented configuration of a profile, with this user's and this installation's paths filled in."""
    path = os.path.join(os.path.dirname(faser_align.templates.__file__), f"{profile}.toml")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    user = getpass.getuser()
    filled = {
        "{examples}": os.path.dirname(os.path.abspath(faser_align.examples.__file__)),
        "{initial}": user[:1],
        "{user}": user,
    }
    for field, value in filled.items():
        text = text.replace(field, value)
    return text
