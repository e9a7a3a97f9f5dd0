"""Kubernetes, for the parts that talk to it: the connection, and the names that others rely on."""
