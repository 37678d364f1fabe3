"""A network as a user sees it: predict, train, save."""

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from .engine import Engine
from .kernels import Tier
from .package import Package
from .store import Store

# uint8 are raw, int8 quantized, floats real values
Values = bytes | bytearray | memoryview | array[Any] | Sequence[float]
Target = int | str | Values  # a class, a label, or the wanted output

class Net(Engine):
    package_crc: int
    name: str
    labels: tuple[str, ...]
    classes: int
    loss: str
    input_bytes: int
    output_bytes: int
    input_view: memoryview
    latent_view: memoryview
    target_view: memoryview
    store: Store | None
    saved_step: int
    run: int

    def __init__(
        self,
        package: Package,
        tier: Tier | str | None = None,
        store: Store | None = None,
        cores: int = 2,
    ) -> None: ...

    # the state
    def begin(self, total: int, run: int = 0) -> None:
        """Start a schedule of `total` steps: the rate falls along a cosine to 0."""
    def save(self) -> int:
        """Write the trained state beside the package; power may fail at any moment. Returns its step."""
    def choose(self, samples: Sequence[tuple[Values, Target]], epochs: int = 1) -> dict[int, list[int]]:
        """Let a task's samples say which channels of which layers train: {candidate: its channels}."""
    def add_class(self, name: str) -> int:
        """Add a class that knows nothing yet, as far as --max-classes reserved rows; returns its index."""
    def name_classes(self) -> None:
        """Read the classes' names: the package's, then those that the state says were added."""

    # one sample
    def load_input(self, x: Values) -> None:
        """Put a sample into input_view as int8. Real values are rounded half away from zero."""
    def map_input(self) -> None:
        """Turn raw uint8 in input_view into int8, in place."""
    def load_target(self, y: Target) -> None:
        """Put a label (name or index) into target_view; for mse the wanted output, real values or int8."""
    def train(self, x: Values, y: Target) -> int:
        """Train on one sample; returns the loss in 1/1024 nat (mse: in squared steps of the output)."""
    def train_input(self, y: Target | None = None) -> int:
        """Train on the sample that lies in input_view, with this label or the target in target_view."""
    def latent(self, x: Values) -> bytes:
        """What the layers below the first trained one make of a sample: bytes to keep for train_latent()."""
    def load_latent(self, x: Values) -> None:
        """Compute a sample's latent; it stays in latent_view until the next step."""
    def train_latent(self, latent: bytes | bytearray | memoryview, y: Target | None) -> int:
        """Train on a sample's latent: as train(), without the frozen layers' work."""
    def classify_input(self) -> int:
        """The class of the sample in input_view."""
    def loss_input(self) -> int:
        """The loss of what lies in input_view and target_view, without training."""
    def predict(self, x: Values) -> str | int | list[float]:
        """The label of a sample; without labels its class; without a head the output values."""
    def outputs(self) -> list[float]:
        """The last output as real values: logits of a head, or the dequantized output tensor."""

    # many samples
    def fit(self, samples: Sequence[tuple[Values, Target]], epochs: int = 1, every: int = 16) -> float:
        """Train on a list of (x, label) in its order, with a progress line; returns the last mean loss."""
    @property
    def prototypes(self) -> bool:
        """Whether the head's classes are prototypes, which enroll() makes."""
    def enroll(self, samples: Iterable[tuple[Values, Target]]) -> None:
        """Make prototypes of the classes of these (x, label), without gradients. Needs --head prototype."""
    def fit_few(
        self,
        support: Sequence[tuple[Values, Target]],
        epochs: int = 10,
        shift: int = 2,
        flip: bool = False,
        brightness: int = 0,
    ) -> float:
        """Train on moved copies of a few (x, label) against their prototypes; returns the last mean loss."""
    def evaluate(self, samples: Iterable[tuple[Values, Target]]) -> float:
        """The share of samples whose label is right (mse: the mean loss)."""

    # about itself
    def repeat_input(self, sample: bytes) -> None:
        """Fill input_view with a sample's int8 values, again and again until it is full."""
    def output_crc(self) -> int:
        """CRC32 of the last output, by which a golden sample is compared."""
    def self_test(self) -> bool:
        """Run the package's golden sample and compare with what the compiler saw. The state is put back."""
    def info(self) -> dict[str, Any]:
        """A dict of what one wants to know at the REPL."""
