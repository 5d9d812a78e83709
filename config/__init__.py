"""Read and validate the configuration file, and parse what users type."""
