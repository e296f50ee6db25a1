"""Storage where two writers meet, an answer is odd, or equal sizes are all that can be compared."""

import gzip
import hashlib
import os
import threading
from functools import partial
from pathlib import Path

import pytest
from botocore.exceptions import SSLError as BotocoreSSLError
from requests.exceptions import SSLError

from components.shared import lease, storage
from components.shared.faults import InputError
from components.shared.storage import clients, gcs, local, patience, s3, transfer
from components.shared.storage.objects import StoredObject, agrees
from tests.shared.buckets import gcs_bucket, s3_bucket


def test_an_index_goes_before_and_comes_after_what_it_vouches_for():
    done = []

    def item(name, is_same):
        copy, remove = (partial(done.append, f"{what} {name}") for what in ("copy", "remove"))
        return transfer.Item(name=name, size=1, there=True, is_same=lambda: is_same, copy=copy, remove=remove)

    names = {"planes.json": True, "planes.csv": True, "a.bin": False}
    transfer.copy_all([item(*each) for each in names.items()], lambda *_: None)
    removed, copied = ["remove planes.csv", "remove planes.json"], ["copy planes.json", "copy planes.csv"]
    assert done == [*removed, "copy a.bin", *copied]


def beside(monkeypatch, act):
    """Have another thread act once, between a replacer's look at a file's generation and its write."""
    other, look = threading.Thread(target=act), local._generation

    def generation(status):
        if other.ident is None:
            other.start()
            other.join(0.3)  # it waits for the folder's lock
        return look(status)

    monkeypatch.setattr(local, "_generation", generation)
    return other


def test_of_two_who_replace_a_file_one_waits_and_loses(tmp_path, monkeypatch):
    uri, won = str(tmp_path / "lease"), []
    storage.create(uri, b"old")
    generation = storage.read_versioned(uri)[1]
    other = beside(monkeypatch, lambda: won.append(storage.replace(uri, b"other", generation)))
    assert storage.replace(uri, b"new", generation)
    other.join()
    assert won == [False] and storage.read_bytes(uri) == b"new"


def test_a_file_that_is_removed_as_it_is_replaced_stays_removed(tmp_path, monkeypatch):
    uri = str(tmp_path / "list")
    storage.create(uri, b"old")
    generation = storage.read_versioned(uri)[1]
    other = beside(monkeypatch, lambda: storage.delete(uri))
    storage.replace(uri, b"new", generation)
    other.join()
    assert not storage.exists(uri)


def begun(client, where):
    """Begin an upload in parts, and send one."""
    upload = {**where, "UploadId": client.create_multipart_upload(**where)["UploadId"]}
    return upload, client.upload_part(**upload, PartNumber=1, Body=b"older")["ETag"]


def joined(uri, name):
    """Send an object in parts as another program does, so that no sum of its bytes is known."""
    client = clients.aws(patience.PATIENT)
    upload, part = begun(client, {"Bucket": uri.removeprefix("s3://"), "Key": name})
    client.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})


def test_a_file_is_sent_again_where_its_size_alone_can_be_compared(monkeypatch, tmp_path):
    with s3_bucket(monkeypatch) as (uri, _):
        joined(uri, "set/a")
        assert storage.list_objects(f"{uri}/set")[0].digest.startswith("etag:")
        (tmp_path / "a").write_bytes(b"newer")
        storage.upload(tmp_path, f"{uri}/set")
        assert storage.read_bytes(f"{uri}/set/a") == b"newer"


@pytest.mark.parametrize("large", [1, 64 << 20])
def test_what_has_no_sum_to_compare_comes_all_the_same(large, monkeypatch, tmp_path):
    monkeypatch.setattr(s3, "_LARGE", large)
    with s3_bucket(monkeypatch) as (uri, _):
        joined(uri, "a")
        assert storage.read_bytes(f"{uri}/a") == b"older"
        storage.download(f"{uri}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"older"


def test_a_server_that_compares_no_versions_is_refused_though_it_overwrites_nothing(monkeypatch):
    with s3_bucket(monkeypatch) as (uri, server):
        assert storage.create(f"{uri}/lease", b"first")
        generation = storage.read_versioned(f"{uri}/lease")[1]
        server.blind = True
        with pytest.raises(InputError, match=r"overwrites where it is told not to \(IfMatch is ignored\)"):
            storage.replace(f"{uri}/lease", b"second", generation)


def test_equal_bytes_written_anew_say_nothing_against_a_server(monkeypatch):
    """Their ETag is as it was, so the same write once more is taken by any server."""
    with s3_bucket(monkeypatch) as (uri, _):
        storage.create(f"{uri}/lease", b"same")
        assert storage.replace(f"{uri}/lease", b"same", storage.read_versioned(f"{uri}/lease")[1])


def test_an_upload_that_ended_by_itself_meanwhile_is_dropped_as_well(monkeypatch):
    with s3_bucket(monkeypatch) as (uri, _):
        where = {"Bucket": uri.removeprefix("s3://"), "Key": "a"}
        upload, _ = begun(clients.aws(patience.PATIENT), where)
        for _ in range(2):
            s3._abort(*upload.values())


def test_an_older_object_is_not_taken_for_a_large_file_that_did_not_arrive(monkeypatch, tmp_path):
    with s3_bucket(monkeypatch) as (uri, server):
        monkeypatch.setattr(s3, "_LARGE", 5 << 20)
        (tmp_path / "large").write_bytes(data := os.urandom(6 << 20))
        storage.create(f"{uri}/large", b"older")
        server.loses_joined = 2  # the server no more knows the upload at its end
        storage.upload(tmp_path / "large", f"{uri}/large")
        assert storage.read_bytes(f"{uri}/large") == data


def test_without_the_sums_of_amazons_client_what_arrives_damaged_is_refused_still(monkeypatch, tmp_path):
    """They are switched off for servers that do not know them; each write brings its MD5 as well."""
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    (tmp_path / "a").write_bytes(b"some bytes")
    with s3_bucket(monkeypatch) as (uri, server):
        server.faults.waiting.append("flip")
        storage.upload(tmp_path / "a", f"{uri}/a")
        server.faults.waiting.append("flip")
        storage.create(f"{uri}/b", b"some bytes")
        assert storage.read_bytes(f"{uri}/a") == storage.read_bytes(f"{uri}/b") == b"some bytes"
        assert server.faults.met == 2


@pytest.mark.parametrize("bucket", [gcs_bucket, s3_bucket])
def test_the_first_bytes_of_an_empty_object_are_none(bucket, monkeypatch):
    with bucket(monkeypatch) as (uri, _):
        storage.create(f"{uri}/empty", b"")
        assert storage.read_head(f"{uri}/empty", 8) == b""


def test_what_a_server_may_unpack_on_its_way_comes_whole(monkeypatch, tmp_path):
    """Sent by `gsutil cp -z csv`: its checksum and size are those of what is stored."""
    data = b"volume,patient\n" * 1000
    with gcs_bucket(monkeypatch) as (uri, server):
        server.put({"name": "set/volumes.csv", "contentEncoding": "gzip"}, gzip.compress(data))
        assert storage.read_bytes(f"{uri}/set/volumes.csv") == data
        storage.download(f"{uri}/set", tmp_path)
    assert (tmp_path / "volumes.csv").read_bytes() == data


def test_what_a_server_may_unpack_is_not_fetched_in_parts(monkeypatch, tmp_path):
    """None of them could be unpacked by itself."""
    data = os.urandom(33 << 20)  # two parts
    monkeypatch.setattr(gcs, "_LARGE", 1 << 20)
    with gcs_bucket(monkeypatch) as (uri, server):
        server.put({"name": "volume", "contentEncoding": "gzip"}, gzip.compress(data, 0))
        storage.download(f"{uri}/volume", tmp_path / "volume")
    assert (tmp_path / "volume").read_bytes() == data


def test_what_google_refuses_for_good_is_not_sent_five_times(monkeypatch):
    with gcs_bucket(monkeypatch) as (uri, server):
        server.faults.waiting.extend(["400"] * 2)
        with pytest.raises(InputError, match=r"gs://scans cannot be used \(BadRequest 400\).*valid: "):
            storage.create(f"{uri}/a", b"some")
        assert server.faults.met == 1


@pytest.mark.parametrize(
    ("status", "code", "is_away"),
    [
        *((status, "", True) for status in (429, 500, 502, 503, 504)),  # a proxy's, without a code
        *((400, code, True) for code in ("RequestTimeout", "Throttling")),
        *((200, code, True) for code in ("InternalError", "ServiceUnavailable", "SlowDown")),
        (403, "AccessDenied", False),
        (404, "NoSuchKey", False),
        (412, "PreconditionFailed", False),
        (501, "NotImplemented", False),
    ],
)
def test_s3_is_asked_again_after_what_may_pass_alone(status, code, is_away):
    answer = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}
    assert clients.is_away(None, answer) is is_away


@pytest.mark.parametrize(("said", "is_away"), [("CERTIFICATE_VERIFY_FAILED", False), ("EOF", True)])
def test_no_waiting_mends_a_certificate(said, is_away):
    assert clients.is_away(BotocoreSSLError(endpoint_url="https://s3", error=said), {}) is is_away
    assert gcs._is_away(SSLError(said)) is is_away


def test_a_part_whose_writer_ends_at_this_moment_stops_nobody(tmp_path):
    gone, left = (tmp_path / f".{name}.{'0' * 32}.part" for name in ("a", "b"))
    gone.symlink_to("absent")  # is listed, and not there when it is looked at
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    assert storage.drop_unfinished(str(tmp_path)) == 1 and not left.exists()


@pytest.mark.parametrize("hangs_s", [sum(gcs._TIMEOUT_S), 3 + clients.AWS_READ_S])
def test_a_renewal_ends_before_its_lease_goes_stale_however_long_the_store_is_away(hangs_s):
    """It is four requests at most, each of which may hang once more at the end of patience."""
    assert lease.RENEW_S + 4 * (patience.PATIENT.whole_s + hangs_s) < lease.STALE_S


@pytest.mark.parametrize(("bucket", "module"), [(gcs_bucket, gcs), (s3_bucket, s3)], ids=["gs", "s3"])
def test_the_generation_of_an_object_is_of_the_bytes_that_were_read(bucket, module, monkeypatch):
    """What another writer makes of it as the bytes arrive must not be taken for read."""
    compare = module.agree
    with bucket(monkeypatch) as (uri, _):
        storage.create(f"{uri}/list", b"old")

        def meanwhile(*given):
            storage.delete(f"{uri}/list")
            storage.create(f"{uri}/list", b"newer")
            return compare(*given)

        with monkeypatch.context() as other:
            other.setattr(module, "agree", meanwhile)
            data, generation = storage.read_versioned(f"{uri}/list")
        assert data == b"old"
        assert not storage.replace(f"{uri}/list", b"made of the old", generation)
        assert storage.read_bytes(f"{uri}/list") == b"newer"


def test_the_generation_of_a_file_is_of_the_bytes_that_were_read(tmp_path, monkeypatch):
    uri, other, opened = tmp_path / "list", tmp_path / "other", Path.open
    uri.write_bytes(b"old")
    other.write_bytes(b"newer")

    def meanwhile(path, *given, **named):
        file = opened(path, *given, **named)
        other.replace(uri)
        return file

    with monkeypatch.context() as replaced:
        replaced.setattr(Path, "open", meanwhile)
        data, generation = storage.read_versioned(str(uri))
    assert data == b"old"
    assert not storage.replace(str(uri), b"made of the old", generation)
    assert uri.read_bytes() == b"newer"


def test_who_has_a_file_open_as_it_is_replaced_reads_the_old_one_whole(tmp_path):
    uri = tmp_path / "list"
    storage.create(str(uri), b"old")
    with uri.open("rb") as reader:
        assert storage.replace(str(uri), b"newer", storage.read_versioned(str(uri))[1])
        assert reader.read() == b"old"


def test_an_object_that_is_removed_as_it_is_replaced_stays_removed(monkeypatch):
    generation_of = s3._generation

    def generation(head):
        storage.delete(f"{uri}/lease")
        return generation_of(head)

    with s3_bucket(monkeypatch) as (uri, _):
        storage.create(f"{uri}/lease", b"old")
        read = storage.read_versioned(f"{uri}/lease")[1]
        monkeypatch.setattr(s3, "_generation", generation)
        assert not storage.replace(f"{uri}/lease", b"new", read)
        assert not storage.exists(f"{uri}/lease")


@pytest.mark.parametrize("large", [1, 64 << 20], ids=["in parts", "in one piece"])
def test_what_is_written_to_s3_is_known_by_its_sha256(large, monkeypatch, tmp_path):
    """Its ETag is no hash of the bytes where a bucket encrypts them, or where they came in parts."""
    monkeypatch.setattr(s3, "_LARGE", large)
    (tmp_path / "a").write_bytes(b"some bytes")
    with s3_bucket(monkeypatch) as (uri, _):
        storage.upload(tmp_path / "a", f"{uri}/set/a")
        storage.create(f"{uri}/set/b", b"some bytes")
        storage.replace(f"{uri}/set/b", b"some bytes", storage.read_versioned(f"{uri}/set/b")[1])
        digests = {found.digest for found in storage.list_objects(f"{uri}/set")}
    assert digests == {f"sha256:{hashlib.sha256(b'some bytes').hexdigest()}"}


def test_another_size_is_another_file_where_no_sum_is_known(tmp_path):
    (tmp_path / "a").write_bytes(b"some")
    same, longer = (StoredObject(name="a", uri="", size=size, checksum="etag:1") for size in (4, 5))
    assert agrees(tmp_path / "a", same) is None, "nobody can tell"
    assert agrees(tmp_path / "a", longer) is False
