"""Methods that may be left out: their files can be deleted, and everything else still works."""

import pytest
from sources import HOST

METHODS = ("tinytl", "mobiletl", "tinytrain")


def files(method, *folders):
    """A method's own files: named as it is, or as it is and an underscore; tests have `test_` before it."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            stem = path.stem.removeprefix("test_")
            if path.is_file() and (stem == method or stem.startswith(method + "_")):
                yield path


def left_out(policy):
    """Whether a policy, with its options behind a colon, is a method whose files are not there."""
    method = policy.split(":")[0]
    return method in METHODS and not any(files(method, HOST))


def needs(*methods):
    """A mark: the test is skipped where one of these methods was left out."""
    gone = [method for method in methods if left_out(method)]
    return pytest.mark.skipif(bool(gone), reason=f"without {', '.join(gone)}")
