"""What storage cannot do, or is not let do, is refused in one line."""

import errno
import os
import time
import uuid
from pathlib import Path

import pytest

from components.shared import storage
from components.shared.faults import InputError
from components.shared.storage import clients
from tests.shared.buckets import forget_clients, s3_bucket

# Google's client leaves the answer of a refused download unread until it is collected.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "planes.csv").write_bytes(b"image,label\n")
    return folder


@pytest.mark.parametrize("is_absolute", [False, True])
def test_a_name_that_leads_out_of_its_folder_is_refused(bucket, tmp_path, is_absolute):
    name = f"{tmp_path}/evil" if is_absolute else "../evil"
    storage.create(f"{bucket[0]}/set/{name}", b"x")
    with pytest.raises(InputError, match=rf"set/{name}: leads out"):
        storage.download(f"{bucket[0]}/set", tmp_path / "copy")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("action", ["create", "upload"])
def test_a_missing_permission_is_one_line(bucket, source, action):
    uri, server = f"{bucket[0]}/x", bucket[1]
    server.faults.waiting.append("403")
    with pytest.raises(InputError, match=rf"^{uri}: .*no permission for this account.*valid: ") as refusal:
        storage.create(uri, b"") if action == "create" else storage.upload(source / "planes.csv", uri)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("action", ["list", "read", "create", "upload", "download"])
def test_a_missing_bucket_is_one_line(bucket, source, tmp_path, action):
    uri = f"{bucket[0].partition(':')[0]}://no-such-bucket-xyz/x"
    actions = {
        "list": lambda: storage.list_objects(uri),
        "read": lambda: storage.read_bytes(uri),
        "create": lambda: storage.create(uri, b""),
        "upload": lambda: storage.upload(source, uri),
        "download": lambda: storage.download(uri, tmp_path / "copy"),
    }
    with pytest.raises(InputError, match=rf"^{uri}: .*no such bucket.*valid: ") as refusal:
        actions[action]()
    assert "\n" not in str(refusal.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
def test_a_full_disk_is_one_line(bucket, tmp_path, monkeypatch):
    uri = f"{bucket[0]}/x"
    storage.create(uri, b"some")
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=0))
    actions = {
        "a": lambda path: storage.download(uri, path),
        "b": lambda path: storage.create(str(path), b"some"),
        "c": lambda path: storage.upload(Path(__file__), str(path)),
    }
    for name, act in actions.items():
        (tmp_path / f".{name}.{uuid.UUID(int=0).hex}.part").symlink_to("/dev/full")
        with pytest.raises(InputError, match=rf"^{tmp_path}/{name}: no space left.*valid: "):
            act(tmp_path / name)
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_disk_without_hard_links_is_one_line(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(InputError, match=rf"^{tmp_path}/a: its file system has no hard links.*valid: "):
        storage.create(str(tmp_path / "a"), b"")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EDQUOT, "no space left on its disk"), (errno.EROFS, "this user has no permission")],
)
def test_a_full_quota_and_a_disk_that_is_only_read_are_one_line(tmp_path, monkeypatch, number, words):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(InputError, match=rf"^{tmp_path}/a: {words}.*valid: "):
        storage.create(str(tmp_path / "a"), b"")


def test_a_server_that_ignores_conditions_is_refused(monkeypatch):
    with s3_bucket(monkeypatch) as (uri, server):
        server.blind = True
        with pytest.raises(InputError, match=r"overwrites where it is told not to.*valid: AWS"):
            storage.create(f"{uri}/lease.json", b"mine")


def test_without_aws_credentials_the_line_says_which(monkeypatch):
    with s3_bucket(monkeypatch) as (uri, _):
        forget_clients()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
        clients.aws.cache_clear()
        with pytest.raises(InputError, match=r"no AWS credentials for bucket .*valid: AWS_ACCESS_KEY_ID"):
            storage.list_objects(uri)


def test_an_s3_out_of_reach_or_misnamed_answers_in_one_line(monkeypatch):
    with s3_bucket(monkeypatch) as (uri, _):
        forget_clients()
        for endpoint, words in (
            ("http://127.0.0.1:9", "cannot be used"),
            ("seaweedfs:8333", "no URL; valid"),
        ):
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
            clients.aws.cache_clear()
            start = time.monotonic()
            with pytest.raises(InputError, match=words):
                storage.require_answer(uri)
            assert time.monotonic() - start < 5
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
