"""The configuration and the names of a campaign's files."""
