import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.shared import storage
from components.shared.faults import InputError
from components.shared.storage import clients
from tests.shared.buckets import gcs_bucket, s3_bucket
from tests.shared.fake_gcs import fake_gcs


@pytest.fixture(params=["folder", "file", "gs", "s3"])
def place(request, tmp_path, monkeypatch):
    """A folder's URI of each kind."""
    if request.param in ("folder", "file"):
        (tmp_path / "place").mkdir()
        yield ("file://" if request.param == "file" else "") + str(tmp_path / "place")
        return
    with (gcs_bucket if request.param == "gs" else s3_bucket)(monkeypatch) as (bucket, _):
        yield f"{bucket}/place"


def test_what_is_written_is_read_listed_and_deleted(place):
    uri = storage.join(place, "b.txt")
    assert not storage.exists(uri)
    assert storage.create(uri, b"two")
    assert storage.create(storage.join(place, "a.txt"), b"one")
    assert storage.create(storage.join(place, "deeper", "c.txt"), b"three")
    assert storage.exists(uri)
    assert storage.read_bytes(uri) == b"two"
    assert [(o.name, o.size) for o in storage.list_objects(place)] == [("a.txt", 3), ("b.txt", 3)]
    storage.delete(uri)
    storage.delete(uri)
    assert not storage.exists(uri)


def test_the_last_part_of_an_address_is_a_glob_unless_it_is_a_folder(place):
    named = storage.join(place, "scans [2024]")
    storage.create(storage.join(named, "a.txt"), b"one")
    assert storage.split_glob(place) == (place, "*")
    assert storage.split_glob(storage.join(named, "b?")) == (named, "b?")
    assert [found.name for found in storage.list_objects(named)] == ["a.txt"], "it is not split again"
    is_bucket = storage.local_path(place) is None
    assert storage.split_glob(named) == ((place, "scans [2024]") if is_bucket else (named, "*"))


def test_a_listed_digest_changes_exactly_when_the_content_does(place):
    uri = storage.join(place, "a")
    digests = []
    for data in (b"one", b"one", b"two"):
        storage.delete(uri)
        storage.create(uri, data)
        digests.append(storage.list_objects(place)[0].digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_link_that_leads_nowhere_is_listed_in_its_folder_alone(tmp_path):
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "folder").mkdir()
    for name, target in (("a", "absent"), (".hidden", "absent"), ("circle", "circle"), ("linked", "folder")):
        (tmp_path / name).symlink_to(target)
    found = {each.name: each.digest for each in storage.list_objects(str(tmp_path))}
    assert [name for name in found if found[name] == storage.NOWHERE] == ["a", "circle"]
    assert sorted(found) == ["a", "b", "circle"]
    assert [each.name for each in storage.list_tree(str(tmp_path))] == ["b"]


def test_hidden_files_are_part_of_a_folder_and_unfinished_ones_are_not(tmp_path):
    folder = tmp_path / "folder"
    for name in (".hidden", "deep/.hidden", "deep/.a.part", f".a.{'0' * 32}.part"):
        storage.create(str(folder / name), b"some")
    assert [found.name for found in storage.list_tree(str(folder))] == [".hidden", "deep/.hidden"]
    storage.upload(folder, str(tmp_path / "copy"))
    assert sorted(path.name for path in (tmp_path / "copy").rglob("*") if path.is_file()) == [".hidden"] * 2


def test_what_is_absent_is_a_file_not_found_error(place, tmp_path):
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(storage.join(place, "absent"))
    with pytest.raises(FileNotFoundError):
        storage.download(storage.join(place, "absent"), tmp_path / "copy")


def test_create_never_overwrites(place):
    uri = storage.join(place, "a")
    assert storage.create(uri, b"first")
    assert not storage.create(uri, b"second")
    assert storage.read_bytes(uri) == b"first"


def test_of_sixteen_creators_one_wins(place):
    uri = storage.join(place, "race")
    gate = threading.Barrier(16)

    def create(number):
        gate.wait()
        return storage.create(uri, b"%d" % number)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert won.count(True) == 1
    assert storage.read_bytes(uri) == b"%d" % won.index(True)


def test_replace_needs_the_generation_that_was_read(place):
    uri = storage.join(place, "lease")
    storage.create(uri, b"mine")
    data, generation = storage.read_versioned(uri)
    assert data == b"mine"
    assert storage.replace(uri, b"yours", generation)
    assert not storage.replace(uri, b"late", generation)
    assert storage.replace(uri, b"mine", storage.read_versioned(uri)[1])
    assert not storage.replace(uri, b"late", generation), "equal bytes are not an equal generation"
    storage.delete(uri)
    assert not storage.replace(uri, b"late", generation)


def test_of_sixteen_replacers_one_wins(place):
    uri = storage.join(place, "lease")
    storage.create(uri, b"start")
    generation = storage.read_versioned(uri)[1]
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda n: storage.replace(uri, b"%d" % n, generation), range(16)))
    assert won.count(True) == 1
    assert storage.read_bytes(uri) == b"%d" % won.index(True)


def test_a_folder_goes_up_and_comes_back_whole(place, tmp_path):
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "a").write_bytes(b"a" * 100_000)
    (source / "deep" / "b").write_bytes(b"b")
    storage.upload(source, storage.join(place, "set"))
    storage.upload(source, storage.join(place, "set"))
    storage.download(storage.join(place, "set"), tmp_path / "copy")
    storage.download(storage.join(place, "set", "deep", "b"), tmp_path / "one")
    assert (tmp_path / "copy" / "a").read_bytes() == b"a" * 100_000
    assert (tmp_path / "copy" / "deep" / "b").read_bytes() == b"b"
    assert (tmp_path / "one").read_bytes() == b"b"


def test_a_reader_never_sees_half_a_file(tmp_path):
    source, uri = tmp_path / "source", str(tmp_path / "place" / "file")
    source.write_bytes(b"x" * 4_000_000)
    storage.upload(source, uri)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            storage.upload(source, uri)

    writer = threading.Thread(target=write)
    writer.start()
    sizes = {len(storage.read_bytes(uri)) for _ in range(50)}
    stop.set()
    writer.join()
    assert sizes == {4_000_000}
    assert [o.name for o in storage.list_objects(str(tmp_path / "place"))] == ["file"], (
        "nothing is left behind"
    )


def test_a_missing_bucket_is_named_in_one_line(monkeypatch):
    with fake_gcs() as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        clients.google.cache_clear()
        with pytest.raises(InputError, match=r"gs://no-such-bucket-xyz.*no such bucket.*valid") as caught:
            storage.list_objects("gs://no-such-bucket-xyz/")
        clients.google()._http.close()
    clients.google.cache_clear()
    assert "\n" not in str(caught.value)


def test_without_credentials_or_network_the_answer_comes_in_seconds(monkeypatch):
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    clients.google.cache_clear()
    start = time.monotonic()
    with pytest.raises(InputError, match=r"gs://no-such-bucket-xyz.*credentials"):
        storage.require_answer("gs://no-such-bucket-xyz/")
    assert time.monotonic() - start < 5


def test_a_bucket_out_of_reach_answers_in_seconds(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    clients.google.cache_clear()
    start = time.monotonic()
    with pytest.raises(InputError, match="gs://scans cannot be used"):
        storage.require_answer("gs://scans/x")
    assert time.monotonic() - start < 5
    clients.google.cache_clear()


@pytest.mark.parametrize("uri", ["ftp://bucket/x", "gs://", "s3://", "http://host/x", "/no/such/folder"])
def test_a_place_that_cannot_be_is_refused(uri):
    with pytest.raises(InputError, match="valid: a folder"):
        storage.list_objects(uri)


def test_a_listing_passes_over_what_is_removed_meanwhile(tmp_path, monkeypatch):
    """As beside a run that forgets a patient: whatever was looked at is gone at the next look."""
    names = [f"{number}.txt" for number in range(8)]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    real = os.stat

    def stat(path, *args, **kwargs):
        status = real(path, *args, **kwargs)
        if str(path).endswith((*names[::2],)):
            Path(path).unlink()
        return status

    monkeypatch.setattr(os, "stat", stat)
    for listing in (storage.list_tree, storage.list_objects):
        assert {found.name for found in listing(str(tmp_path))} >= set(names[1::2])
        for name in names[::2]:
            assert storage.size_of(str(tmp_path / name)) in (1, None)
            (tmp_path / name).write_bytes(b"x")
