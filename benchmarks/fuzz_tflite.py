"""Fuzz the .tflite reader, guided by coverage.

    python benchmarks/fuzz_tflite.py [SECONDS]      900 unless said; needs `pip install atheris`

Whatever the bytes are, the answer must be a graph or ModelError.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=[
        "trimtab_tools.formats.read_tflite",
        "trimtab_tools.formats.tflite_file",
        "trimtab_tools.graph.ir",
        "tflite",
        "flatbuffers",
    ]
):
    from trimtab_tools.errors import ModelError
    from trimtab_tools.formats import read_tflite

import paths  # noqa: F401  # makes tests/support importable
from models import Builder
from trimtab_tools.formats import write_tflite


def seeds():
    """Small models that between them have every operator."""
    b = Builder((6, 6, 2), seed=1)
    b.conv(4, (3, 3), (2, 2), act="relu6")
    skip = b.x
    b.depthwise(act="relu")
    b.add(skip, b.x)
    b.pool("avg_pool")
    b.dense(3)
    b.softmax()
    yield b.graph()
    b = Builder((4, 4, 2), seed=2)
    a = b.pool("max_pool")
    b.pad((0, 0), (0, 0), (0, 0))
    b.concat(a, b.x)
    b.unary("logistic")
    b.mean()
    yield b.graph()


def one(data):
    try:
        read_tflite.read(bytes(data))
    except ModelError:
        pass


def main():
    seconds = sys.argv[1] if len(sys.argv) > 1 else "900"
    with tempfile.TemporaryDirectory(prefix="trimtab-fuzz.") as corpus:
        for i, graph in enumerate(seeds()):
            (Path(corpus) / f"seed{i}").write_bytes(write_tflite.write(graph))
        atheris.Setup(
            [
                sys.argv[0],
                f"-max_total_time={seconds}",
                "-max_len=8192",
                "-timeout=60",
                "-rss_limit_mb=4096",
                "-print_final_stats=1",
                corpus,
            ],
            one,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
