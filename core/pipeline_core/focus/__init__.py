"""One cost table over all providers, as FOCUS 1.4 defines it: an SQL view over what stands in the provider tables."""
