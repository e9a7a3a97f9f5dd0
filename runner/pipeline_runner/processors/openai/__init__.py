"""Processors for OpenAI."""
