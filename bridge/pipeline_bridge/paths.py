"""The prefix of the API's paths."""

# Every endpoint is there with and without it; the description names the first.
PREFIX = "/api/v1"
