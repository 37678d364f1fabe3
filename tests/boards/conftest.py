"""A package that is small enough to be copied often."""

import pytest
from helpers import compiled
from models import Builder


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    b = Builder((6, 6, 1), seed=5)
    b.conv(4, act="relu")
    b.dense(3)
    path = tmp_path_factory.mktemp("package") / "net.ttp"
    path.write_bytes(compiled(b.graph(), "bias").data)
    return path
