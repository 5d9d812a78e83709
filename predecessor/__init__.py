"""Everything that reads what faser-alignment-script left; nothing else depends on it."""
