"""Processors that touch no data: for measurements and for trying out how runs end."""
