"""Pages for people: the report of a campaign, the index of those that are published, comparisons."""
