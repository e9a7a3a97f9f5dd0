"""BigQuery: the client, and what several parts do with it."""
