"""Import campaigns and configurations of faser-alignment-script; nothing else depends on this package."""
