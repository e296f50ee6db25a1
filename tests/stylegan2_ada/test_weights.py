import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stylegan2_ada import UsageError, load_generator
from stylegan2_ada.generate import latents
from stylegan2_ada.networks import Architecture, Blocks
from stylegan2_ada.run import go_on
from stylegan2_ada.weights import (
    DISCRIMINATOR,
    GENERATOR,
    INFO,
    RAW,
    is_whole,
    read_info,
    read_tensors,
    save,
    transfer,
    transferred,
)
from torch import nn

from tests.stylegan2_ada.test_judging import run_of

ARCHITECTURE = Architecture(resolution=8, channels=1, channel_base=64, channel_max=512, mapping_layers=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path, ARCHITECTURE.generator(), ARCHITECTURE.discriminator(4), ARCHITECTURE, {"kimg": 1.0})
    return tmp_path


def equal(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_a_loaded_generator_makes_the_saved_ones_images(tmp_path: Path) -> None:
    g = ARCHITECTURE.generator()
    save(tmp_path, g, ARCHITECTURE.discriminator(4), ARCHITECTURE, {"kimg": 1.0})
    loaded, info = load_generator(tmp_path)
    z = latents(range(2))
    assert torch.allclose(loaded(z, noise="const"), g(z, noise="const"), atol=1e-6)
    assert info["kimg"] == 1.0


def test_a_transfer_takes_both_networks(folder: Path) -> None:
    g, d = ARCHITECTURE.generator(), ARCHITECTURE.discriminator(2)
    transfer(folder, g, d, ARCHITECTURE.generator())
    source, info = load_generator(folder)
    assert equal(g, source)
    written = read_tensors(folder, info, DISCRIMINATOR)
    assert all(torch.equal(value, written[name]) for name, value in d.state_dict().items())


def test_a_transfer_takes_the_last_steps_generator_where_there_is_one(tmp_path: Path) -> None:
    mean, last = ARCHITECTURE.generator(), ARCHITECTURE.generator()
    save(tmp_path, mean, ARCHITECTURE.discriminator(4), ARCHITECTURE, {}, g=last)
    g, g_ema = ARCHITECTURE.generator(), ARCHITECTURE.generator()
    transfer(tmp_path, g, ARCHITECTURE.discriminator(4), g_ema)
    assert equal(g, last) and equal(g_ema, mean) and is_whole(tmp_path)
    (tmp_path / RAW).write_bytes(b"")
    assert not is_whole(tmp_path)
    with pytest.raises(UsageError, match="missing or changed"):
        transfer(tmp_path, g, ARCHITECTURE.discriminator(4), g_ema)


def test_images_are_made_by_the_running_mean_where_the_last_steps_generator_is_there_too(
    tmp_path: Path,
) -> None:
    mean, last = ARCHITECTURE.generator(), ARCHITECTURE.generator()
    save(tmp_path, mean, ARCHITECTURE.discriminator(4), ARCHITECTURE, {}, g=last)
    assert equal(load_generator(tmp_path)[0], mean)


def test_a_run_begins_with_each_network_where_the_other_ended(tmp_path: Path) -> None:
    mean, last, d = ARCHITECTURE.generator(), ARCHITECTURE.generator(), ARCHITECTURE.discriminator(4)
    save(tmp_path / "other", mean, d, ARCHITECTURE, {}, g=last)
    run = run_of(tmp_path / "run", torch.zeros(60, 1, 8, 8, dtype=torch.uint8))
    go_on(run, tmp_path / "other", required=False)
    assert equal(run.state.g, last) and equal(run.state.g_ema, mean) and equal(run.state.d, d)


def test_a_folder_that_is_written_again_keeps_no_generator_of_before(folder: Path) -> None:
    d = ARCHITECTURE.discriminator(4)
    save(folder, ARCHITECTURE.generator(), d, ARCHITECTURE, {}, g=ARCHITECTURE.generator())
    save(folder, ARCHITECTURE.generator(), d, ARCHITECTURE, {})
    assert is_whole(folder) and not (folder / RAW).exists()


def test_changed_or_missing_files_are_refused(folder: Path) -> None:
    (folder / GENERATOR).write_bytes(b"other")
    with pytest.raises(UsageError, match="missing or changed"):
        load_generator(folder)
    info = json.loads((folder / INFO).read_text())
    del info["architecture"]
    (folder / INFO).write_text(json.dumps(info))
    with pytest.raises(UsageError, match="not readable"):
        load_generator(folder)
    (folder / INFO).unlink()
    with pytest.raises(UsageError, match="no generator"):
        load_generator(folder)


def test_json_that_knows_five_settings_has_the_others_at_their_defaults(folder: Path) -> None:
    info = json.loads((folder / INFO).read_text())
    names = ("resolution", "channels", "channel_base", "channel_max", "mapping_layers")
    info["architecture"] = {name: info["architecture"][name] for name in names}
    (folder / INFO).write_text(json.dumps(info))
    assert load_generator(folder)[0].architecture == ARCHITECTURE


def test_a_run_follows_the_folder_where_its_settings_are_formulas(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = replace(ARCHITECTURE, mapping_layers=8, channel_base=128, clamp=256.0, low_blocks=4)
    with caplog.at_level(logging.INFO):
        found = transferred(wanted, {"channel_max"}, folder)
    assert found == replace(ARCHITECTURE, clamp=256.0, low_blocks=4)
    assert "mapping_layers 2, as in" in caplog.text and "not 8" in caplog.text
    transfer(folder, found.generator(), found.discriminator(4), found.generator())


def test_every_difference_in_what_the_user_set_is_named(folder: Path) -> None:
    wanted = replace(ARCHITECTURE, mapping_layers=8, channel_base=128, resolution=16, labels=3)
    with pytest.raises(UsageError) as caught:
        transferred(wanted, {"mapping_layers"}, folder)
    for text in ("resolution 8 there, 16 here", "labels 0 there, 3 here", "mapping_layers 2 there, 8 here"):
        assert text in str(caught.value)
    assert "channel_base" not in str(caught.value)


def test_labels_mapped_by_another_number_of_layers_are_refused_before_a_run_begins(tmp_path: Path) -> None:
    """Settings have no name for it, so that a run could not follow them."""
    other = replace(ARCHITECTURE, labels=3, d_mapping_layers=4)
    save(tmp_path, other.generator(), other.discriminator(4), other, {})
    with pytest.raises(UsageError, match="d_mapping_layers 4 there, 8 here"):
        transferred(replace(ARCHITECTURE, labels=3), (), tmp_path)


def test_a_transfer_skips_no_tensor_of_another_architecture(folder: Path) -> None:
    other = replace(ARCHITECTURE, mapping_layers=8, g_blocks="resnet")
    with pytest.raises(UsageError, match="mapping_layers 2 there, 8 here; g_blocks skip there, resnet here"):
        transfer(folder, other.generator(), other.discriminator(4), other.generator())


@pytest.mark.parametrize("blocks", ["skip", "resnet", "orig"])
def test_colour_networks_judge_and_make_grey_images_as_they_did(tmp_path: Path, blocks: Blocks) -> None:
    colour = replace(ARCHITECTURE, channels=3, resolution=16, g_blocks=blocks, d_blocks=blocks)
    g, d = colour.generator(), colour.discriminator(2)
    with torch.no_grad():
        for parameter in (*g.parameters(), *d.parameters()):
            parameter.add_(torch.randn_like(parameter) / 10)  # biases start at zero
    save(tmp_path, g, d, colour, {})
    grey = transferred(replace(colour, channels=1), {"channels"}, tmp_path)
    grey_g, grey_d = grey.generator(), grey.discriminator(2)
    transfer(tmp_path, grey_g, grey_d, grey.generator())
    image, z = torch.randn(4, 1, 16, 16), latents(range(2))
    assert torch.allclose(grey_d(image), d(image.repeat(1, 3, 1, 1)), atol=1e-4, rtol=1e-4)
    mean = g(z, noise="none").mean(dim=1, keepdim=True)
    assert torch.allclose(grey_g(z, noise="none"), mean, atol=1e-4, rtol=1e-4)


def test_grey_networks_make_and_judge_equal_channels(tmp_path: Path) -> None:
    g, d = ARCHITECTURE.generator(), ARCHITECTURE.discriminator(2)
    save(tmp_path, g, d, ARCHITECTURE, {})
    colour = transferred(replace(ARCHITECTURE, channels=3), (), tmp_path)
    colour_g, colour_d = colour.generator(), colour.discriminator(2)
    transfer(tmp_path, colour_g, colour_d, colour.generator())
    image, z = torch.randn(4, 1, 8, 8), latents(range(2))
    assert torch.allclose(colour_d(image.repeat(1, 3, 1, 1)), d(image), atol=1e-4, rtol=1e-4)
    assert torch.allclose(
        colour_g(z, noise="none"), g(z, noise="none").repeat(1, 3, 1, 1), atol=1e-4, rtol=1e-4
    )


def test_the_json_of_a_folder_names_its_architecture(folder: Path) -> None:
    assert Architecture(**read_info(folder)["architecture"]) == ARCHITECTURE


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"resolution": 2**40}, "resolution=1099511627776: not possible"),
        ({"resolution": 12}, "resolution=12: not possible; valid: a power of two"),
        ({"mapping_layers": 10**9}, "mapping_layers=1000000000: not possible"),
        ({"labels": -1}, "labels=-1: not possible"),
        ({"channels": 1.5}, "channels=1.5: not possible; valid: a whole number"),
        ({"channel_max": "512"}, "channel_max='512': not possible"),
        ({"clamp": float("inf")}, "conv_clamp=inf: not possible"),
        ({"g_blocks": "dense"}, "architecture='dense': not possible"),
        ({"paint": 1}, "not readable .*paint"),
        # within bounds, but of other tensors than the files hold
        ({"channel_max": 8192, "channel_base": 2**20}, "b4.const is .*, not "),
        ({"mapping_layers": 64}, "mapping.fc10.bias is missing"),
        ({"mapping_layers": 1}, "'mapping.fc1.bias' is unknown"),
    ],
)
def test_sizes_in_json_are_held_against_bounds_and_tensors_before_anything_is_allocated(
    folder: Path, changes: dict[str, object], refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = json.loads((folder / INFO).read_text())
    (folder / INFO).write_text(json.dumps(info | {"architecture": info["architecture"] | changes}))
    make = Architecture.generator

    def watched(architecture: Architecture) -> nn.Module:
        assert torch.get_default_device().type == "meta"
        return make(architecture)

    monkeypatch.setattr(Architecture, "generator", watched)
    with pytest.raises(UsageError, match=refusal):
        load_generator(folder)
    with pytest.raises(UsageError, match=refusal):
        transferred(ARCHITECTURE, (), folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_json_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / INFO).write_bytes(content)
    with pytest.raises(UsageError, match=r"generator.json: .*; valid: "):
        load_generator(folder)
    assert not is_whole(folder)
