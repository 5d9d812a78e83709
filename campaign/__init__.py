"""A campaign's folder: the names in it, its manifest, its submissions and later changes."""
