"""The processors: each extracts, transforms and loads one kind of source."""
