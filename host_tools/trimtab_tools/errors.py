"""Errors whose message is meant for the user: one sentence that says what is wrong and names the cure."""


class TrimtabError(Exception):
    """The base of them all. The command prints its message in one line instead of a traceback."""


class ModelError(TrimtabError):
    """The model cannot be used as it is. The message names the layer."""


class UsageError(TrimtabError):
    """The request cannot be carried out."""


class DataError(TrimtabError):
    """The samples do not fit the package."""


class ToolchainError(TrimtabError):
    """A build failed, or something that it needs is missing."""


class BoardError(TrimtabError):
    """A board refused, or cannot be used in this way."""


class LinkError(TrimtabError):
    """The line to the board is not there, or no longer there."""
