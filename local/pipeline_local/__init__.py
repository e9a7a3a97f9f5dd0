"""A real one-node Kubernetes and the embedded services, for a bare machine."""
