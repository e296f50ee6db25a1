import json
from pathlib import Path

import pytest
import torch
from stylegan2_ada import UsageError, load_generator
from stylegan2_ada.generate import latents
from stylegan2_ada.networks import Architecture
from stylegan2_ada.weights import GENERATOR, INFO, save, transfer

ARCHITECTURE = Architecture(resolution=8, channels=1, channel_base=64, channel_max=512, mapping_layers=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path, ARCHITECTURE.generator(), ARCHITECTURE.discriminator(4), ARCHITECTURE, {"kimg": 1.0})
    return tmp_path


def test_a_loaded_generator_makes_the_saved_ones_images(tmp_path: Path) -> None:
    g = ARCHITECTURE.generator()
    save(tmp_path, g, ARCHITECTURE.discriminator(4), ARCHITECTURE, {"kimg": 1.0})
    loaded, info = load_generator(tmp_path)
    z = latents(range(2))
    assert torch.allclose(loaded(z, noise="const"), g(z, noise="const"), atol=1e-6)
    assert info["kimg"] == 1.0


def test_a_transfer_takes_both_networks(folder: Path) -> None:
    g, d = ARCHITECTURE.generator(), ARCHITECTURE.discriminator(2)
    transfer(folder, ARCHITECTURE, g, d)
    source, _ = load_generator(folder)
    assert all(map(torch.equal, g.state_dict().values(), source.state_dict().values()))


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
