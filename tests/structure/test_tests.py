"""The tests share what they need through support."""

import re

from sources import ROOT, python


def test_no_test_imports_from_another():
    for path in python(ROOT / "tests", ROOT / "benchmarks"):
        found = re.findall(r"^\s*(?:from|import) test_\w+", path.read_text(), re.M)
        assert not found, f"{path}: what several tests need belongs in tests/support"
