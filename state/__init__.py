"""The store of a campaign: schema, writer, published copy, queries, spool, registry."""
