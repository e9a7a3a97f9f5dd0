"""Schedules: which ticks are due, and what is to be made of them. Pure: no I/O, no clock."""
