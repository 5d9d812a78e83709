"""Store a campaign's state: schema, writer, snapshot, queries, event queue, registry."""
