"""The embedded services of the local profile: a PostgreSQL server, a stand-in for BigQuery, simulated APIs."""
