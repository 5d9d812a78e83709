"""``python -m faser_align.cli`` is the command ``faser-align``."""

from faser_align.cli.main import main

main()
