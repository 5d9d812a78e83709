"""How results look on a terminal: lines, grids, words. Pure, but for what draws them."""
