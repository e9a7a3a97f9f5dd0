"""The quota ledger in PostgreSQL: slots reserved, released and settled, and an organization's counters."""
