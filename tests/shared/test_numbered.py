"""A list that grows: every entry is there once, whoever appends at the same time."""

import threading

import pytest

from components.shared import numbered
from components.shared.faults import InputError
from tests.shared.damaged import DAMAGED

N = {"n": int}


def test_entries_come_in_their_order_and_once(tmp_path):
    uri = str(tmp_path)
    assert numbered.entries(uri, N) == []
    for number in (1, 2, 1):
        numbered.append(uri, {"n": number}, "n")
    assert numbered.entries(uri, N) == [{"n": 1}, {"n": 2}]


def test_of_many_that_append_at_once_none_is_lost(tmp_path):
    def add(number):
        numbered.append(str(tmp_path), {"n": number}, "n")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each["n"] for each in numbered.entries(str(tmp_path), N)) == list(range(12))


def test_the_list_grows_beyond_four_digits(tmp_path):
    for place, number in (("9998", 1), ("9999", 2), ("10000", 3)):
        (tmp_path / f"{place}.json").write_text(f'{{"n": {number}}}')
    assert numbered.append(str(tmp_path), {"n": 4}, "n") == 10001
    assert [entry["n"] for entry in numbered.entries(str(tmp_path), N)] == [1, 2, 3, 4]


def test_an_entry_that_was_taken_out_leaves_its_number_behind(tmp_path):
    for number in (1, 2):
        numbered.append(str(tmp_path), {"n": number}, "n")
    (tmp_path / "0001.json").unlink()
    assert numbered.append(str(tmp_path), {"n": 3}, "n") == 3
    assert numbered.entries(str(tmp_path), N) == [{"n": 2}, {"n": 3}]


@pytest.mark.parametrize("left", [*DAMAGED, b'{"n": "1"}'])
def test_a_damaged_entry_is_named(tmp_path, left):
    numbered.append(str(tmp_path), {"n": 1}, "n")
    (tmp_path / "0002.json").write_bytes(left)
    refusal = r"/0002\.json: damaged; valid: the run again with that object deleted$"
    with pytest.raises(InputError, match=refusal):
        numbered.entries(str(tmp_path), N)
    with pytest.raises(InputError, match=refusal):
        numbered.append(str(tmp_path), {"n": 3}, "n")
    (tmp_path / "0002.json").unlink()
    assert numbered.append(str(tmp_path), {"n": 3}, "n") == 2
