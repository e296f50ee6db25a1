import numpy as np
import pytest
import torch
from stylegan2_ada import resampling
from stylegan2_ada.resampling import binomial_filter, downsample, fir, upsample
from torch import Tensor

from tests.stylegan2_ada.parity import distance, extract


def naive_fir(x: np.ndarray, taps: np.ndarray, up: int, down: int, padding: tuple[int, ...]) -> np.ndarray:
    """One channel, pixel by pixel: insert zeros, pad or crop, convolve, decimate."""
    left, right, top, bottom = padding
    height, width = x.shape[0] * up + top + bottom, x.shape[1] * up + left + right
    padded = np.zeros((height, width))
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            y, z = i * up + top, j * up + left
            if 0 <= y < height and 0 <= z < width:
                padded[y, z] = x[i, j]
    tall, wide = taps.shape
    out = np.zeros((height - tall + 1, width - wide + 1))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = (padded[i : i + tall, j : j + wide] * taps[::-1, ::-1]).sum()
    return out[::down, ::down]


@pytest.mark.parametrize("up", [1, 2, 3])
@pytest.mark.parametrize("down", [1, 2])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (2, 2, 2, 2), (3, -1, 0, 5)])
@pytest.mark.parametrize("separable", [True, False])
def test_fir_equals_a_naive_loop(
    up: int, down: int, padding: tuple[int, int, int, int], separable: bool
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 7, 6))
    taps = rng.normal(size=(4,) if separable else (3, 4))
    ours = fir(torch.tensor(x), torch.tensor(taps), up=up, down=down, padding=padding)
    square = np.outer(taps, taps) if separable else taps
    for n in range(2):
        for c in range(3):
            np.testing.assert_allclose(ours[n, c], naive_fir(x[n, c], square, up, down, padding), atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(7, 6), (4, 5)])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (2, 1, 2, 1), (3, -1, 0, 5), (5, 4, 6, 7), (-3, 3, -2, 3)])
@pytest.mark.parametrize("step", [2, 3])
def test_bfloat16_takes_another_way_to_the_same_sums(
    step: int,
    padding: tuple[int, int, int, int],
    size: tuple[int, int],
    layout: torch.memory_format,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone: list[Tensor] = []
    way = resampling._scatter_by_gather
    monkeypatch.setattr(resampling, "_scatter_by_gather", lambda x, *rest: gone.append(x) or way(x, *rest))
    taps = torch.tensor([[1.0, 3, 3, 1], [2, 6, 5, 0], [0, 1, 4, 2]])  # sums of small integers are exact
    for factor in ({"up": step}, {"down": step}):
        x = torch.randint(-2, 3, (2, 5, *size)).float().contiguous(memory_format=layout).requires_grad_()
        low = x.detach().bfloat16().requires_grad_()
        expected, found = (fir(image, taps, padding=padding, **factor) for image in (x, low))
        assert torch.equal(expected, found.float())
        assert "down" in factor or found.is_contiguous(memory_format=layout)
        gradient = torch.randint_like(expected, -2, 3)
        expected.backward(gradient)
        found.backward(gradient.bfloat16())
        assert x.grad is not None and low.grad is not None and torch.equal(x.grad, low.grad.float())
    assert [each.dtype for each in gone] == [torch.bfloat16] * 2


@pytest.mark.parametrize("operator", [upsample, downsample])
def test_derivatives_of_every_order(operator) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(1, 2, 6, 8, dtype=torch.float64, requires_grad=True)
    taps = torch.randn(4, 4, dtype=torch.float64)

    def cubed(x: Tensor) -> Tensor:
        return operator(x, taps) ** 3

    assert torch.autograd.gradcheck(cubed, x)
    assert torch.autograd.gradgradcheck(cubed, x)


def test_resampling_keeps_a_constant_image_inside_its_border() -> None:
    image = torch.full((1, 1, 12, 12), 0.7)
    for operator in (upsample, downsample):
        inside = operator(image, binomial_filter())[:, :, 2:-2, 2:-2]
        assert torch.allclose(inside, torch.full_like(inside, 0.7))


@pytest.mark.parametrize("name", ["1331", "sym6"])
def test_parity(name: str) -> None:
    ops = extract()
    x, taps = ops["x"], ops[f"f_{name}"]
    assert distance(upsample(x, taps), ops[f"up_{name}"]) < 1e-5
    assert distance(upsample(x, taps.flip(tuple(range(taps.ndim)))), ops[f"up_flip_{name}"]) < 1e-5
    assert distance(downsample(x, taps), ops[f"down_{name}"]) < 1e-5
    k = taps.shape[-1]
    same_size = fir(x, taps, padding=(k // 2, (k - 1) // 2, k // 2, (k - 1) // 2))
    assert distance(same_size, ops[f"filter_{name}"]) < 1e-5
    generic = fir(x, taps, up=2, down=3, padding=(3, -1, 2, 5), gain=2)
    assert distance(generic, ops[f"generic_{name}_up2_down3_pad3_-1_2_5_gain2"]) < 1e-5
