import io
import json
import os
import pickle
import struct
import time
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

SMALL = Architecture(
    resolution=16, channels=1, labels=3, channel_base=256, channel_max=16, mapping_layers=3, clamp=256.0,
    low_blocks=4,
)  # fmt: skip
Content = dict[str, Any]


@pytest.fixture(scope="module")
def content() -> Content:
    """Three small networks, each of its own weights."""
    g, g_ema = ((generator_kwargs(SMALL), SMALL.generator().state_dict()) for _ in range(2))
    d = (discriminator_kwargs(SMALL, 8), SMALL.discriminator(8).state_dict())
    return pickles.snapshot(g, d, g_ema)


@pytest.fixture(scope="module")
def published(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pickles.write(tmp_path_factory.mktemp("published") / "network.pkl", content)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of all parts, with few tensors."""
    parts = {
        "b4.const": torch.randn(2, 4, 4),
        "b4.conv1.noise_const": torch.randn(4, 4),
        "w_avg": torch.ones(8),
    }
    network = generator_kwargs(SMALL), parts
    path = tmp_path_factory.mktemp("short") / "network.pkl"
    return pickles.write(path, pickles.snapshot(network, network, network))


def refusal(path: Path) -> str:
    """Return the one line with which a file is refused, quickly."""
    start = time.perf_counter()
    with pytest.raises(UsageError) as caught:
        read_pickle(path)
    message = str(caught.value)
    assert "\n" not in message and "; valid: " in message and message.startswith(str(path))
    assert time.perf_counter() - start < 10
    return message


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


def payload(marker: Path) -> list[Any]:
    """Objects whose loading would leave a trace."""
    return [
        pickles.Calls(os.system, f"touch {marker}"),
        pickles.Calls(eval, f"open({str(marker)!r}, 'w')"),
        pickles.Calls(exec, f"open({str(marker)!r}, 'w')"),
        pickles.Calls(torch.load, str(marker)),
        pickles.Calls(__import__, "antigravity"),
    ]


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_a_hostile_file_would_call_is_named_and_not_called(
    content: Content, tmp_path: Path, case: int, protocol: int
) -> None:
    marker = tmp_path / "trace"
    hostile = content | {"training_set_kwargs": payload(marker)[case]}
    assert " names '" in refusal(pickles.write(tmp_path / "n.pkl", hostile, protocol))
    assert not marker.exists()


def stream(storage: Any, count: int = 3, raw: bytes = bytes(12), key: Any = ("0",)) -> bytes:
    """Return a nested stream as torch writes it, of a storage that may be anything."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = [pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    keys = pickle.dumps(list(key), protocol=2)
    return b"".join([*head, storage, keys, struct.pack("<q", count), raw])


def reference(kind: bytes = b"ctorch\nFloatStorage\n", count: bytes = b"K\x03") -> bytes:
    """Return the pickle of a reference to a storage."""
    words = [b"X" + struct.pack("<i", len(word)) + word for word in (b"storage", b"0", b"cpu")]
    return b"".join([b"\x80\x02(", words[0], kind, *words[1:], count, b"NtQ."])


def with_stream(
    content: Content, inner: bytes, size: tuple[int, ...] = (3,), stride: tuple[int, ...] = (1,)
) -> Content:
    """Return the content with a generator of one tensor of a stream."""
    storage = pickles.Calls(torch.storage._load_from_bytes, inner)
    tensor = pickles.Calls(torch._utils._rebuild_tensor_v2, storage, 0, size, stride, False, {})
    g = pickles.module("Generator", {})
    g.state["_parameters"]["weight"] = tensor
    return content | {"G": g}


def test_a_plain_stream_by_hand_is_read(content: Content, tmp_path: Path) -> None:
    raw = struct.pack("<3f", 1, 2, 3)
    path = pickles.write(tmp_path / "n.pkl", with_stream(content, stream(reference(), raw=raw)))
    assert read_pickle(path).g.tensors["weight"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (stream(pickle.dumps(pickles.Calls(os.system, "touch trace"), protocol=2)), "names '"),
        (stream(reference(b"cos\nsystem\n")), "names 'os.system'"),
        (stream(reference(b"cbuiltins\neval\n")), "names 'builtins.eval'"),
        (stream(reference(count=b"\x8a\x08" + bytes(7) + b"\x40")), "no storage"),
        (stream(reference(count=b"J\x00\x00\x00\x40"), count=2**30), "declares 1073741824 elements"),
        (stream(reference(), count=4), "another name or size"),
        (stream(reference(), raw=bytes(11)), "declares 3 elements"),
        (stream(reference(), key=("1",)), "another name or size"),
        (stream(b"\x80\x02K\x01."), "no storage"),
        (b"", "no whole pickle"),
        (b"PK\x03\x04", "no whole pickle"),
    ],
)
def test_a_hostile_nested_stream_is_refused(
    content: Content, tmp_path: Path, inner: bytes, message: str
) -> None:
    text = refusal(pickles.write(tmp_path / "n.pkl", with_stream(content, inner)))
    assert message in text and "'weight'" in text
    assert not Path("trace").exists()


@pytest.mark.parametrize(
    ("size", "stride"),
    [
        ((2**39,), (0,)),
        ((4,), (1,)),
        ((3,), (2,)),
        ((2,), (3,)),  # the last one lies just past the storage
        ((-3,), (1,)),
        ((3,), (-1,)),
        ((3, 1), (1,)),
        ((1,) * 9, (1,) * 9),
    ],
)
def test_a_tensor_larger_than_its_storage_is_refused(
    content: Content, tmp_path: Path, size: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    hostile = with_stream(content, stream(reference()), size, stride)
    assert "has 'weight', which" in refusal(pickles.write(tmp_path / "n.pkl", hostile))


def test_many_tensors_of_one_storage_are_refused(content: Content, tmp_path: Path) -> None:
    shared = with_stream(content, stream(reference(count=b"J\x00\x00\x10\x00"), 2**20, bytes(2**22)))["G"]
    tensor = shared.state["_parameters"]["weight"]
    shared.state["_parameters"].update({f"weight{i}": tensor for i in range(500)})
    assert "more elements" in refusal(pickles.write(tmp_path / "n.pkl", content | {"G": shared}))


def test_a_module_that_holds_itself_is_refused(content: Content, tmp_path: Path) -> None:
    g = pickles.module("Generator", {})
    layer = pickles.module("SynthesisLayer", {})
    for _ in range(40):
        outer = pickles.module("SynthesisLayer", {})
        outer.state["_modules"].update(a=layer, b=layer)
        layer = outer
    g.state["_modules"]["synthesis"] = layer
    assert "more than 1000 modules" in refusal(pickles.write(tmp_path / "n.pkl", content | {"G": g}))


def test_settings_within_settings_are_refused(content: Content, tmp_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(60):
        deep = [deep] * 30
    g = pickles.module("Generator", {}, {"z_dim": deep})
    assert "too deep" in refusal(pickles.write(tmp_path / "n.pkl", content | {"G": g}))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "no whole pickle"),
        (b"hello, this is no pickle", "no whole pickle"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "uses the opcode"),
        (b"PK\x03\x04" + bytes(40), "a zip archive"),
        (b"\x80\x04.", "no whole pickle"),
        (b"\x80\x02Nr\xff\xff\xff\xff.", "holds a NoneType"),  # an index into the memo that would take 64 GiB
        (b"\x80\x04B\xff\xff\xff\xff.", "no whole pickle"),  # bytes that are not there
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", "no whole pickle"),
        (b"\x80\x02cdnnlib.tflib.network\nNetwork\n.", "legacy.py"),
        (b"\x80\x02X\x01\x00\x00\x000Q.", "persistent id"),
        (b"P0\n.", "opcode PERSID"),
        (b"\x80\x02\x82\x01.", "opcode EXT1"),
        (b"(ios\nsystem\n.", "opcode INST"),
        (b"(cos\nsystem\nX\x02\x00\x00\x00lso.", "names 'os.system'"),
        (b"(ccollections\nOrderedDict\no.", "opcode OBJ"),
        (b"\x80\x02]}b.", "puts a state into a list"),
        (b"\x80\x02ccollections\nOrderedDict\n}b.", "puts a state into a Name"),
        (b"\x80\x02K\x01)R.", "calls what is no name"),
        (b"\x80\x02" + b"N" * 1_000_001 + b".", "more than 1000000 parts"),
        (b"\x80\x02}" + b")" + b"\x85" * 500_000 + b"Ns.", "no whole pickle"),  # a key of 500,000 tuples
        (b"\x80\x02)" + b"\x85" * 500_000 + b".", "holds a tuple"),
        (b"\x80\x04\x8c\x03a\nb\x8c\x03\xf0\x9f\xa6\x93.", "no whole pickle"),
        (b"\x80\x04\x8c\x03a\nb\x8c\x04\xf0\x9f\x98\x80\x93.", r"names 'a\nb.\U0001f600'"),
    ],
)
def test_what_is_no_pickle_of_networks_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "n.pkl"
    path.write_bytes(raw)
    assert message in refusal(path)


DEEP = b")" + b"\x85" * 100_000  # a tuple in a tuple in a tuple ...; whatever recurses into it overflows


@pytest.mark.parametrize("place", [b"version", b"class_name", b"type", b"state", b"module_src"])
def test_deep_values_are_refused(tmp_path: Path, place: bytes) -> None:
    values = {b"type": b"X\x05\x00\x00\x00class", b"version": b"K\x06", b"class_name": b"X\x01\x00\x00\x00G"}
    items = [
        b"X" + struct.pack("<i", len(key)) + key + value for key, value in (values | {place: DEEP}).items()
    ]
    module = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n}(" + b"".join(items) + b"u\x85R"
    (tmp_path / "n.pkl").write_bytes(b"\x80\x02}X\x01\x00\x00\x00G" + module + b"s.")
    assert "has modules" in refusal(tmp_path / "n.pkl") or "where Generator belongs" in refusal(
        tmp_path / "n.pkl"
    )


@pytest.mark.parametrize("raw", [DEEP + DEEP + b"\x93.", b"}" + DEEP + b"Ns.", DEEP + b"R.", DEEP + b"b."])
def test_deep_names_and_keys_are_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "n.pkl").write_bytes(b"\x80\x04" + raw)
    refusal(tmp_path / "n.pkl")


def test_long_numbers_are_refused(content: Content, tmp_path: Path) -> None:
    g = pickles.module("Generator", SMALL.generator().state_dict(), {"z_dim": 10**6000})
    path = pickles.write(tmp_path / "n.pkl", content | {"G": g, "G_ema": g})
    with pytest.raises(UsageError, match="z_dim=<int>: "):
        import_network(path, tmp_path / "net")


@pytest.mark.parametrize("name", ["G", "D", "G_ema"])
def test_a_file_without_a_network_is_refused(content: Content, tmp_path: Path, name: str) -> None:
    rest = {key: value for key, value in content.items() if key != name}
    assert f"has no {name}" in refusal(pickles.write(tmp_path / "n.pkl", rest))
    assert "where" in refusal(pickles.write(tmp_path / "n.pkl", content | {name: 3}))


def test_modules_of_other_classes_are_refused(content: Content, tmp_path: Path) -> None:
    for kind in ("Discriminator", "SynthesisInput", "os.system"):
        changed = content | {"G": pickles.module(kind, {})}
        assert f"holds '{kind}'" in refusal(pickles.write(tmp_path / "n.pkl", changed))


def test_a_layer_of_an_unknown_class_is_refused(content: Content, tmp_path: Path) -> None:
    g = pickles.module("Generator", {})
    g.state["_modules"]["synthesis"] = pickles.module("SynthesisInput", {})
    path = pickles.write(tmp_path / "n.pkl", content | {"G": g})
    assert "holds 'SynthesisInput' where a layer belongs" in refusal(path)


def test_a_file_cut_anywhere_is_refused(short: Path, tmp_path: Path) -> None:
    read_pickle(short)
    whole, path = short.read_bytes(), tmp_path / "cut.pkl"
    for length in [*range(0, len(whole), 5), len(whole) - 1]:
        path.write_bytes(whole[:length])
        refusal(path)


def test_a_file_changed_anywhere_is_read_or_refused(short: Path, tmp_path: Path) -> None:
    whole, rng, path = short.read_bytes(), np.random.default_rng(0), tmp_path / "changed.pkl"
    for position in range(0, len(whole), 5):
        changed = bytearray(whole)
        changed[position] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        try:
            read_pickle(path)
        except UsageError as error:
            assert "\n" not in str(error)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.pkl")


def test_the_helper_writes_what_its_loader_would_run(published: Path) -> None:
    """A plain loader calls what these pickles name, so that not calling it shows something."""
    with pickles.published_names(), pytest.raises(AssertionError, match="called"):
        pickle.load(io.BytesIO(published.read_bytes()))
    assert json.dumps(read_pickle(published).g.init_kwargs)
