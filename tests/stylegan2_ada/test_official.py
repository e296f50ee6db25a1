import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stylegan2_ada import UsageError, load_generator
from stylegan2_ada.generate import latents
from stylegan2_ada.networks import Architecture
from stylegan2_ada.official import (
    architecture_of,
    discriminator_from,
    discriminator_kwargs,
    export_network,
    generator_from,
    generator_kwargs,
    group_of,
    import_network,
)
from stylegan2_ada.official_pickle import read_pickle
from stylegan2_ada.weights import DISCRIMINATOR, GENERATOR, RAW, is_whole, read_info, read_tensors
from torch import Tensor

from tests.stylegan2_ada import pickles
from tests.stylegan2_ada.parity import full
from tests.stylegan2_ada.pickles import SMALL, Content


@pytest.fixture(scope="module")
def content() -> Content:
    return pickles.three_networks()


@pytest.fixture(scope="module")
def published(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pickles.write(tmp_path_factory.mktemp("published") / "network.pkl", content)


def same(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_tensor_and_setting_is_read_as_written(tmp_path: Path, protocol: int) -> None:
    g = generator_kwargs(SMALL), SMALL.generator().state_dict()
    d = discriminator_kwargs(SMALL, 8), SMALL.discriminator(8).state_dict()
    found = read_pickle(pickles.write(tmp_path / "n.pkl", pickles.snapshot(g, d, g), protocol))
    assert same(found.g.tensors, g[1]) and same(found.g_ema.tensors, g[1]) and same(found.d.tensors, d[1])
    assert found.g.init_kwargs == g[0] and found.d.init_kwargs == d[0]
    assert found.augment_p == 0.25


def test_numbers_of_numpy_are_read(tmp_path: Path, content: Content) -> None:
    settings = {"a": np.float64(0.1), "b": np.int64(-3), "c": np.float32(0.5), "d": np.bool_(True)}
    kwargs = pickles.easy(generator_kwargs(SMALL) | settings)
    changed = content | {"G": pickles.module("Generator", {}, kwargs)}
    for protocol in (2, 4):
        found = read_pickle(pickles.write(tmp_path / "n.pkl", changed, protocol)).g.init_kwargs
        assert {name: found[name] for name in settings} == settings


def test_a_view_of_a_larger_storage_is_read(tmp_path: Path, content: Content) -> None:
    tensor = torch.arange(24.0).view(4, 6)[1:, ::2].T
    changed = content | {"G": pickles.module("Generator", {"weight": tensor, "bias": torch.empty(0, 3)})}
    found = read_pickle(pickles.write(tmp_path / "n.pkl", changed)).g.tensors
    assert torch.equal(found["weight"], tensor) and found["bias"].shape == (0, 3)


def test_reference_networks_come_through_a_pickle_bit_for_bit(tmp_path: Path) -> None:
    g, d = full("G_64_tiny"), full("D_64_tiny")
    pairs = [(part["init_kwargs"], part["state_dict"]) for part in (g, d)]
    path = pickles.write(tmp_path / "n.pkl", pickles.snapshot(pairs[0], pairs[1], pairs[0]))
    import_network(path, tmp_path / "net")
    generator, info = load_generator(tmp_path / "net")
    assert same(generator.state_dict(), g["state_dict"])
    assert same(read_tensors(tmp_path / "net", info, DISCRIMINATOR), d["state_dict"])
    images = generator(g["z"], noise="const")
    assert torch.allclose(images, g["img_eval_const_psi1"], atol=1e-4)


def test_reference_settings_and_tensors_give_networks() -> None:
    g, d = full("G_64_tiny"), full("D_64_tiny")
    generator = generator_from(g["init_kwargs"], g["state_dict"])
    assert torch.allclose(generator(g["z"], noise="const"), g["img_eval_const_psi1"], atol=1e-4)
    discriminator = discriminator_from(d["init_kwargs"], d["state_dict"])
    assert torch.allclose(discriminator(d["images"]), d["logits"], atol=1e-4)


def test_an_import_is_a_folder_that_generates_and_an_export_gives_it_back(
    published: Path, tmp_path: Path
) -> None:
    import_network(published, tmp_path / "net")
    export_network(tmp_path / "net", tmp_path / "back.pt")
    back, read = torch.load(tmp_path / "back.pt", weights_only=True), read_pickle(published)
    for name, network in (("G", read.g), ("D", read.d), ("G_ema", read.g_ema)):
        assert same(back[name], network.tensors)
    assert back["G_init_kwargs"] == read.g.init_kwargs and back["D_init_kwargs"] == read.d.init_kwargs
    generator, info = load_generator(tmp_path / "net")
    assert generator(latents(range(2)), torch.eye(3)[:2]).shape == (2, 1, 16, 16)
    assert is_whole(tmp_path / "net") and info["group"] == 8 and info["augment_p"] == 0.25
    assert "licence" in info["licence"] and len(info["source"]["digest"]) == 64


def test_an_import_keeps_both_generators(published: Path, tmp_path: Path) -> None:
    import_network(published, tmp_path)
    info = read_info(tmp_path)
    raw, mean = (read_tensors(tmp_path, info, name) for name in (RAW, GENERATOR))
    assert not torch.equal(raw["synthesis.b4.const"], mean["synthesis.b4.const"])


SETTINGS = [
    Architecture(resolution=256, channels=3, channel_base=32768),
    Architecture(resolution=32, channels=1, labels=7, channel_base=512, channel_max=64, mapping_layers=8),
    replace(SMALL, g_blocks="resnet", d_blocks="orig", d_mapping_layers=2),
    replace(SMALL, g_blocks="orig", d_blocks="skip", clamp=None, low_blocks=0),
]


@pytest.mark.parametrize("architecture", SETTINGS)
def test_settings_of_an_architecture_give_it_back(architecture: Architecture) -> None:
    d = discriminator_kwargs(architecture, 2)
    found = architecture_of(d)
    g = architecture_of(generator_kwargs(architecture))
    assert replace(g, d_blocks=found.d_blocks, d_mapping_layers=found.d_mapping_layers) == architecture
    assert group_of(d) == 2


def test_no_half_precision_is_asked_of_the_published_code_without_a_clamp() -> None:
    bfloat16 = replace(SMALL, clamp=None, low_blocks=4)
    g, d = generator_kwargs(bfloat16)["synthesis_kwargs"], discriminator_kwargs(bfloat16, 2)
    assert [(kwargs["num_fp16_res"], kwargs["conv_clamp"]) for kwargs in (g, d)] == [(0, None)] * 2


def test_settings_left_out_are_those_of_the_published_code() -> None:
    size = {"c_dim": 0, "img_resolution": 64, "img_channels": 3}
    nested = architecture_of({"z_dim": 512, "w_dim": 512, **size, "synthesis_kwargs": {}})
    assert nested == Architecture(resolution=64, channels=3, channel_base=32768, mapping_layers=8)
    flat = architecture_of(
        {"z_dim": 512, "w_dim": 512, **size, "channel_base": 16384, "fused_modconv_default": "x"}
    )
    assert flat == replace(nested, channel_base=16384, low_blocks=4, clamp=256)
    assert group_of(size) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z_dim": 64}, "z_dim=64"),
        ({"img_resolution": 48}, "resolution=48"),
        ({"img_resolution": 2**40}, "resolution=1099511627776"),
        ({"img_channels": "3"}, "channels='3'"),
        ({"magnitude_ema_beta": 0.5}, "magnitude_ema_beta=0.5"),
        ({"mapping_kwargs": {"layer_features": 64}}, "mapping_kwargs.layer_features=64"),
        ({"mapping_kwargs": 3}, "mapping_kwargs=3"),
        ({"synthesis_kwargs": {"architecture": "dense"}}, "architecture='dense'"),
        ({"synthesis_kwargs": {"conv_clamp": -1}}, "conv_clamp=-1"),
        ({"synthesis_kwargs": {"block_kwargs": {"use_noise": False}}}, "use_noise=False"),
    ],
)
def test_settings_that_ours_do_not_have_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match="; valid: ") as caught:
        architecture_of(generator_kwargs(SMALL) | change)
    assert str(caught.value).startswith(message + ":")


def test_settings_of_a_mapping_that_is_not_there_do_not_matter() -> None:
    d = discriminator_kwargs(replace(SMALL, labels=0), 4)
    d |= {"mapping_kwargs": {"num_layers": 0, "lr_multiplier": 0.1}, "cmap_dim": 16}
    assert architecture_of(d).d_mapping_layers == 8
    with pytest.raises(UsageError, match=r"lr_multiplier=0\.1: "):
        architecture_of(d | {"c_dim": 3})


def test_tensors_that_do_not_fit_are_all_named() -> None:
    tensors = SMALL.generator().state_dict()
    del tensors["mapping.fc2.weight"]
    tensors["mapping.fc9.bias"] = torch.zeros(512)
    tensors["synthesis.b8.conv0.bias"] = torch.zeros(7)
    tensors["mapping.fc1.bias"] = tensors["mapping.fc1.bias"].half()
    with pytest.raises(UsageError) as caught:
        generator_from(generator_kwargs(SMALL), tensors)
    wanted = (
        "mapping.fc2.weight is missing",
        "'mapping.fc9.bias' is unknown",
        "synthesis.b8.conv0.bias is (7,)",
        "'mapping.fc1.bias' is torch.float16",
    )
    assert all(text in str(caught.value) for text in wanted)


def test_networks_of_unlike_settings_are_refused(content: Content, tmp_path: Path) -> None:
    other = replace(SMALL, channel_max=8)
    d = pickles.module(
        "Discriminator", other.discriminator(4).state_dict(), pickles.easy(discriminator_kwargs(other, 4))
    )
    with pytest.raises(UsageError, match="unlike settings"):
        import_network(pickles.write(tmp_path / "n.pkl", content | {"D": d}), tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_the_helper_writes_what_its_loader_would_run(published: Path) -> None:
    """A plain loader calls what these pickles name, so that not calling it shows something."""
    with pickles.published_names(), pytest.raises(AssertionError, match="called"):
        pickle.load(io.BytesIO(published.read_bytes()))
    assert json.dumps(read_pickle(published).g.init_kwargs)
