"""Simulate and reconstruct tracks in the FASER spectrometer with numpy only."""
