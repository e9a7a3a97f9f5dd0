"""Processors for Anthropic."""
