"""Define the diverging colours of the detector's pictures: blue below zero, red above. Pure."""

MINUS, ZERO, PLUS = (33, 102, 172), (247, 247, 247), (178, 24, 43)
"""Ends and middle of ColorBrewer's RdBu, whose ends differ for people who see no red or no green."""


def colour(share: float) -> str:
    """Return the colour for ``share``, a value's ratio to the end of the scale, from -1 to 1."""
    end = PLUS if share > 0 else MINUS
    part = round(min(abs(share), 1.0), 2)
    return "#" + "".join(f"{round(zero + (full - zero) * part):02x}" for zero, full in zip(ZERO, end, strict=True))


def in_page(share: float) -> str:
    """Return the same as a colour of the page's style sheet, which has other ends in dark mode."""
    end, part = ("plus" if share > 0 else "minus"), round(100 * min(abs(share), 1.0))
    return f"color-mix(in srgb,var(--{end}) {part}%,var(--zero))"


PAGE = {colour(percent / 100): in_page(percent / 100) for percent in range(-100, 101)}
"""The page's colour for each colour of ``colour``."""
