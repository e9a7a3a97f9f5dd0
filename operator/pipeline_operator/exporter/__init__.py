"""The exporter: brings `organizations.pipeline_runs` in BigQuery up to date with the records in PostgreSQL.

A process of its own, since BigQuery's client alone weighs as much as the whole operator.
"""
