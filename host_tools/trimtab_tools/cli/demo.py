"""`make demo`: a network that reads clear pictures learns, on a board, to read those of a hazy camera.

examples/02_adapt_digits/README.md does the same by hand. The demo also checks that the board's trained
weights equal the simulation's, and that they are still there after a reboot.
"""

import argparse
import importlib.util
import shutil
import sys
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np

from .. import output
from .. import samples as data
from ..boards import loading, pico, simulated
from ..boards.connect import attach
from ..boards.deploy import deploy
from ..boards.progress import Lines
from ..boards.train import evaluate
from ..boards.unix import unix_command
from ..compiler import compile
from ..compiler.package_reading import Contents
from ..errors import BoardError, ModelError, ToolchainError, TrimtabError
from ..formats import read_tflite
from ..lab import batch
from ..link.client import Client
from ..link.repl import mpremote
from ..link.transport import Process
from ..toolchain import boards, cache

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "02_adapt_digits"
RATE = 0.01
HEAP = "256k"  # of board unix, about what a Pico has: its words take twice the room
SEED = 0  # of the order of samples

MEASURE = """
import gc, trimtab, trimtab.serve
net = trimtab.load("digits.ttp")
print(net.info()["heap_used"])
"""


# -- boards


class Sim:
    """A board of the demo. The others differ from the simulated one in these methods."""

    def __init__(self, stack: ExitStack, package: Path):
        self.package = package

    def deploy(self) -> str:
        """Put the package on the board; returns what was done."""
        return "the package lies beside it"

    def connect(self) -> AbstractContextManager[Client]:
        return attach("sim", self.package)

    def reboot(self) -> None:
        """Forget everything that is not in flash. Here every connection starts a new board."""

    def ram(self) -> int:
        """Bytes that the network takes."""
        package = Contents(self.package).package
        return package.arena_bytes + package.state_bytes


class Unix(Sim):
    def deploy(self) -> str:
        return "library and kernels are on its path"

    def connect(self) -> AbstractContextManager[Client]:
        command, env = self._command("import trimtab.serve; trimtab.serve.main(%r)" % self.package.name)
        return Client(lambda: Process(command, cwd=self.package.parent, env=env))

    def ram(self) -> int:
        command, env = self._command(MEASURE)
        return int(cache.run(*command, cwd=self.package.parent, env=env))

    def _command(self, code):
        return unix_command("-c", code, heap=HEAP)


class Pico(Sim):
    def __init__(self, stack: ExitStack, package: Path):
        super().__init__(stack, package)
        self.board = stack.enter_context(pico.Pico())

    def deploy(self) -> str:
        done = deploy(self.board.url, self.package)
        return (
            f"{done['bytes']} bytes of library, kernels ({done['architecture']}) and package "
            f"copied in {done['seconds']} s"
        )

    def connect(self) -> AbstractContextManager[Client]:
        return attach(self.board.url, self.package)

    def reboot(self) -> None:
        self.board.reset()

    def ram(self) -> int:
        return int(mpremote(self.board.url, "exec", MEASURE))


PLAYERS = {"sim": Sim, "unix": Unix, "pico": Pico}


# -- the story


def pretrained() -> Path:
    """The folder with the network and the pictures. It trains the network if the cache has none."""
    if not EXAMPLE.is_dir():
        raise ModelError("the demo lives in the project's repository: clone it and run make demo there")
    sources = [EXAMPLE / "model.py", Path(__file__).parents[1] / "formats" / "read_keras.py"]
    return cache.built("digits", sources, _train)


def _train(folder: Path) -> None:
    absent = [name for name in ("tensorflow", "sklearn") if not importlib.util.find_spec(name)]
    if absent:
        raise ModelError(
            f"the demo trains its network with {' and '.join(absent)}: run pip install -e '.[keras,test]'"
        )
    cache.run(sys.executable, EXAMPLE / "model.py", folder, env={"TF_CPP_MIN_LOG_LEVEL": "3"})


def build(folder: Path, work: Path) -> Path:
    """Compile the network with the example's plan; returns the package's path."""
    model = read_tflite.read(folder / "digits.tflite")
    plan = f"plan:{EXAMPLE / 'plan.json'}"
    made = compile.compile_graph(model, plan, name="digits", rate=RATE, kernels=simulated.best_tier())
    package = work / "digits.ttp"
    output.write(package, made.data)
    partly = sum(bool(u.channels) for u in made.plan.updates)
    say(
        "package",
        f"{len(made.data)} bytes; {len(made.plan.updates)} layers train their biases, "
        f"{partly} of them also half of their weight channels",
    )
    return package


def known(package: Path, file: Path) -> float:
    """The share of right classes in simulation, without training."""
    net = simulated.load(str(package))
    with np.load(file) as pictures:
        return batch.evaluate(net, [(x.tobytes(), y) for x, y in zip(pictures["x"], pictures["y"])])


def adapt(link: Client, samples: list, lines: Lines) -> float:
    """Train once on each sample; returns the board's mean time for a step in ms."""
    order = data.order(len(samples), SEED, 0)
    began, micros, losses = time.monotonic(), [], []
    results = link.train(lambda i: samples[order[i]], len(samples))
    for r in lines.progress("train", results, len(samples)):
        losses.append(r.value / 1024)
        micros.append(r.us)
        if r.seq % 100 == 0:
            say("", f"step {r.seq}: loss {np.mean(losses[-100:]):.2f}")
    ms, seconds = float(np.mean(micros)) / 1000, time.monotonic() - began
    say("train", f"{len(samples)} samples in {seconds:.0f} s, {ms:.1f} ms of board time each")
    return ms


def expected_crc(package: Path, samples: list) -> int:
    """The CRC of the state after this training on the PC."""
    net = simulated.load(str(package))
    net.begin(len(samples))
    for i in data.order(len(samples), SEED, 0):
        net.train(samples[i].data, samples[i].label)
    return net.state_crc()


def tell(name: str, stack: ExitStack, folder: Path, work: Path) -> dict:
    """The whole story; returns the fields of the last line."""
    package = build(folder, work)
    contents, lines = Contents(package), Lines()
    train, test = (loading.load(contents, folder / f"{part}.npz") for part in ("train", "test"))
    clear = known(package, folder / "clear.npz")
    say("model", f"reads {clear:.2f} of the clear pictures that it was made for")
    board = start(name, stack, package)
    ram = board.ram()

    def score(when):
        share = evaluate(link, contents, test, lines, when)
        say(when, f"{share:.2f} of {len(test)} hazy pictures")
        return share

    with board.connect() as link:
        require(link.self_test(), "the board's kernels do not give what the compiler saw")
        say("link", f"kernels {link.info['kernels']}, self-test passed, {ram} bytes of RAM in use")
        before, ms, after = score("before"), adapt(link, train, lines), score("after")
        link.save()
        crc = link.state_crc()
    require(crc == expected_crc(package, train), "the board's trained weights are not the simulation's")
    say("saved", f"weights {crc:08x}, bit for bit those of the simulation")

    board.reboot()
    with board.connect() as link:
        require(link.state_crc() == crc, "the board came back with other weights")
        rebooted = score("rebooted")
    return {
        "board": name,
        "before": f"{before:.2f}",
        "after": f"{after:.2f}",
        "rebooted": f"{rebooted:.2f}",
        "ram": ram,
        "ms_per_step": round(ms, 1) if ms < 10 else round(ms),
    }


def start(name: str, stack: ExitStack, package: Path) -> Sim:
    """The board with the package on it."""
    began = time.monotonic()
    board = PLAYERS[name](stack, package)
    say("board", f"{boards.BOARDS[name].about}; ready in {time.monotonic() - began:.1f} s")
    say("deploy", board.deploy())
    return board


def require(good: bool, fault: str) -> None:
    if not good:
        raise BoardError(f"{fault}: empty the cache ({cache.folder()}), so that everything is built again")


def say(what: str, text: str) -> None:
    print(f"{what:8} {text}", flush=True)


def available(name: str) -> str:
    """The board, or sim if system packages are missing and this user may not install them."""
    try:
        boards.provide(name)
    except ToolchainError as error:
        if name != "sim":  # without gcc its kernels take another form
            print(f"demo: {error}\ndemo: going on with BOARD=sim", file=sys.stderr)
            return available("sim")
    return name


def run(name: str) -> None:
    name = available(name)
    folder = pretrained()
    work = Path(tempfile.mkdtemp(prefix="trimtab-demo."))
    try:
        with ExitStack() as stack:
            fields = tell(name, stack, folder, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print("demo: " + " ".join(f"{key}={value}" for key, value in fields.items()))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m trimtab_tools.cli.demo", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--board", choices=PLAYERS, default="pico")
    try:
        run(parser.parse_args(argv).board)
    except TrimtabError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
