"""Where things are. Importing this also makes the helpers of the tests (tests/support) importable."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
RESULTS_PAGE = ROOT / "docs" / "results.md"
ASSETS = ROOT.parent / "shared" / "assets"  # models and data that are too large for the repository
MCUNET = ASSETS / "tiny_training" / "mcunet-5fps.npz"

sys.path.insert(0, str(ROOT / "tests" / "support"))
