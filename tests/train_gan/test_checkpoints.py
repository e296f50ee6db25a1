from collections.abc import Iterator
from pathlib import Path

import pytest

from components.shared import storage
from components.train_gan.checkpoints import Mirror
from tests.shared.fake_gcs import fake_gcs
from tests.train_gan.test_stage import files


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with fake_gcs() as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        storage._client.cache_clear()
        yield "gs://scans/gan"
        storage._client()._http.close()
    storage._client.cache_clear()


def test_a_mirror_drops_what_is_gone_and_stores_what_is_new(bucket: str, tmp_path: Path) -> None:
    there, here = Mirror(bucket, tmp_path / "there"), Mirror(bucket, tmp_path / "here")
    here.pull()
    (tmp_path / "here" / "snapshots").mkdir(parents=True)
    for name in ("checkpoint-1.pt", "checkpoint-1.json", "stats.jsonl", "snapshots/a.png", "cut.part"):
        (tmp_path / "here" / name).write_text("1")
    here.push()
    (tmp_path / "here" / "checkpoint-1.pt").unlink()
    (tmp_path / "here" / "stats.jsonl").write_text("2")
    here.push()
    there.pull()
    assert files(tmp_path / "there") == {
        "checkpoint-1.json": b"1",
        "stats.jsonl": b"2",
        "snapshots/a.png": b"1",
    }
