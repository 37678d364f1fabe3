"""trimtab: train neural networks on microcontrollers, from Python."""

__version__ = "0.1.0"


def load(path, kernels=None):
    """A network from a package file, with its last saved state if there is one."""
    from .net import Net
    from .package import Package
    from .store import Store

    return Net(Package(path), kernels, Store(path))
