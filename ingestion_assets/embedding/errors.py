"""What can go wrong with embedding: said to a person, never with the texts in it."""


class EmbeddingError(Exception):
    """Texts got no vectors."""


class UnknownModelError(EmbeddingError, ValueError):
    """There is no model of this name; says which there are."""


class EmbeddingUnavailableError(EmbeddingError):
    """The model cannot be asked now, or does not answer as it should; another try may go through."""


class EmbeddingRejectedError(EmbeddingError):
    """The model refuses these texts; another try will not help."""


class StoppedError(Exception):
    """The caller asked to stop."""
