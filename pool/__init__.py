"""Run a personal HTCondor pool on one machine."""
