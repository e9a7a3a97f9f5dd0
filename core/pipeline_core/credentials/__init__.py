"""Credentials of organizations: how their Secrets are named and laid out, and what a sealed one holds."""
