import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from components.shared.classifier import Classifier, build, save
from components.shared.faults import InputError
from components.shared.planes import CLASSES, Seen
from components.shared.weights import seen_behind
from components.train_classifier.pretrained import start_from


@pytest.fixture(scope="module")
def donor() -> nn.Module:
    torch.manual_seed(7)
    return build("resnet18", 10)


@pytest.mark.parametrize("name", ["resnet18.pth", "resnet18.safetensors"])
def test_the_body_is_taken_and_a_head_of_another_size_replaced(tmp_path, donor, name):
    path = tmp_path / name
    (torch.save if name.endswith("pth") else save_file)(donor.state_dict(), path)
    network = build("resnet18", 3)
    head = network.state_dict()["fc.weight"].clone()
    about = start_from(str(path), network, "resnet18")
    assert about["name"] == name
    assert about["head"] == "replaced"
    assert torch.equal(
        network.state_dict()["layer1.0.conv1.weight"], donor.state_dict()["layer1.0.conv1.weight"]
    )
    assert torch.equal(network.state_dict()["fc.weight"], head)


def test_a_head_of_the_same_size_is_kept(tmp_path, donor):
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    network = build("resnet18", 10)
    assert start_from(str(tmp_path / "w.safetensors"), network, "resnet18")["head"] == "kept"
    assert torch.equal(network.state_dict()["fc.weight"], donor.state_dict()["fc.weight"])


class Bomb:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("name", ["bomb.pth", "noise.pth", "noise.safetensors"])
def test_what_is_no_state_dict_is_refused_and_never_executed(tmp_path, name, capsys):
    path = tmp_path / name
    if name.startswith("bomb"):
        torch.save({"w": Bomb()}, path)
    else:
        path.write_bytes(b"no weights at all")
    with pytest.raises(InputError, match=f"pretrained_uri=.*{name}: cannot be read"):
        start_from(str(path), build("resnet18", 3), "resnet18")
    assert "executed" not in capsys.readouterr().out


def test_a_list_is_no_state_dict(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(InputError, match="holds no state dict"):
        start_from(str(tmp_path / "list.pth"), build("resnet18", 3), "resnet18")


def test_weights_of_another_architecture_are_refused_by_name(tmp_path, donor):
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    with torch.device("meta"):
        network = build("convnext_tiny", 3)
    with pytest.raises(
        InputError, match=r"does not fit convnext_tiny at .*valid: a state dict of torchvision"
    ):
        start_from(str(tmp_path / "w.safetensors"), network, "convnext_tiny")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"pretrained_uri=.*none\.pth: not there"):
        start_from(str(tmp_path / "none.pth"), build("resnet18", 3), "resnet18")


def test_patients_are_read_beside_the_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert seen_behind(str(tmp_path / "w.pth")) == seen_behind("w.pth") == (Seen(), Seen())
    seen = Seen(patients=frozenset("a"), scans=frozenset({"1f", "2f"}))
    chosen_by = Seen(patients=frozenset("v"), scans=frozenset({"3f"}))
    (tmp_path / "classifier.json").write_text(json.dumps(seen.told() | chosen_by.told("validated_on")))
    assert seen_behind(str(tmp_path / "w.pth")) == seen_behind("w.pth") == (seen, chosen_by)


def test_weights_of_ours_are_not_taken_without_the_json_that_says_whom_they_saw(tmp_path, donor):
    model = Classifier(
        network=donor,
        architecture="resnet18",
        classes=CLASSES[:3],
        size_px=32,
        seen=Seen(patients=frozenset("a")),
        chosen_by=Seen(patients=frozenset("v")),
    )
    save(model, {}, tmp_path / "whole")
    assert seen_behind(str(tmp_path / "whole/classifier.safetensors"))[0].patients == {"a"}
    save(
        replace(model, seen=Seen(patients=frozenset("b")), network=build("resnet18", 3)),
        {},
        tmp_path / "other",
    )
    shutil.copyfile(tmp_path / "whole/classifier.safetensors", tmp_path / "other/renamed.safetensors")
    with pytest.raises(InputError, match=r"renamed\.safetensors: .* is of other weights;"):
        seen_behind(str(tmp_path / "other/renamed.safetensors"))
    (tmp_path / "whole/classifier.json").unlink()
    with pytest.raises(InputError, match="which patients it has seen; valid: with that file beside it"):
        seen_behind(str(tmp_path / "whole/classifier.safetensors"))


@pytest.mark.parametrize(
    "text", ["{}", "[]", "no JSON", '{"patients_seen": 5, "scans_seen": []}', '{"patients_seen": []}']
)
def test_a_json_that_hides_its_patients_is_refused(tmp_path, text):
    (tmp_path / "classifier.json").write_text(text)
    with pytest.raises(InputError, match=r"pretrained_uri=.*classifier\.json does not say"):
        seen_behind(str(tmp_path / "w.pth"))
