"""TinyTL's residual module in the float twin: real numbers throughout."""

from collections.abc import Sequence

import numpy as np

from ..operators import tinytl
from .float_layers import Layer


class Module(Layer):
    """A lite residual module, whose output is added to that of a block.

    It is a 2x2 mean pool, a convolution by groups, norm, affine, ReLU, a 1x1 convolution, norm, affine, and
    nearest upsampling. The unit of the second gamma and beta is a step of the block's output.
    """

    def prepare(self, qas: bool) -> None:
        self.sizes = tinytl.sizes(self.graph, self.op)
        self.first, self.part = self.sizes.convs[0], self.constant(2).shape[-1]
        self.w1, self.w2 = (self.constant(i) * self.scale_of(self.op.inputs[i]) for i in (2, 4))
        self.w2 = self.w2.reshape(len(self.w2), -1)
        self.affines = [self.constant(i) / 65536 for i in (3, 5)]
        self.gains = [tinytl.AFFINE_GAIN, tinytl.AFFINE_GAIN / self.scale_of(self.output) ** 2]

    def forward(self, xs: Sequence[np.ndarray]) -> np.ndarray:
        return self.finish(np.rint(self.join(xs)))

    def join(self, xs: Sequence[np.ndarray]) -> np.ndarray:
        """The output before it is rounded."""
        y, x = xs[0].astype(float), xs[1].astype(float) - self.p["x_zero"]
        self.columns = self._columns(self._pool(x))
        a = np.concatenate([c @ w.T for c, w in zip(self.columns, self._groups(self.w1))], axis=-1)
        self.xhat1, self.rate1 = self._normalize(a, 0)
        self.z = self.xhat1 * self.affines[0][0] + self.affines[0][1]
        self.h = np.clip(self.z, 0, 127 / 16)
        self.xhat2, self.rate2 = self._normalize(self.h @ self.w2.T, 1)
        made = self.xhat2 * self.affines[1][0] + self.affines[1][1]
        h, w = y.shape[1:3]
        return y + made.repeat(2, axis=1).repeat(2, axis=2)[:, :h, :w]

    def backward(self, gy: np.ndarray, rate: float) -> list[np.ndarray | None]:
        g = gy.reshape(self.mask.shape) * self.mask
        d = self._sum_of_four(g)
        da2 = self._learn_affine(d, self.xhat2, self.rate2, 1, rate)
        dh = (da2 @ self.w2) * self.passes()
        da1 = self._learn_affine(dh, self.xhat1, self.rate1, 0, rate)
        dx = self._spread(da1) if self.wanted[1] else None
        rate *= tinytl.WEIGHT_GAIN
        width = da1.shape[-1] // self.sizes.groups
        da1 = da1.reshape(-1, self.sizes.groups, width)
        self.w2 = self.w2 - rate * da2.reshape(-1, len(self.w2)).T @ self.h.reshape(-1, self.w2.shape[1])
        dw1 = [da1[:, j].T @ c.reshape(-1, c.shape[-1]) for j, c in enumerate(self.columns)]
        self.w1 = self.w1 - rate * np.concatenate(dw1).reshape(self.w1.shape)
        return [g, dx]

    def passes(self) -> np.ndarray:
        """Where errors pass the ReLU, which saturates as that of the integers does."""
        return (self.z > 0) & (self.z < 127.5 / 16)

    def _sum_of_four(self, g):
        """Back through the upsampling: each value was written to four places."""
        h, w = (n % 2 for n in g.shape[1:3])
        d = np.pad(g, ((0, 0), (0, h), (0, w), (0, 0)))
        return d.reshape(d.shape[1] // 2, 2, d.shape[2] // 2, 2, -1).sum((1, 3))[None]

    def _pool(self, x):
        """Means of 2x2; at an odd edge, of the values that are there."""
        x = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), constant_values=np.nan)
        n, h, w, c = x.shape
        return np.nanmean(x.reshape(n, h // 2, 2, w // 2, 2, c), axis=(2, 4))

    def _taps(self):
        """(rows, columns) that each tap of the kernel sees in the padded input."""
        g = self.first
        return [
            tuple(
                slice(k, k + (n - 1) * s + 1, s)
                for k, n, s in ((ky, g["oh"], g["sh"]), (kx, g["ow"], g["sw"]))
            )
            for ky in range(g["kh"])
            for kx in range(g["kw"])
        ]

    def _margins(self):
        """(before, behind) of rows and columns. The margin behind is large enough for every tap."""
        g = self.first
        return [(g["pt"], g["kh"] * g["sh"]), (g["pl"], g["kw"] * g["sw"])]

    def _columns(self, x):
        """What each group of the first convolution reads, each (n, oh, ow, taps * part)."""
        x = np.pad(x, ((0, 0), *self._margins(), (0, 0)))
        views = np.stack([x[:, rows, cols] for rows, cols in self._taps()], axis=3)
        return [
            views[..., c : c + self.part].reshape(*views.shape[:3], -1)
            for c in range(0, x.shape[-1], self.part)
        ]

    def _spread(self, da):
        """Back through the first convolution and the pool."""
        g, pool = self.first, self.sizes.pool
        (top, below), (left, right) = self._margins()
        dx = np.zeros((1, top + g["ih"] + below, left + g["iw"] + right, g["ic"]))
        for j, (d, w) in enumerate(zip(np.split(da, self.sizes.groups, axis=-1), self._groups(self.w1))):
            back = (d @ w).reshape(*d.shape[:3], -1, self.part)
            for t, (rows, cols) in enumerate(self._taps()):
                dx[:, rows, cols, j * self.part : (j + 1) * self.part] += back[..., t, :]
        dx = dx[:, top : top + g["ih"], left : left + g["iw"]]
        rows, cols = (np.minimum(2, n - 2 * np.arange((n + 1) // 2)) for n in (pool["ih"], pool["iw"]))
        dx = dx / (rows[:, None] * cols)[None, :, :, None]
        return dx.repeat(2, axis=1).repeat(2, axis=2)[:, : pool["ih"], : pool["iw"]]

    def _groups(self, w):
        return [part.reshape(len(part), -1) for part in np.split(w, self.sizes.groups)]

    def _normalize(self, a, i):
        """(a with mean 0 and deviation 1 in each group of channels, 1 / deviation)."""
        grouped = a.reshape(*a.shape[:3], -1, self.sizes.norms[i])
        centred = grouped - grouped.mean((1, 2, 4), keepdims=True)
        rate = 1 / np.sqrt(np.maximum((centred**2).mean((1, 2, 4), keepdims=True), 1e-30))
        return (centred * rate).reshape(a.shape), rate

    def _learn_affine(self, d, xhat, rate, i, lr):
        """The error of the input of norm i from that of its affine's output. It updates the affine."""
        gamma = self.affines[i][0]
        e, x = (
            (v * gamma if v is d else v).reshape(*d.shape[:3], -1, self.sizes.norms[i]) for v in (d, xhat)
        )
        e = rate * (e - e.mean((1, 2, 4), keepdims=True) - x * (e * x).mean((1, 2, 4), keepdims=True))
        step = lr * self.gains[i] * np.stack([(d * xhat).sum((0, 1, 2)), d.sum((0, 1, 2))])
        self.affines[i] = np.clip(self.affines[i] - step, -tinytl.BOUNDS[i], tinytl.BOUNDS[i])
        return e.reshape(d.shape)
