"""From the reconstruction's ROOT files to the binary records that Millepede reads."""
