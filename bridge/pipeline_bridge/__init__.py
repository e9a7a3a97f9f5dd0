"""The HTTP API: authenticates and admits requests, and makes custom resources of them; never Jobs."""
