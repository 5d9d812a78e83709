"""What to say and how it gets there."""
