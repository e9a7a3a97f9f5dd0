"""The quick start: everything from a bare machine to a billing export in an organization's dataset, in one command."""
