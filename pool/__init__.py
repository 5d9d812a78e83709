"""A personal HTCondor pool of one machine."""
