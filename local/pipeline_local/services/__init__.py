"""The embedded services of the local profile: a PostgreSQL server and a stand-in for BigQuery."""
