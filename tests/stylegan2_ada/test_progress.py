import json
from pathlib import Path

import pytest
import torch
from stylegan2_ada import CollapseError
from stylegan2_ada.progress import Journal, duration, line, memory_gb
from stylegan2_ada.snapshots import Watch, deviation

ROW = {"kimg": 12.3, "augment_p": 0.12, "g_loss": 0.9, "d_loss": 1.1}


def test_a_line_says_how_far_how_fast_and_how_well() -> None:
    assert line(ROW, 100, 14.2, 1.23) == (
        "kimg 12.3/100 | 14.2 s/kimg | ETA 21 min | p 0.12 | G 0.9 D 1.1 | mem 1.2 GB"
    )
    assert line({**ROW, "kid": 0.0123}, 12, 1, 1).endswith(
        "| ETA 0 s | p 0.12 | G 0.9 D 1.1 | mem 1.0 GB | kid 0.0123"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (119, "119 s"), (120, "2.0 min"), (1200, "20 min"), (9000, "2.5 h"), (2e5, "2.3 days")],
)
def test_times_come_in_the_unit_that_suits_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_memory_is_this_processs() -> None:
    before = memory_gb(torch.device("cpu"))
    held = torch.ones(50_000_000)
    assert memory_gb(torch.device("cpu")) >= before > 0.05
    assert len(held) == 50_000_000


def test_a_journal_goes_on_after_the_rows_of_the_state(tmp_path: Path) -> None:
    history = [{**ROW, "kimg": kimg} for kimg in (1.0, 2.0, 3.0)]
    journal = Journal(tmp_path, [])
    for row in history:
        journal.add(row, seconds=1.23456)
    journal.close()
    again = Journal(tmp_path, history[:2])
    again.add({**ROW, "kimg": 2.5}, seconds=2.0)
    again.close()
    rows = [json.loads(text) for text in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert [row["kimg"] for row in rows] == [1.0, 2.0, 2.5]
    assert [row["seconds"] for row in rows] == [1.235, 1.235, 2.0]


def test_tensorboard_gets_rows_and_grids(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    journal = Journal(tmp_path, [])
    journal.add(ROW)
    journal.show("fakes", torch.zeros(3, 1, 8, 8, dtype=torch.uint8), 12300)
    journal.close()
    read = events.EventAccumulator(str(tmp_path / "events")).Reload()
    assert [(event.step, event.value) for event in read.Scalars("g_loss")] == [(12300, pytest.approx(0.9))]
    assert read.Tags()["images"]


def test_deviation_is_between_images_not_within() -> None:
    busy = torch.randint(256, (1, 3, 8, 8), dtype=torch.uint8)
    assert deviation(busy.expand(5, -1, -1, -1)) == 0
    flat = torch.tensor([0, 200], dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)
    assert deviation(flat) == 100


def test_a_collapse_is_three_snapshots_in_a_row() -> None:
    watch = Watch()
    for ratio in (0.01, 0.01, 0.5, 0.01, 0.01):
        watch.compare(ratio, 0.02, 1)
    with pytest.raises(CollapseError, match=r"collapse_ratio=0\.02"):
        watch.compare(0.01, 0.02, 1)


def test_a_watch_counts_snapshots_since_the_best() -> None:
    watch = Watch()
    better = [watch.is_better(kid) for kid in (3.0, 2.0, 2.0, 4.0, 1.0, 1.5)]
    assert better == [True, True, False, False, True, False]
    assert (watch.best_kid, watch.stale) == (1.0, 1)


def test_tensorboard_forgets_what_was_written_after_the_state_that_is_gone_on_from(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    history = [{**ROW, "kimg": kimg} for kimg in (1.0, 2.0, 3.0)]
    for rows, before in ((history, 0), ([{**ROW, "kimg": 2.5}], 2)):
        journal = Journal(tmp_path, history[:before])
        for row in rows:
            journal.add(row)
        journal.close()
    read = events.EventAccumulator(str(tmp_path / "events")).Reload()
    assert [event.step for event in read.Scalars("g_loss")] == [1000, 2000, 2500]
