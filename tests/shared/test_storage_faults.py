"""What a network and a busy server do to transfers, on servers that keep conditions."""

import os
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from components.shared import storage
from components.shared.faults import AbsentError, AwayError, InputError
from components.shared.storage import clients, gcs, list_tree, patience, s3, transfer
from components.shared.storage.patience import Patience
from tests.shared.buckets import forget_clients, gcs_bucket, s3_bucket
from tests.shared.faults import BUSY, READ, WRITE

# Google's client leaves the answer of a refused download unread until it is collected.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
SET = {f"data/{k:02}.bin": bytes([k]) * (1000 + k) for k in range(30)} | {
    "planes.json": b'{"side": 8}',
    "planes.csv": b"image,label\n",
}


class Interrupted(BaseException):
    """As a signal would."""


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "source", SET)


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def read(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def stop_after(files):
    """Return a progress that ends the transfer after so many files."""
    seen = []

    def progress(done, total):
        seen.append(done)
        if len(seen) > files:
            raise Interrupted

    return progress


def test_twenty_faults_each_way_lose_nothing(bucket, source, tmp_path):
    uri, server = f"{bucket[0]}/set", bucket[1]
    for faults, copy in (
        (WRITE[:5], lambda: storage.upload(source, uri)),
        (READ, lambda: storage.download(uri, tmp_path / "copy")),
    ):
        server.faults.waiting.extend(faults * 4)
        server.faults.met, server.faults.spread = 0, True
        copy()
        assert server.faults.met == 20
    assert read(tmp_path / "copy") == SET


def test_twenty_faults_lose_no_object(bucket):
    uri, server = f"{bucket[0]}/ledger", bucket[1]
    for k, fault in enumerate([*WRITE[:5], *READ]):
        server.faults.waiting.append(fault)
        name = f"{uri}/{k}"
        assert storage.create(name, b"first")
        data, generation = storage.read_versioned(name)
        assert data == b"first"
        server.faults.waiting.append(fault)
        assert storage.replace(name, b"second", generation)
        assert storage.read_bytes(name) == b"second"
    assert server.faults.met == 20


@pytest.mark.parametrize("fault", BUSY)
def test_a_write_that_meets_another_is_tried_again(monkeypatch, fault):
    """AWS refuses it while the other is going on, and says nothing of who wins."""
    with s3_bucket(monkeypatch) as (uri, server):
        server.faults.waiting.append(fault)
        assert storage.create(f"{uri}/lease", b"first")
        generation = storage.read_versioned(f"{uri}/lease")[1]
        server.faults.waiting.append(fault)
        assert storage.replace(f"{uri}/lease", b"second", generation)
        server.faults.waiting.append(fault)
        assert not storage.create(f"{uri}/lease", b"third"), "the other has won"
        assert server.faults.met == 3 and storage.read_bytes(f"{uri}/lease") == b"second"


@pytest.mark.parametrize("fault", BUSY)
def test_a_server_is_not_blind_to_conditions_because_it_is_busy_when_that_is_tried(monkeypatch, fault):
    with s3_bucket(monkeypatch) as (uri, server):
        server.faults.waiting.extend([fault] * 2)  # the write, and what tries the server after it
        server.faults.spread = True
        assert storage.create(f"{uri}/lease", b"first")
        assert server.faults.met == 2


def test_bytes_that_came_in_pieces_are_compared_as_a_whole(bucket):
    uri, server = f"{bucket[0]}/labels", bucket[1]
    data = os.urandom(100_000)  # a client may drop what it has where that is less than some kilobytes
    storage.create(uri, data)
    server.faults.waiting.extend(["cut", "flip"])
    assert storage.read_bytes(uri) == data
    assert server.faults.met == 2


def test_parts_of_a_large_file_come_whole_through_faults(bucket, tmp_path, monkeypatch):
    uri, server = f"{bucket[0]}/large", bucket[1]
    for module in (gcs, s3):
        monkeypatch.setattr(module, "_LARGE", 5 << 20)
    monkeypatch.setattr(s3, "_PART", 5 << 20)
    data = os.urandom(12 << 20)
    (tmp_path / "large").write_bytes(data)
    server.faults.waiting.extend(["503", "lost", "flip"])
    storage.upload(tmp_path / "large", uri)
    server.faults.waiting.extend(["503", "cut", "flip"])
    storage.download(uri, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    assert server.faults.met == 6
    server.faults.waiting.append("403")
    with pytest.raises(InputError, match="no permission"):
        storage.upload(tmp_path / "large", f"{uri}-refused")
    assert not storage.exists(f"{uri}-refused")


AWAY_S = 3.0
EVERY = {
    "create": lambda uri, _: storage.create(f"{uri}/new", b"new"),
    "delete": lambda uri, _: storage.delete(f"{uri}/gone"),
    "download": lambda uri, place: storage.download(f"{uri}/set", place / "copy"),
    "exists": lambda uri, _: storage.exists(f"{uri}/there"),
    "head": lambda uri, _: storage.read_head(f"{uri}/there", 2) == b"th",
    "list": lambda uri, _: len(storage.list_objects(f"{uri}/set")) == 2,
    "list all": lambda uri, _: len(list_tree(f"{uri}/set")) == len(SET),
    "read": lambda uri, _: storage.read_bytes(f"{uri}/there") == b"there",
    "upload": lambda uri, place: storage.upload(place / "source", f"{uri}/sent"),
}


@pytest.mark.parametrize("how", ["away", "busy"])
def test_a_store_that_is_away_for_seconds_ends_nothing(bucket, source, how, monkeypatch, capsys):
    uri, server = bucket
    monkeypatch.setattr(patience, "_told", {})
    storage.upload(source, f"{uri}/set")
    for name in ("there", "gone", "kept"):
        storage.create(f"{uri}/{name}", name.encode())
    generation = storage.read_versioned(f"{uri}/kept")[1]
    every = EVERY | {"replace": lambda uri, _: storage.replace(f"{uri}/kept", b"new", generation)}
    server.busy_until = time.monotonic() + AWAY_S * (how == "busy")
    outage = server.listener.away(AWAY_S) if how == "away" else nullcontext()
    with outage, ThreadPoolExecutor(len(every)) as pool:
        asked = {name: pool.submit(act, uri, source.parent) for name, act in every.items()}
        assert not wait(asked.values(), AWAY_S - 0.5).done
    assert not [name for name, answer in asked.items() if answer.result() is False]
    assert read(source.parent / "copy") == SET == storage_of(f"{uri}/sent")
    assert storage.read_bytes(f"{uri}/kept") == storage.read_bytes(f"{uri}/new") == b"new"
    assert not storage.exists(f"{uri}/gone")
    told = [line for line in capsys.readouterr().out.splitlines() if "does not answer" in line]
    assert len(told) == 1, "ten threads wait for one store"


@pytest.mark.parametrize("name", EVERY)
def test_a_store_that_stays_away_is_no_fault_of_what_it_was_asked_for(bucket, source, name, monkeypatch):
    uri, server = bucket
    monkeypatch.setattr(patience, "PATIENT", Patience(first_s=0.01, longest_s=0.01, whole_s=0.1))
    with server.listener.gone(), pytest.raises(AwayError, match=r"cannot be used.*valid: ") as refusal:
        EVERY[name](uri, source.parent)
    assert "\n" not in str(refusal.value) and not isinstance(refusal.value, InputError)


def storage_of(uri):
    return {found.name: storage.read_bytes(found.uri) for found in list_tree(uri)}


def test_an_interrupted_upload_shows_no_index_and_a_resumed_one_sends_the_rest(bucket, source, tmp_path):
    uri = f"{bucket[0]}/set"
    with pytest.raises(Interrupted):
        storage.upload(source, uri, stop_after(3))
    assert [found.name for found in storage.list_objects(uri)] == []
    there = {found.uri: found.version for found in storage.list_objects(f"{uri}/data")}
    assert 2 <= len(there) < 30
    seen = []
    storage.upload(source, uri, lambda done, total: seen.append((done, total)))
    total = sum(map(len, SET.values()))
    assert seen == sorted(seen) and seen[-1] == (total, total)
    assert seen[0][0] == sum(len(SET["data/" + place.rpartition("/")[2]]) for place in there), "kept"
    now = {found.uri: found.version for found in storage.list_objects(f"{uri}/data")}
    assert there.items() <= now.items()
    storage.download(uri, tmp_path / "copy")
    assert read(tmp_path / "copy") == SET


def test_a_long_copy_tells_the_log_how_far_it_is(monkeypatch):
    told, enough = [], threading.Event()

    def emit(stage, event, message):
        told.append((stage, event, message.rpartition(", ")[0]))
        if "0.2 of 0.4 MB" in message:
            enough.set()

    def item(name, copy):
        return transfer.Item(name=name, size=200_000, there=False, is_same=bool, copy=copy, remove=bool)

    monkeypatch.setattr(transfer, "_TOLD_S", 0.01)
    monkeypatch.setattr(transfer, "emit", emit)
    with transfer.logged("gs://b/set") as progress:
        transfer.copy_all([item("a", bool), item("b", lambda: enough.wait(60))], progress)
    assert told[-1] == ("storage", "note", "gs://b/set: 0.2 of 0.4 MB")
    known = {"gs://b/set: looked at", "gs://b/set: 0.4 MB", "gs://b/set: 0.2 of 0.4 MB"}
    assert {message for _, _, message in told} <= known


def test_a_set_that_changes_has_no_index_meanwhile(bucket, source):
    uri = f"{bucket[0]}/set"
    storage.upload(source, uri)
    write(source, {"data/00.bin": b"other", "data/01.bin": b"other"})
    with pytest.raises(Interrupted):
        storage.upload(source, uri, stop_after(0))
    assert not storage.exists(f"{uri}/planes.csv") and not storage.exists(f"{uri}/planes.json")
    storage.upload(source, uri)
    assert storage.exists(f"{uri}/planes.csv") and storage.read_bytes(f"{uri}/data/00.bin") == b"other"


def test_an_interrupted_download_has_no_index_and_a_resumed_one_keeps_what_came(bucket, source, tmp_path):
    uri, copy = f"{bucket[0]}/set", tmp_path / "copy"
    storage.upload(source, uri)
    with pytest.raises(Interrupted):
        storage.download(uri, copy, stop_after(3))
    came = {path: path.stat().st_ino for path in copy.rglob("*") if path.is_file()}
    assert came and not {"planes.csv", "planes.json"} & set(read(copy))
    assert not [path for path in came if path.name.endswith(".part")]
    next(iter(came)).write_bytes(b"spoilt")
    storage.download(uri, copy)
    assert read(copy) == SET
    assert [path.stat().st_ino == node for path, node in came.items()].count(False) == 1


def test_an_object_that_vanishes_is_named_and_one_that_is_overwritten_comes_new(bucket, source, tmp_path):
    uri = f"{bucket[0]}/set"
    storage.upload(source, uri)

    def overwrite(*_):
        storage.upload(write(tmp_path / "new", {"planes.csv": b"new"}) / "planes.csv", f"{uri}/planes.csv")

    storage.download(uri, tmp_path / "copy", overwrite)
    assert (tmp_path / "copy/planes.csv").read_bytes() == b"new"
    with pytest.raises(AbsentError, match=rf"^{uri}/planes\.csv: vanished.*valid: "):
        storage.download(uri, tmp_path / "lost", lambda *_: storage.delete(f"{uri}/planes.csv"))


def test_ten_thousand_objects_are_listed(bucket, monkeypatch):
    uri, server = bucket
    names = [f"{k:05}.nrrd" for k in range(10_000)]
    if uri.startswith("gs://"):
        for name in names:
            server.put({"name": f"many/{name}"}, b"")
    else:
        for name in names:
            s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(uri.removeprefix("s3://"), f"many/{name}", b"")
    storage.create(f"{uri}/many/deeper/x", b"")
    storage.create(f"{uri}/many-more", b"")
    assert [found.name for found in storage.list_objects(f"{uri}/many")] == names


def test_what_consoles_make_for_a_folder_is_no_file(bucket):
    uri, server = bucket
    for name in ("set/", "set/deeper/"):
        if uri.startswith("gs://"):
            server.put({"name": name}, b"")
        else:
            clients.aws(patience.PATIENT).put_object(Bucket=uri.removeprefix("s3://"), Key=name, Body=b"")
    storage.create(f"{uri}/set/a", b"")
    for listing in (storage.list_objects, list_tree):
        assert [found.name for found in listing(f"{uri}/set")] == ["a"]


@pytest.mark.parametrize(
    ("ours", "theirs"), [("eu-south-2", ""), ("eu-south-2", "us-west-2"), ("", "us-west-2")]
)
def test_the_region_of_the_secret_is_used(monkeypatch, ours, theirs):
    for name, value in (("AWS_REGION", ours), ("AWS_DEFAULT_REGION", theirs)):
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    clients.aws.cache_clear()
    assert clients.aws(patience.PATIENT).meta.region_name == (ours or theirs)
    forget_clients()


def test_uploads_to_s3_that_were_killed_are_dropped_below_a_prefix_alone(monkeypatch):
    with s3_bucket(monkeypatch) as (uri, _):
        bucket, client = uri.removeprefix("s3://"), clients.aws(patience.PATIENT)
        for name in ("state/a/big", "state/b", "state-of-others/c"):
            upload = client.create_multipart_upload(Bucket=bucket, Key=name)["UploadId"]
            client.upload_part(Bucket=bucket, Key=name, UploadId=upload, PartNumber=1, Body=b"half")
        storage.create(f"{uri}/state/whole", b"whole")
        began = client.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["Initiated"].timestamp()
        age_s = time.time() - began  # moto says of each that it began in 2010
        assert storage.drop_unfinished(f"{uri}/state", age_s + 3600) == 0, "a living writer's, it may be"
        assert storage.drop_unfinished(f"{uri}/state", age_s - 3600) == 2
        left = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
        assert [each["Key"] for each in left] == ["state-of-others/c"]
        assert storage.read_bytes(f"{uri}/state/whole") == b"whole"


def test_parts_of_killed_writers_are_dropped_and_those_of_living_ones_stay(tmp_path):
    place, old = tmp_path / "state", time.time() - 7200
    storage.create(str(place / "deep/whole"), b"whole")
    stale = [place / f"deep/.a.{uuid.uuid4().hex}.part", place / f".b.{uuid.uuid4().hex}.part"]
    own = place / ".notes.part"  # of no upload
    for path in (*stale, own):
        path.write_bytes(b"half")
        os.utime(path, (old, old))
    os.utime(place / "deep/whole", (old, old))
    with storage.local.part_of(place / "living") as living:
        living.write_bytes(b"half")
        os.utime(living, (old + 3660, old + 3660))  # nearly an hour ago: it may hang on a slow disk
        assert storage.drop_unfinished(f"{place}/b") == 1 and not stale[1].exists()
        assert storage.drop_unfinished(str(place)) == 1 and not stale[0].exists()
        assert living.exists() and own.exists() and (place / "deep/whole").exists()
    assert storage.drop_unfinished(str(tmp_path / "absent")) == 0


def test_nothing_is_left_to_drop_in_google_storage(monkeypatch):
    with gcs_bucket(monkeypatch) as (uri, _):
        assert storage.drop_unfinished(uri) == 0


def test_a_large_file_whose_last_answer_was_lost_did_arrive(monkeypatch, tmp_path):
    with s3_bucket(monkeypatch) as (uri, server):
        monkeypatch.setattr(s3, "_LARGE", 5 << 20)
        (tmp_path / "large").write_bytes(data := os.urandom(6 << 20))
        server.loses_joined = 1
        storage.upload(tmp_path / "large", f"{uri}/large")
        assert storage.read_bytes(f"{uri}/large") == data
        assert server.loses_joined == 3, "it was joined once, and asked for once more"


HEAD = {"ETag": '"0123456789abcdef0123456789abcdef"', "ContentLength": 7, "Metadata": {}}
PARTS = HEAD | {"ETag": '"0123456789abcdef0123456789abcdef-2"'}


@pytest.mark.parametrize(
    ("head", "digest"),
    [
        (HEAD, "md5:0123456789abcdef0123456789abcdef"),
        (PARTS, "etag:0123456789abcdef0123456789abcdef-2-7"),
        (PARTS | {"Metadata": {"sha256": "ab"}}, "sha256:ab"),
        (PARTS | {"ChecksumType": "FULL_OBJECT", "ChecksumCRC64NVME": "c="}, "crc64nvme:c="),
        (PARTS | {"ChecksumType": "COMPOSITE", "ChecksumCRC32": "c=-2"}, PARTS["ETag"].strip('"')),
        (HEAD | {"ServerSideEncryption": "AES256"}, "md5:"),
        (HEAD | {"ServerSideEncryption": "aws:kms"}, "etag:"),
        (HEAD | {"SSECustomerAlgorithm": "AES256"}, "etag:"),
    ],
)
def test_an_etag_stands_for_content_only_where_it_is_its_md5(head, digest):
    assert digest in s3._digest(head)
