"""The one error that the local commands show to a person: a sentence that says what to do, without a traceback."""


class LocalError(Exception):
    """Something a person can act on: a missing right, program or argument, or a component that does not come up."""
