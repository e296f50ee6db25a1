"""JSON of the state is what its reader needs, or one line says which object it is not in."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components.shared import stored_json
from components.shared.faults import InputError
from tests.shared.damaged import DAMAGED

SHAPE = [{"name": str, "size": int, "loss": float, "by_side": {"test": list}}]
WHOLE = [{"name": "a", "size": 3, "loss": 0, "by_side": {"test": [], "train": 1}, "more": None}]
REFUSAL = r"^s/x\.json: damaged; valid: a copy$"
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
)


def parse(data, shape):
    return stored_json.parse("s/x.json", data, shape, "a copy")


def test_what_has_the_shape_is_returned_whole():
    assert parse(json.dumps(WHOLE).encode(), SHAPE) == WHOLE
    assert parse(b"[]", SHAPE) == []


@pytest.mark.parametrize("data", [*DAMAGED, b"[" * 100_000])
def test_what_is_no_object_with_that_key_is_refused(data):
    with pytest.raises(InputError, match=REFUSAL):
        parse(data, {"name": str})


@pytest.mark.parametrize("key", [*WHOLE[0]][:4])
@pytest.mark.parametrize("value", [None, {}, [{}], "1"])
def test_a_list_one_of_whose_entries_lacks_something_is_refused(key, value):
    if isinstance(value, SHAPE[0][key] if key in ("name", "size", "loss") else ()):
        return
    for other in ({**WHOLE[0], key: value}, {name: WHOLE[0][name] for name in WHOLE[0] if name != key}):
        with pytest.raises(InputError, match=REFUSAL):
            parse(json.dumps([*WHOLE, other]).encode(), SHAPE)


@given(values)
@example({"a": [{"b": False}]})  # which Python takes for a number
def test_any_json_is_told_apart(value):
    shape = {"a": [{"b": int}]}
    try:
        assert all(type(each["b"]) is int for each in parse(json.dumps(value).encode(), shape)["a"])
    except InputError:
        whole = isinstance(value, dict) and isinstance(value.get("a"), list)
        assert not (whole and all(isinstance(e, dict) and type(e.get("b")) is int for e in value["a"]))


@given(st.integers(0, 100))
def test_half_of_it_is_refused_wherever_it_was_cut(cut):
    text = json.dumps(WHOLE).encode()
    with pytest.raises(InputError, match=REFUSAL):
        parse(text[: min(cut, len(text) - 1)], SHAPE)
