"""Simulators of the providers' APIs, and a proxy that makes trouble before the BigQuery stand-in."""
