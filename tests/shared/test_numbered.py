"""A list that grows: every entry is there once, whoever appends at the same time."""

import threading

from components.shared import numbered


def test_entries_come_in_their_order_and_once(tmp_path):
    uri = str(tmp_path)
    assert numbered.entries(uri) == []
    for number in (1, 2, 1):
        numbered.append(uri, {"n": number}, lambda other, number=number: other["n"] == number)
    assert numbered.entries(uri) == [{"n": 1}, {"n": 2}]


def test_of_many_that_append_at_once_none_is_lost(tmp_path):
    def add(number):
        numbered.append(str(tmp_path), {"n": number}, lambda other: other["n"] == number)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each["n"] for each in numbered.entries(str(tmp_path))) == list(range(12))


def test_an_entry_that_was_taken_out_leaves_its_number_behind(tmp_path):
    for number in (1, 2):
        numbered.append(str(tmp_path), {"n": number}, lambda other, number=number: other["n"] == number)
    (tmp_path / "0001.json").unlink()
    assert numbered.append(str(tmp_path), {"n": 3}, lambda other: other["n"] == 3) == 3
    assert numbered.entries(str(tmp_path)) == [{"n": 2}, {"n": 3}]
