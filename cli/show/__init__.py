"""Format results for a terminal as lines, grids and words. Pure, except for drawing."""
