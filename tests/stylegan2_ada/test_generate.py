from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stylegan2_ada import UsageError
from stylegan2_ada.generate import generate, label_of, latents, save_grid, seeds_of, to_uint8
from stylegan2_ada.networks import Architecture, Generator


def generator(channels: int = 1) -> Generator:
    torch.manual_seed(0)
    return Architecture(resolution=8, channels=channels, channel_base=64).generator().eval()


def test_latents_are_those_of_numpy_per_seed() -> None:
    expected = np.random.RandomState(7).randn(1, 512)
    np.testing.assert_allclose(latents([3, 7])[1:], expected, rtol=1e-6)


def test_latents_of_seeds_beyond_numpys_are_all_different() -> None:
    seeds = [1, 2**32, 2**32 + 1, 2**33, 2**33 + 1, 2**55]
    assert len({latent.numpy().tobytes() for latent in latents(seeds)}) == len(seeds)


def test_images_come_in_batches_in_the_order_of_seeds() -> None:
    batches = list(generate(generator(), range(5), 0.7, 2))
    assert [batch.shape for batch in batches] == [(2, 8, 8), (2, 8, 8), (1, 8, 8)]
    alone = next(generate(generator(), [4], 0.7, 1))
    assert np.abs(batches[2].astype(int) - alone).max() <= 1  # a rounding may fall the other way
    assert next(generate(generator(3), [0], 1.0, 1)).shape == (1, 8, 8, 3)


def test_truncation_zero_is_one_image() -> None:
    (images,) = generate(generator(), range(3), 0.0, 3)
    assert (images == images[0]).all()


@pytest.mark.parametrize(("value", "expected"), [(-3.0, 0), (-1.0, 0), (0.0, 128), (1.0, 255), (3.0, 255)])
def test_quantisation(value: float, expected: int) -> None:
    assert to_uint8(torch.tensor(value)).item() == expected


def test_a_grid_holds_whole_rows(tmp_path: Path) -> None:
    images = torch.arange(11, dtype=torch.uint8)[:, None, None, None].expand(11, 1, 2, 2)
    save_grid(images, tmp_path / "grid.png", columns=4)
    picture = np.asarray(Image.open(tmp_path / "grid.png"))
    assert picture.shape == (4, 8)
    assert picture[2, 2] == 5


def test_random_noise_is_that_of_the_seeds() -> None:
    network = generator()
    for block in (network.synthesis.b4, network.synthesis.get_submodule("b8")):
        block.conv1.noise_strength.data.fill_(5.0)
    first, again = (next(generate(network, range(4), 1.0, 4, noise="random")) for _ in range(2))
    torch.manual_seed(99)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, next(generate(network, range(4), 1.0, 4, noise="none")))


def test_random_noise_does_not_depend_on_the_batches_before() -> None:
    network = generator()
    network.synthesis.b4.conv1.noise_strength.data.fill_(5.0)
    _, second = generate(network, range(8), 1.0, 4, noise="random")
    assert np.array_equal(second, next(generate(network, range(4, 8), 1.0, 4, noise="random")))


def test_a_cutoff_truncates_the_first_styles_alone() -> None:
    network = generator()
    network.mapping.w_avg.normal_(generator=torch.Generator().manual_seed(0))
    images = [next(generate(network, [1], 0.2, 1, cutoff=cutoff)) for cutoff in (0, 1, None)]
    whole = next(generate(network, [1], 1.0, 1))
    assert np.array_equal(images[0], whole)
    assert not np.array_equal(images[1], whole) and not np.array_equal(images[1], images[2])


@pytest.mark.parametrize(("text", "label"), [("2", [0, 0, 1]), ("0,0.5,1", [0, 0.5, 1])])
def test_labels_are_classes_or_vectors(text: str, label: list[float]) -> None:
    found = label_of(conditional(3), text)
    assert found is not None and found.tolist() == label


@pytest.mark.parametrize("text", [None, "3", "-1", "x", "1,2", "0,0,nan", "1.5", ""])
def test_other_labels_are_refused(text: str | None) -> None:
    with pytest.raises(UsageError, match=r"^class.*valid: 0 to 2, every, or 3 numbers"):
        label_of(conditional(3), text)


@pytest.mark.parametrize(("text", "label"), [("0", 0.0), ("0.25", 0.25), ("1", 1.0), ("-3", -3.0)])
def test_a_label_of_one_number_is_that_number(text: str, label: float) -> None:
    found = label_of(conditional(1), text)
    assert found is not None and found.tolist() == [label]


@pytest.mark.parametrize("text", [None, "x", "1,2", "nan", "1e300", ""])
def test_other_labels_of_one_number_are_refused(text: str | None) -> None:
    with pytest.raises(UsageError, match=r"^class.*valid: a number$"):
        label_of(conditional(1), text)


def test_seeds_are_numbers_and_ranges() -> None:
    assert seeds_of("0,4,10-12") == [0, 4, 10, 11, 12]


def conditional(labels: int) -> Generator:
    return Architecture(resolution=8, channels=1, channel_base=64, labels=labels).generator()
