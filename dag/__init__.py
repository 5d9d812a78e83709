"""Plan, render and submit a campaign's DAG."""
