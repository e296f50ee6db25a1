import logging
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stylegan2_ada import UsageError
from stylegan2_ada.features import (
    FeatureStatistics,
    MetricOptions,
    generated,
    statistics_of,
    statistics_of_dataset,
    statistics_of_generator,
)
from stylegan2_ada.generate import latents, to_uint8
from stylegan2_ada.networks import Architecture, Generator
from torch import Tensor

from tests.stylegan2_ada.detectors import PooledDetector

OPTIONS = MetricOptions(count=20, batch=8)


def generator(labels: int = 0) -> Generator:
    torch.manual_seed(0)
    return Architecture(resolution=8, channels=1, channel_base=64, labels=labels).generator().eval()


def pixels(count: int = 30, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, 8, 8), generator=rng, dtype=torch.uint8)


def test_moments_are_those_of_all_features_at_once() -> None:
    images, detector = pixels(50), PooledDetector()
    features = detector(images).double()
    mean, covariance = statistics_of(images.split(7), detector).moments()
    assert torch.allclose(mean, features.mean(dim=0))
    assert torch.allclose(covariance, torch.cov(features.T, correction=0), atol=1e-12)


def test_moments_keep_their_digits_far_from_zero() -> None:
    features = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)) + 1000
    gathered = FeatureStatistics(4, 0)
    for part in features.split(10):
        gathered.append(part)
    expected = torch.cov(features.double().T, correction=0)
    assert torch.allclose(gathered.moments()[1], expected, atol=1e-8)


def test_a_long_pass_holds_one_batch_and_what_it_was_told_to_keep() -> None:
    made: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def batches() -> Iterator[Tensor]:
        for seed in range(100):
            alive.append(sum(reference() is not None for reference in made))
            images = pixels(500, seed)
            made.append(weakref.ref(images))
            yield images

    gathered = statistics_of(batches(), PooledDetector(), kept=64)
    held = [value for value in vars(gathered).values() if isinstance(value, Tensor)]
    assert gathered.count == 50_000 and max(alive) <= 2
    assert sum(tensor.untyped_storage().nbytes() for tensor in held) == 8 * (20 + 400) + 4 * 64 * 20


class Nowhere(PooledDetector):
    def __call__(self, images_NCHW: Tensor) -> Tensor:
        return super().__call__(images_NCHW) / 0


def test_nothing_to_measure_and_features_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="images=0: nothing to measure"):
        statistics_of([], PooledDetector())
    with pytest.raises(UsageError, match="detector=pooled: features that are no numbers"):
        statistics_of([pixels()], Nowhere())
    with pytest.raises(UsageError, match="count=0: not possible; valid: 1 to"):
        MetricOptions(count=0)


def equal(a: FeatureStatistics, b: FeatureStatistics) -> bool:
    pairs = (a.total_F, b.total_F), (a.outer_FF, b.outer_FF), (a.features_NF, b.features_NF)
    return a.count == b.count and all(torch.equal(x, y) for x, y in pairs)


def test_a_data_sets_features_are_computed_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    detector = PooledDetector()
    first = statistics_of_dataset(pixels(), detector, OPTIONS, cache=tmp_path / "cache")
    again = statistics_of_dataset(pixels(), detector, OPTIONS, cache=tmp_path / "cache")
    assert detector.shown == 30 and equal(first, again) and not caplog.records
    assert equal(first, statistics_of_dataset(pixels(), detector, OPTIONS))


def test_other_pixels_detectors_or_settings_are_computed_anew(tmp_path: Path) -> None:
    detector = PooledDetector()
    changed = pixels()
    changed[-1, 0, -1, -1] ^= 1  # the last pixel of all
    statistics_of_dataset(pixels(), detector, OPTIONS, cache=tmp_path)
    statistics_of_dataset(changed, detector, OPTIONS, cache=tmp_path)
    statistics_of_dataset(pixels().reshape(30, 1, 4, 16), detector, OPTIONS, cache=tmp_path)
    statistics_of_dataset(pixels(), detector, replace(OPTIONS, kept=7), cache=tmp_path)
    statistics_of_dataset(pixels(), detector, replace(OPTIONS, seed=1), cache=tmp_path)
    assert detector.shown == 150 and len(list(tmp_path.iterdir())) == 5
    other = PooledDetector(5)
    statistics_of_dataset(pixels(), other, OPTIONS, cache=tmp_path)
    assert other.shown == 30


@pytest.mark.parametrize("damage", ["empty", "half", "bit", "other"])
def test_a_damaged_cache_is_computed_anew(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    detector = PooledDetector()
    first = statistics_of_dataset(pixels(), detector, OPTIONS, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    statistics_of_dataset(pixels(seed=1), detector, OPTIONS, cache=tmp_path / "other")
    (other,) = (tmp_path / "other").iterdir()
    damaged = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "bit": whole[:-9] + bytes([whole[-9] ^ 64]) + whole[-8:],
        "other": other.read_bytes(),
    }
    path.write_bytes(damaged[damage])
    shown = detector.shown
    with caplog.at_level(logging.WARNING):
        again = statistics_of_dataset(pixels(), detector, OPTIONS, cache=tmp_path)
    assert equal(first, again) and detector.shown == shown + 30
    assert "computed anew" in caplog.text
    assert path.read_bytes() == whole  # and is whole again
    assert not list(tmp_path.glob("*.part"))


def test_features_kept_of_a_data_set_are_a_sample_of_it_all() -> None:
    bright = torch.cat([torch.zeros(100, 1, 8, 8), torch.full((100, 1, 8, 8), 255.0)]).to(torch.uint8)
    gathered = statistics_of_dataset(bright, PooledDetector(), replace(OPTIONS, kept=40))
    kinds, counts = torch.unique(gathered.features_NF, dim=0, return_counts=True)
    assert len(kinds) == 2 and counts.min() >= 10


def test_generated_images_are_those_of_their_seeds_as_bytes() -> None:
    network = generator()
    images = torch.cat(list(generated(network, replace(OPTIONS, noise="none", truncation=0.7))))
    expected = to_uint8(network(latents(range(20)), noise="none", truncation=0.7))
    assert images.dtype == torch.uint8 and images.shape == (20, 1, 8, 8)
    assert (images.int() - expected.int()).abs().max() <= 1  # of another batch: a rounding may differ


def test_generated_images_repeat_with_their_noise_and_follow_the_seed() -> None:
    network = generator()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(1.0)
    state = torch.get_rng_state()
    first, again = (torch.cat(list(generated(network, OPTIONS))) for _ in range(2))
    assert torch.equal(first, again) and torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, torch.cat(list(generated(network, replace(OPTIONS, noise="const")))))
    assert not torch.equal(first, torch.cat(list(generated(network, replace(OPTIONS, seed=1)))))


def test_noise_and_labels_follow_the_seed_too() -> None:
    network = generator(labels=2)

    def differ(options: MetricOptions) -> bool:
        one, other = (
            torch.cat(list(generated(network, replace(options, seed=seed), labels_NK=torch.eye(2))))
            for seed in (0, 1)
        )
        return not torch.equal(one, other)

    with torch.no_grad():
        network.synthesis.b4.conv1.noise_strength.fill_(1.0)
        assert differ(replace(OPTIONS, truncation=0.0))  # of one style
        assert not differ(replace(OPTIONS, truncation=0.0, noise="none"))
        network.mapping.fc0.weight[:, :512] = 0  # latents are not looked at any more
        assert differ(replace(OPTIONS, noise="none"))


def test_seeds_share_no_latent() -> None:
    network = generator()
    options = replace(OPTIONS, noise="none")
    sets = [torch.cat(list(generated(network, replace(options, seed=seed)))) for seed in range(2)]
    assert not any(torch.equal(a, b) for a in sets[0] for b in sets[1])


def test_labels_are_drawn_from_those_given() -> None:
    network = generator(labels=2)
    rare = torch.tensor([[1.0, 0.0]]).repeat(9, 1)
    only = torch.cat(list(generated(network, replace(OPTIONS, noise="none"), labels_NK=rare)))
    expected = to_uint8(network(latents(range(20)), rare[:1].repeat(20, 1), noise="none"))
    assert (only.int() - expected.int()).abs().max() <= 1
    mixed = torch.cat([rare, 1 - rare])
    assert not torch.equal(only, torch.cat(list(generated(network, OPTIONS, labels_NK=mixed))))
    for labels in (None, torch.ones(4, 3)):
        with pytest.raises(UsageError, match=r"labels=[03]: the network takes 2; valid: images with such"):
            list(generated(network, OPTIONS, labels_NK=labels))
    plain = statistics_of_generator(generator(), PooledDetector(), OPTIONS, labels_NK=mixed)
    assert plain.count == 20  # an unconditional network leaves labels alone
