"""Every error whose message is meant for the user. Each message is one sentence that names the cure."""


class TrimtabError(Exception):
    """What the command prints in one line instead of a traceback."""


class ModelError(TrimtabError):
    """The model cannot be used as it is. The message names the layer."""


class UsageError(TrimtabError):
    """What was asked for cannot be done."""


class DataError(TrimtabError):
    """The samples do not fit the package."""


class ToolchainError(TrimtabError):
    """A build failed, or something that it needs is missing."""


class BoardError(TrimtabError):
    """A board refused, or cannot be used as asked."""


class LinkError(TrimtabError):
    """The line to the board is not there, or no longer there."""
