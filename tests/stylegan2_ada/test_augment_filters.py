import numpy as np
import pytest
import torch
from stylegan2_ada.augment_filters import (
    _SYM6,
    REACH,
    Band,
    amplify,
    downsample,
    filter_bank,
    filtered,
    upsample,
)
from stylegan2_ada.resampling import fir
from torch import Tensor

from tests.stylegan2_ada.parity import full


def images_of(count: int, height: int, width: int) -> Tensor:
    images = np.random.default_rng(0).normal(size=(count, 2, height, width))
    return torch.from_numpy(images)


@pytest.mark.parametrize("size", [8, 33, 100])
def test_resampling_equals_convolution(size: int) -> None:
    images, taps = images_of(2, size, size + 6), torch.tensor(_SYM6, dtype=torch.float64) / 2**0.5
    fine = fir(images, taps, up=2, padding=(6, 5, 6, 5), gain=4.0)
    assert torch.allclose(upsample(images), fine)
    back = fir(fine, taps.flip(0), down=2, padding=(-1, -1, -1, -1))
    assert torch.allclose(downsample(fine), back)
    assert back.shape[-1] == size + 6 - 2 * REACH


@pytest.mark.parametrize(
    ("factor", "shift", "coarse", "fine"), [(1, 3, 40, 37), (2, 5, 20, 40), (2, -1, 9, 50)]
)
@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("kernels", [1, 2])
def test_a_band_is_its_formula_and_its_adjoint_the_transpose(
    factor: int, shift: int, coarse: int, fine: int, axis: int, kernels: int
) -> None:
    taps = torch.randn(kernels, 5, dtype=torch.float64)
    tap = np.arange(fine)[:, None] + shift - factor * np.arange(coarse)
    rows = np.where((tap >= 0) & (tap < 5), tap, 5)
    matrix = torch.nn.functional.pad(taps, (0, 1))[:, rows].expand(2, fine, coarse)
    band = Band(factor=factor, shift=shift, coarse=coarse, fine=fine)
    for adjoint, each in ((False, matrix), (True, matrix.mT)):
        x = images_of(2, each.shape[-1], 7)
        x = x if axis == 2 else x.mT
        expected = torch.einsum("noi,nciw->ncow" if axis == 2 else "noi,nchi->ncho", each, x)
        ours = filtered(x, taps, Band(**{**vars(band), "adjoint": adjoint}), axis)
        assert torch.allclose(ours, expected)


def test_the_bank_is_that_of_the_reference() -> None:
    theirs = full("augment_64")["Hz_fbank"]
    assert np.allclose(filter_bank(), theirs, atol=1e-7)


def test_the_bank_splits_an_impulse_and_is_symmetric() -> None:
    bank = filter_bank()
    assert bank.shape == (4, 43)
    assert np.allclose(bank, bank[:, ::-1])
    assert np.allclose(bank.sum(axis=0), np.arange(43) == 21, atol=1e-12)
    assert np.allclose(bank.sum(axis=1), [1, 0, 0, 0], atol=1e-12)


def test_each_filter_of_the_bank_passes_its_own_octave_best() -> None:
    power = np.abs(np.fft.rfft(filter_bank(), 512)) ** 2  # of up to half a cycle a pixel
    octaves = [slice(0, 32), slice(32, 64), slice(64, 128), slice(128, 257)]
    passed = np.array([[row[octave].mean() for octave in octaves] for row in power])
    assert passed.argmax(axis=1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("height", "width"), [(64, 40), (16, 8)])
def test_equal_gains_scale_and_each_image_has_its_own(height: int, width: int) -> None:
    images = images_of(3, height, width)
    gains = np.random.default_rng(1).uniform(0.5, 2, size=(3, 4))
    gains[0] = 1.5
    filtered_images = amplify(images, gains)
    assert torch.allclose(filtered_images[0], images[0] * 1.5**2)  # along both axes
    assert torch.allclose(filtered_images[1:2], amplify(images[1:2], gains[1:2]))


def test_filtering_equals_a_convolution_of_the_reflected_image() -> None:
    images, gains = images_of(1, 30, 50), np.array([[0.5, 1.0, 2.0, 0.7]])
    taps = torch.from_numpy(gains[0] @ filter_bank())
    padded = torch.nn.functional.pad(images, (21, 21, 21, 21), mode="reflect")
    assert torch.allclose(amplify(images, gains), fir(padded, taps))


def test_both_derivatives_of_a_filter_per_image() -> None:
    images = images_of(2, 8, 8).requires_grad_()
    gains = np.random.default_rng(1).uniform(0.5, 2, size=(2, 4))
    assert torch.autograd.gradcheck(lambda x: amplify(x, gains), images)
    assert torch.autograd.gradgradcheck(lambda x: amplify(x, gains) ** 3, images, fast_mode=True)
