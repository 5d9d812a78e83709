"""Convert the reconstruction's ROOT files to Mille records, and read these."""
