"""Adapters to PostgreSQL and BigQuery; nothing is imported here, so that each part loads only what it uses."""
