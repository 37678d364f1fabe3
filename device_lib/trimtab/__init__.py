"""trimtab: train neural networks on microcontrollers, from Python."""

__version__ = "0.1.0"

ROM = "/rom/"  # where packages can be used in place but nothing be written: their state is saved in /
KEY_FILE = "/trimtab.key"
KEY_BYTES = 32


def load(path, kernels=None, cores=2):
    """A network from a package file, with its last saved state if there is one.

    It works on the second core of a board too, if there is one to be had; its info() says so.
    """
    from .net import Net
    from .package import Package
    from .store import Store

    package = Package(path)
    key = board_key()
    if key:
        from . import trust

        trust.check(package, key)
    return Net(package, kernels, Store(path[len(ROM) - 1 :] if path.startswith(ROM) else path), cores)


def board_key():
    """The key of a board that obeys only its owner: frozen in as trimtab_key.KEY, or in its file; or None."""
    try:
        from trimtab_key import KEY as key
    except ImportError:
        try:
            with open(KEY_FILE, "rb") as file:
                key = file.read()
        except OSError as error:
            if error.errno != 2:  # a key that cannot be read is not the absence of one
                raise
            return None
    if len(key) != KEY_BYTES:
        raise ValueError(
            "%s has %d bytes, a key has %d: remove it and run `trimtab key put`"
            % (KEY_FILE, len(key), KEY_BYTES)
        )
    return key
