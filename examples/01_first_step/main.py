"""First step: a network that tells flat from steep stripes learns a third class, crosses. Needs no board."""

import sys
from pathlib import Path

import trimtab
from stripes import LABELS, pictures
from trimtab_tools.compiler.compile import compile_graph
from trimtab_tools.formats import read_tflite


def main(folder="."):
    package = Path(folder) / "stripes.ttp"
    model = read_tflite.read(Path(__file__).with_name("stripes.tflite"))
    package.write_bytes(compile_graph(model, "bias", labels=LABELS, rate=0.02).data)

    # from here on the same lines run on a board
    net = trimtab.load(str(package))
    test = pictures(60, seed=2)
    before = net.evaluate(test)
    net.fit(pictures(150, seed=1), epochs=2)
    after = net.evaluate(test)
    net.save()
    picture, label = test[2]
    print("a", label, "is called", trimtab.load(str(package)).predict(picture))
    print("right before: %.2f, after: %.2f" % (before, after))
    return before, after


if __name__ == "__main__":
    main(*sys.argv[1:])
