"""Read and write a campaign's folder: file names, manifest, submissions and later changes."""
