"""Why a run of `ingestion send …` ends before all is sent. `run` makes exit statuses of it."""


class GaveUpError(Exception):
    """The front door could not be reached, or did not accept, for as long as was to be tried."""


class UsageError(Exception):
    """The command cannot do this: wrong usage, key, address or file, a state file that cannot be used."""


class StateFileError(UsageError):
    """The state file cannot be used: another sender has it, the disk is full, it is damaged. Says which."""


class RejectedError(Exception):
    """The front door will not take it, or kept it and could not apply it; says why."""


class AccessDeniedError(UsageError):
    """The key is missing, wrong, or lacks the scope; or there is no front door at the address."""


class StoppedError(Exception):
    """The sender was asked to stop."""
