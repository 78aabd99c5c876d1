"""What is said of a body that is no payload of records."""


class UnreadableError(ValueError):
    """The body is no payload of records; says at which byte or line, never what stands there."""
