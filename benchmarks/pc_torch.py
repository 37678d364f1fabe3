"""Training steps of PyTorch, eager, one thread, a batch of one: the other side of pc.py, which starts it.

It needs PyTorch and nothing of trimtab. Each line of standard input is JSON, and so is each answer:
"version"; a network, which becomes the current one; or a number of nanoseconds, for which the current one
trains. The answer to that is the least time of one step in nanoseconds.
"""

import json
import sys

import torch
from pc_turn import turn
from torch.nn import functional

RATE = 1e-3
ACTIVATIONS = {"none": lambda x: x, "relu": functional.relu, "relu6": functional.relu6}


class Network(torch.nn.Module):
    """The layers of pc.py in float32, channels first."""

    def __init__(self, layers, policy):
        super().__init__()
        self.layers = layers
        self.weights, self.biases = torch.nn.ParameterDict(), torch.nn.ParameterDict()
        weighted = [layer for layer in layers if layer["weights"]]
        for layer in weighted:
            shape, name = layer["weights"], layer["output"].replace(".", "_")
            last = layer is weighted[-1]
            weights, bias = torch.randn(_order(layer["kind"], shape)) * 0.05, torch.zeros(_channels(layer))
            self.weights[name] = torch.nn.Parameter(weights, policy == "full" or last)
            self.biases[name] = torch.nn.Parameter(bias, policy != "last" or last)

    def forward(self, x):
        made = {}
        for layer in self.layers:
            inputs = [made.get(name, x) for name in layer["inputs"]]
            made[layer["output"]] = self._layer(layer, *inputs)
        return made[self.layers[-1]["output"]]

    def _layer(self, layer, x, other=None):
        kind, act = layer["kind"], ACTIVATIONS[layer.get("act", "none")]
        name = layer["output"].replace(".", "_")
        if kind in ("conv", "depthwise"):
            top, left, bottom, right = layer["pad"]
            even = (top, left) if top == bottom and left == right else (0, 0)
            if even == (0, 0) and any(layer["pad"]):
                x = functional.pad(x, (left, right, top, bottom))
            groups = x.shape[1] if kind == "depthwise" else 1
            w, b = self.weights[name], self.biases[name]
            return act(functional.conv2d(x, w, b, layer["stride"], even, groups=groups))
        if kind == "dense":
            return act(functional.linear(x.flatten(1), self.weights[name], self.biases[name]))
        if kind == "add":
            return act(x + other)
        if kind == "avg_pool":
            return functional.avg_pool2d(x, layer["kernel"], layer["stride"])
        return {"mean": lambda: x.mean((2, 3)), "reshape": lambda: x.flatten(1)}[kind]()


def _order(kind, shape):
    """The shape of weights as PyTorch has them."""
    if kind == "conv":
        return shape[0], shape[3], shape[1], shape[2]
    return (shape[3], 1, shape[1], shape[2]) if kind == "depthwise" else shape


def _channels(layer):
    return layer["weights"][3 if layer["kind"] == "depthwise" else 0]


def steps(layers, policy, shape):
    """A function that takes one training step."""
    net = Network(layers, policy)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], RATE)
    n, *outer = shape
    size = (n, outer[-1], *outer[:-1])
    x = torch.randn(size)
    reconstructs = len(size) == 2  # an autoencoder
    target = x if reconstructs else torch.tensor([1])
    loss_of = functional.mse_loss if reconstructs else functional.cross_entropy

    def step():
        optimizer.zero_grad()
        loss_of(net(x), target).backward()
        optimizer.step()

    return step


def main():
    torch.set_num_threads(1)
    step = None
    for line in sys.stdin:
        asked = json.loads(line)
        if asked == "version":
            answer = torch.__version__
        elif isinstance(asked, dict):
            step = steps(**asked)
            answer = "ready"
        else:
            answer = turn(step, asked)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
