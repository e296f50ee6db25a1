import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from components.anything_new.stage import DONE, GO, Config, anything_new, keep_finished
from components.shared import storage
from tests.shared.damaged import DAMAGED


@pytest.fixture
def run(tmp_path):
    about = {"pipeline": "augmentation", "run_name": "", "fingerprint": "f" * 64, "snapshot_digest": "s"}
    return Config(state_uri=str(tmp_path), audit="stop", language="en", **about)


def test_a_run_is_new_until_one_of_it_has_ended(run, capsys):
    assert anything_new(run) == GO
    assert anything_new(run) == GO  # asking leaves nothing behind
    keep_finished(run)
    assert anything_new(run) == DONE
    assert re.search(r"nothing is new: .* ended on \d{4}-\d\d-\d\d \d\d:\d\d UTC", capsys.readouterr().out)


@pytest.mark.parametrize("name", [field.name for field in fields(Config) if field.name != "state_uri"])
def test_any_difference_is_new(run, name):
    keep_finished(run)
    assert anything_new(replace(run, **{name: "another"})) == GO


def test_volumes_of_before_the_last_run_are_new_again(run):
    other = replace(run, snapshot_digest="t")
    for each in (run, other):
        keep_finished(each)
        assert anything_new(each) == DONE
    assert anything_new(run) == GO


def test_the_first_mark_stays(run):
    keep_finished(run)
    first = re.sub(r"\d{4}-\d\d-\d\d", "2020-01-01", Path(run.mark).read_text())
    Path(run.mark).write_text(first)
    keep_finished(run)
    assert Path(run.mark).read_text() == first


def test_of_two_runs_that_end_at_this_moment_the_mark_is_of_the_later(run, monkeypatch):
    real, (other, last) = storage.replace, (replace(run, snapshot_digest=digest) for digest in "tu")

    def second(*given):
        monkeypatch.setattr(storage, "replace", real)
        keep_finished(other)  # is first, this once
        return real(*given)

    keep_finished(run)
    monkeypatch.setattr(storage, "replace", second)
    keep_finished(last)
    assert (anything_new(last), anything_new(other)) == (DONE, GO)


@pytest.mark.parametrize("left", [*DAMAGED, b'{"snapshot_digest": "s"}'])
def test_a_damaged_mark_says_nothing_and_is_replaced(run, left, capsys):
    Path(run.mark).parent.mkdir()
    Path(run.mark).write_bytes(left)
    assert anything_new(run) == GO
    assert f"{run.mark}: damaged" in capsys.readouterr().out
    keep_finished(run)
    assert anything_new(run) == DONE
