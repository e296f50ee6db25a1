"""The arithmetic of winograd.py: a 3x3 convolution by tiles, and its weights' gradient at stride 1 or 2.

F(4x4, 3x3) takes tiles of 6 x 6 pixels to 4 x 4 results by 36 products where the sum itself takes 144:
y = A^T [(G w G^T) * (B^T x B)] A, summed over channels, so that the work is 36 products of matrices. The
points 0, +-2/3, +-4/3 and infinity keep the rounding error near that of a direct sum; the usual 0, +-1, +-2
lose 2.6 times as much. At stride 2 even taps meet even pixels and the odd tap odd ones, in either axis: four
such sums, of 81 products together.

bfloat16 has too few digits for tiles of 4, which lose five times what its direct sum loses. Tiles of 2 take
16 products where the sum takes 36; at 0, +-1 and infinity they lose twice as much, the rounding of what goes
in counted.
Shapes: N images, I in, O out channels, H x W results (multiples of 4), T tiles, P points.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType

import torch
from torch import Tensor

_POINTS = (0.0, 2 / 3, -2 / 3, 4 / 3, -4 / 3)  # and infinity
_ONES = (0.0, 1.0, -1.0)  # and infinity: no entry of the matrices of tiles of 2 is rounded in 16 bits
_CHUNK = 12 << 20  # bytes of one scratch array: a few images stay in the cache
_local = threading.local()

Pair = tuple[int, int]  # vertical, horizontal


def _matrices(points: tuple[float, ...], tile: int, taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return A^T, G and B^T of one axis at tile + taps - 1 points (Toom and Cook)."""
    finite = points[: tile + taps - 2]

    def evaluate(coefficients: int) -> Tensor:
        infinity = [0.0] * (coefficients - 1) + [1.0]
        rows = [*([p**k for k in range(coefficients)] for p in finite), infinity]
        return torch.tensor(rows, dtype=torch.float64)

    b_t = torch.linalg.inv(evaluate(tile + taps - 1)).T
    # By a power of two, which rounds nothing: B^T of tiles of 2 then takes sums and differences alone.
    scale = b_t.abs().amax(dim=1, keepdim=True).log2().round().exp2()
    return evaluate(tile).T, evaluate(taps) * scale, b_t / scale


@dataclass(frozen=True, kw_only=True, eq=False)
class Scheme:
    """The taps and pixels from the `first` on, `stride` apart, and the matrices of their tiles."""

    stride: int
    first: Pair
    tile: Pair  # results
    taps: Pair
    points: tuple[float, ...] = _POINTS
    dtype: torch.dtype = torch.float32
    a_t: Tensor = field(init=False)  # results x points
    g: Tensor = field(init=False)  # points x taps
    b_t: Tensor = field(init=False)  # points x pixels

    def __post_init__(self) -> None:
        rows, columns = (_matrices(self.points, *axis) for axis in zip(self.tile, self.taps, strict=True))
        for name, row, column in zip(("a_t", "g", "b_t"), rows, columns, strict=True):
            object.__setattr__(self, name, torch.kron(row, column).to(self.dtype))

    def kernel(self, weight_OIKK: Tensor) -> Tensor:
        """View the taps as K x K x O x I."""
        row, column = self.first
        return weight_OIKK[:, :, row :: self.stride, column :: self.stride].permute(2, 3, 0, 1)

    def pixels(self, x_NHWC: Tensor, results: Pair) -> Tensor:
        """View what each tile reads, in which neighbours overlap: read x read x N x tiles x tiles x C."""
        (row, column), (tall, wide) = self.first, self.tile
        mine = x_NHWC[:, row :: self.stride, column :: self.stride]
        to_n, to_y, to_x, to_c = mine.stride()
        read = (tall + self.taps[0] - 1, wide + self.taps[1] - 1)
        shape = (*read, len(mine), results[0] // tall, results[1] // wide, mine.shape[3])
        return mine.as_strided(shape, (to_y, to_x, to_n, tall * to_y, wide * to_x, to_c))

    def results(self, y_NHWC: Tensor) -> Tensor:
        """View results by tiles: tile x tile x N x tiles x tiles x C."""
        n, height, width, channels = y_NHWC.shape
        tall, wide = self.tile
        cut = y_NHWC.view(n, height // tall, tall, width // wide, wide, channels)
        return cut.permute(2, 4, 0, 1, 3, 5)


def _of_stride_2() -> tuple[Scheme, ...]:
    """Return the schemes of even taps, in tiles of 4, and of the odd one, whose pixels stand alone."""
    axes = tuple(enumerate(((4, 2), (1, 1))))  # first pixel; tile and taps
    return tuple(
        Scheme(stride=2, first=(y, x), tile=(rows[0], columns[0]), taps=(rows[1], columns[1]))
        for (y, rows), (x, columns) in product(axes, axes)
    )


_FOURS = Scheme(stride=1, first=(0, 0), tile=(4, 4), taps=(3, 3))
_TWOS = Scheme(stride=1, first=(0, 0), tile=(2, 2), taps=(3, 3), points=_ONES, dtype=torch.bfloat16)
_SCHEMES = MappingProxyType(
    {(torch.float32, 1): (_FOURS,), (torch.float32, 2): _of_stride_2(), (torch.bfloat16, 1): (_TWOS,)}
)


def convolve(x_NIHW: Tensor, weight_OIKK: Tensor, bias: Tensor | None, turned: bool) -> Tensor:
    """Correlate with zeros beyond the border; turned: kernel turned round, its channels exchanged."""
    (scheme,) = _SCHEMES[x_NIHW.dtype, 1]
    x_NHWI = x_NIHW.permute(0, 2, 3, 1)
    points_PIO = _transform_weight(scheme, weight_OIKK, turned)
    n, height, width, _ = x_NHWI.shape
    size = (n, points_PIO.shape[2], height, width)
    y_NOHW = torch.empty(size, dtype=x_NIHW.dtype, memory_format=torch.channels_last)  # no view: activate_
    y_NHWO = y_NOHW.permute(0, 2, 3, 1)
    for part in _parts(x_NHWI, y_NHWO):
        x_PTI = _pixels_at_points(scheme, _padded(x_NHWI[part]), (height, width))
        values = _combine("results", scheme.a_t, _products(x_PTI, points_PIO).flatten(1))
        tiles = scheme.results(y_NHWO[part])
        tiles.copy_(values.view(tiles.shape))
    return y_NOHW if bias is None else y_NOHW.add_(bias[:, None, None])


def weight_gradient(x_NIHW: Tensor, y_NOHW: Tensor, stride: int) -> Tensor:
    """Return the gradient of the weights, O x I x 3 x 3, from that of the results, y.

    Images have zeros beyond the border at stride 1, and 2H + 1 x 2W + 1 pixels at stride 2.
    """
    x_NHWI, y_NHWO = x_NIHW.permute(0, 2, 3, 1), y_NOHW.permute(0, 2, 3, 1)
    weight_OIKK = x_NIHW.new_empty(y_NHWO.shape[3], x_NHWI.shape[3], 3, 3)
    schemes, size = _SCHEMES[x_NIHW.dtype, stride], (y_NHWO.shape[1], y_NHWO.shape[2])
    points = [len(scheme.g) for scheme in schemes]
    sums_POI = torch.split(_scratch("weights", torch.float32, sum(points), *weight_OIKK.shape[:2]), points)
    for part in _parts(x_NHWI, y_NHWO):
        x_part = _padded(x_NHWI[part]) if stride == 1 else x_NHWI[part]
        for scheme, sum_POI in zip(schemes, sums_POI, strict=True):
            x_PTI = _pixels_at_points(scheme, x_part, size)
            y_PTO = _evaluate("results", scheme.a_t.T, scheme.results(y_NHWO[part]))
            _add_products(sum_POI, y_PTO.transpose(1, 2), x_PTI, first=part.start == 0)
    for scheme, sum_POI in zip(schemes, sums_POI, strict=True):
        kernel = scheme.kernel(weight_OIKK)
        kernel.copy_((scheme.g.T.float() @ sum_POI.flatten(1)).view(kernel.shape))
    return weight_OIKK


def _transform_weight(scheme: Scheme, weight_OIKK: Tensor, turned: bool) -> Tensor:
    """Return the kernel at the points, P x in x out."""
    outputs, inputs = weight_OIKK.shape[:2]
    kernel_9 = scheme.kernel(weight_OIKK).reshape(9, -1)
    points = _combine("weights", scheme.g.flip(1) if turned else scheme.g, kernel_9)
    points_POI = points.view(-1, outputs, inputs)
    return points_POI if turned else points_POI.transpose(1, 2)


def _products(x_PTI: Tensor, points_PIO: Tensor) -> Tensor:
    """Return the product at each point, P x T x O."""
    shape = (*x_PTI.shape[:2], points_PIO.shape[2])
    return torch.bmm(x_PTI, points_PIO, out=_scratch("products", x_PTI.dtype, *shape))


def _add_products(sum_POI: Tensor, y_POT: Tensor, x_PTI: Tensor, *, first: bool) -> None:
    """Add a part's products to the sum, which is float32 so that parts of 16 bits are not rounded again."""
    if x_PTI.dtype == sum_POI.dtype:
        sum_POI.baddbmm_(y_POT, x_PTI, beta=float(not first))
    elif first:
        sum_POI.copy_(_products(y_POT, x_PTI))
    else:
        sum_POI.add_(_products(y_POT, x_PTI))


def _pixels_at_points(scheme: Scheme, x_NHWC: Tensor, results: Pair) -> Tensor:
    """Return what tiles read at the points, P x T x C: of tiles of 2 by sums, which are faster there."""
    if scheme is not _TWOS:
        return _evaluate("pixels", scheme.b_t, scheme.pixels(x_NHWC, results))
    n, _, width, channels = x_NHWC.shape
    rows, columns = results[0] // 2, results[1] // 2
    by_row = _scratch("rows", x_NHWC.dtype, 4, n, rows, width, channels)
    _sums(x_NHWC.unfold(1, 4, 2), by_row.unbind())
    points = _scratch("pixels", x_NHWC.dtype, 4, 4, n, rows, columns, channels)
    _sums(by_row.unfold(3, 4, 2), points.unbind(1))
    return points.view(16, -1, channels)


def _sums(pixels: Tensor, points: Sequence[Tensor]) -> None:
    """Write B^T x of an axis of tiles of 2, as `_TWOS` has it; its four pixels are the last axis."""
    first, second, third, fourth = pixels.unbind(-1)
    torch.sub(first, third, out=points[0])
    torch.add(second, third, out=points[1])
    torch.sub(third, second, out=points[2])
    torch.sub(fourth, second, out=points[3])


def _evaluate(name: str, matrix: Tensor, tiles: Tensor) -> Tensor:
    """Return tiles at the points: P x T x C."""
    flat = _scratch(f"tiles of {name}", tiles.dtype, *tiles.shape).copy_(tiles)
    return _combine(name, matrix, flat.view(matrix.shape[1], -1)).view(len(matrix), -1, tiles.shape[-1])


def _combine(name: str, matrix: Tensor, values: Tensor) -> Tensor:
    """Return the product; one pixel alone is its own value."""
    if matrix.numel() == 1:
        return values
    return torch.mm(matrix, values, out=_scratch(name, values.dtype, len(matrix), values.shape[1]))


def _padded(x_NHWC: Tensor) -> Tensor:
    """Return images with a border of zeros."""
    n, height, width, channels = x_NHWC.shape
    padded = _scratch("padded", x_NHWC.dtype, n, height + 2, width + 2, channels)
    for border in (padded[:, 0], padded[:, -1], padded[:, :, 0], padded[:, :, -1]):
        border.zero_()
    padded[:, 1:-1, 1:-1] = x_NHWC
    return padded


def _parts(x_NHWI: Tensor, y_NHWO: Tensor) -> list[slice]:
    """Cut the images so that one scratch array of tiles is about `_CHUNK` bytes."""
    n, height, width, outputs = y_NHWO.shape
    values = height * width * max(x_NHWI.shape[3], outputs)
    step = max(_CHUNK // (values * 4 * 36 // 16), 1)  # of float32; bfloat16: 2 * 16 // 4
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def _scratch(name: str, dtype: torch.dtype, *shape: int) -> Tensor:
    """Return memory of this thread for one use of a name: fresh pages cost more than the arithmetic."""
    size, name = math.prod(shape), f"{name} in {dtype}"
    held: Tensor | None = getattr(_local, name, None)
    if held is None or held.numel() < size:
        with torch.inference_mode(False):
            held = torch.empty(size, dtype=dtype)
        setattr(_local, name, held)
    return held[:size].view(shape)
