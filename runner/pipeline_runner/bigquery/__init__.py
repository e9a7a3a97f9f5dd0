"""What the processors share around BigQuery: stage, check, publish."""
