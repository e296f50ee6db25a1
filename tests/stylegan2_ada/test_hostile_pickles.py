import os
import pickle
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stylegan2_ada import UsageError
from stylegan2_ada.official import generator_kwargs, import_network
from stylegan2_ada.official_pickle import read_pickle

from tests.stylegan2_ada import pickles
from tests.stylegan2_ada.pickles import SMALL, Content


@pytest.fixture(scope="module")
def content() -> Content:
    return pickles.three_networks()


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
