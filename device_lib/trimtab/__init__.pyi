"""trimtab: train neural networks on microcontrollers, from Python."""

from .net import Net

__version__: str
ROM: str
KEY_FILE: str
KEY_BYTES: int

def load(path: str, kernels: str | None = None, cores: int = 2) -> Net:
    """A network from a package file, with its last saved state if there is one.

    kernels: "c", "viper" or "plain"; without a name, the fastest that the board has.
    cores: with 2 it works on the second core of a board too, if there is one to be had; info() says so.
    """

def board_key() -> bytes | None:
    """The key of a board that obeys only its owner, or None."""
