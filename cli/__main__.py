"""Run the command ``faser-align`` as ``python -m faser_align.cli``."""

from faser_align.cli.main import main

main()
