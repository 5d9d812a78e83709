"""A store made whole again from DAGMan's logs, the published copy and the metrics files (``faser-align repair``)."""
