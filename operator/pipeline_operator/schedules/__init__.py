"""Schedules: watched, decided about when a tick is due or something has changed, and carried out."""
