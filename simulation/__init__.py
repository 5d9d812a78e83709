"""The FASER spectrometer in numpy: a reconstruction that runs anywhere."""
