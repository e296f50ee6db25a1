"""A Docker of the tests' own with both images in it, built by images/build.sh from a base made here.

Where no registry can be reached python:3.11-slim is debootstrap's Debian with Python: like it, not it. The
images are built by podman, which can mount the host's certificates into a build, and loaded into dockerd,
which kfp.local.DockerRunner needs: with podman's socket it calls failing steps successes.
"""

import hashlib
import inspect
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("podman", "runc", "docker", "dockerd", "debootstrap")
BASE = (  # debootstrap's arguments, and what of its folder is no part of the image
    ("--variant=minbase", "--include=python3,python3-venv,python3-pip,ca-certificates", "bookworm"),
    ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/lib/apt/lists", "var/cache/apt"),
)
DISK = 40e9  # bytes: the larger image lies twice in podman's store and once in Docker's


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A client of a Docker that holds fontanelle-cpu and fontanelle-gpu, and what built them."""

    client: docker.DockerClient
    folder: Path
    environment: Mapping[str, str]  # in which podman finds its store

    def build_again(self, kind: str) -> str:
        """Build an image anew from nothing but its base; return its name in this Docker."""
        name = f"fontanelle-{kind}:again"
        recipe = ["--file", ROOT / f"images/{kind}.Containerfile", "--tag", name]
        call("podman", "build", "--no-cache", "--pull=never", *recipe, ROOT, env=self.environment)
        load(self.folder, self.environment, self.client, name)
        return name

    def files(self, name: str) -> dict[str, tuple[object, ...]]:
        """Return, by path, all that an image's files are but their times."""
        container = self.client.containers.create(name)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            file.writelines(container.export())
            file.seek(0)
            with tarfile.open(fileobj=file) as tar:
                found = {each.name: _without_times(tar, each) for each in tar}
        container.remove()
        return found


def _without_times(tar: tarfile.TarFile, file: tarfile.TarInfo) -> tuple[object, ...]:
    content = tar.extractfile(file) if file.isreg() else None
    digest = hashlib.sha256(content.read()).hexdigest() if content else ""
    return file.type, file.mode, file.uid, file.gid, file.linkname, digest


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """Build both images and yield a Docker that holds them."""
    if os.geteuid() != 0:
        pytest.skip("images are built by root")
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"not installed: {', '.join(absent)}")
    if shutil.disk_usage(folder).free < DISK:
        pytest.skip(f"under {DISK / 1e9:.0f} GB free")
    environment = build(folder)
    with daemon(folder) as client:
        for kind in ("cpu", "gpu"):
            load(folder, environment, client, f"fontanelle-{kind}:0.1.0")
        yield Engine(client=client, folder=folder, environment=environment)


def build(folder: Path) -> dict[str, str]:
    """Build base and images in podman's store in the folder; return the environment that finds it."""
    (folder / "pip.conf").write_text(pip_conf())
    (folder / "containers.conf").write_text(CONF.format(volumes=json.dumps(mounts(folder))))
    (folder / "storage.conf").write_text(STORE.format(folder=folder))
    environment = os.environ | {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "BUILDAH_ISOLATION": "chroot",
        "ENGINE": "podman",
        "BUILD_ARGS": "--pull=never",
    }
    base(folder, environment)
    call(ROOT / "images/build.sh", env=environment)
    return environment


def base(folder: Path, environment: dict[str, str]) -> None:
    """Make python:3.11-slim from Debian's packages; a tarball of them is kept by the digest of its recipe."""
    recipe = hashlib.sha256(inspect.getsource(debian).encode() + repr(BASE).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fontanelle"
    kept = cache / f"base-{recipe}.tar"
    if not kept.is_file():
        root = debian(folder / "base")
        cache.mkdir(parents=True, exist_ok=True)
        for former in cache.glob("base-*.tar"):
            former.unlink()
        part = cache / f"part-{os.getpid()}"
        call("tar", "-C", root, "-cf", part, ".")
        part.rename(kept)
        shutil.rmtree(root)
    call("podman", "import", "-c", 'CMD ["python3"]', kept, "localhost/python:3.11-slim", env=environment)


def call(*command: str | Path, env: Mapping[str, str] | None = None) -> None:
    """Run a command to its end; a failing one shows what it said last."""
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout.decode()[-5000:]}")


def debian(root: Path) -> Path:
    """Fill a folder with Debian and its Python, without what is this machine's or is never read."""
    arguments, waste = BASE
    call("debootstrap", *arguments, root)
    (root / "etc/resolv.conf").write_text("")  # this machine's values are not the image's
    (root / "etc/hostname").unlink(missing_ok=True)
    for mark in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        mark.unlink()
    (root / "usr/bin/python").symlink_to("python3")
    for name in waste:
        shutil.rmtree(root / name, ignore_errors=True)
    return root


def load(folder: Path, environment: Mapping[str, str], client: docker.DockerClient, name: str) -> None:
    """Move an image from podman to Docker, and out of podman's store."""
    archive = folder / "image.tar"
    call("podman", "save", "-o", archive, f"localhost/{name}", env=environment)
    with archive.open("rb") as file:
        image = client.images.load(file)[0]
    image.tag(name)
    archive.unlink()
    call("podman", "rmi", "--force", f"localhost/{name}", env=environment)


@contextmanager
def daemon(folder: Path) -> Iterator[docker.DockerClient]:
    """Run dockerd with its own data and socket while the body works."""
    socket = f"unix://{folder}/docker.sock"
    command = ["dockerd", "-H", socket, "--data-root", folder / "data", "--exec-root", folder / "exec"]
    command += ["--pidfile", folder / "pid"]
    with (folder / "dockerd.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        former = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = socket
        try:
            with closing(_client(socket, folder / "dockerd.log")) as client:
                yield client
        finally:
            os.environ.pop("DOCKER_HOST")
            if former is not None:
                os.environ["DOCKER_HOST"] = former
            process.terminate()
            process.wait()


def _client(socket: str, log: Path) -> docker.DockerClient:
    asked = ["docker", "-H", socket, "version"]  # a client of the library would leave its connection open
    for _ in range(60):
        if subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return docker.DockerClient(base_url=socket, timeout=600)
        time.sleep(0.5)
    pytest.skip(f"dockerd does not start here: {log.read_text().splitlines()[-1:]}")


def pip_conf() -> str:
    """Return what a build must know of this machine's pip: certificates and places of packages."""
    shown = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    lines = ["[global]"]
    for name in ("cert", "extra-index-url", "index-url"):
        for line in shown.splitlines():
            key, _, value = line.partition("=")
            if key in (f"global.{name}", f":env:.{name}"):
                lines.append(f"{name} = {value.strip(chr(39))}")
                break
    return "\n".join(lines) + "\n"


def mounts(folder: Path) -> list[str]:
    """Return what a build reads of this machine, as podman's volumes."""
    found = [f"{folder}/pip.conf:/etc/pip.conf:ro"]
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    if Path(bundle).is_file():
        found.append(f"{bundle}:{bundle}:ro")
    for word in pip_conf().split():
        if word.startswith("file://"):
            place = Path(word.removeprefix("file://")).parent
            found.append(f"{place}:{place}:ro")
    return found


CONF = """[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
volumes = {volumes}
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
STORE = """[storage]
driver = "overlay"
graphroot = "{folder}/store"
runroot = "{folder}/run"
"""
