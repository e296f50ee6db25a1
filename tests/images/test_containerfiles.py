"""What the images' files promise, where no engine is at hand."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = ("cpu", "gpu")


def instructions(kind):
    text = (ROOT / f"images/{kind}.Containerfile").read_text()
    joined = re.sub(
        r"\\\n\s*", " ", "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    )
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def pins(path):
    """Return the versions of a lock, and the hashes of each."""
    text = path.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {
        re.split(r"==", line)[0]: (
            re.split(r"==|\s", line)[1],
            re.findall(r"--hash=sha256:[0-9a-f]{64}", line),
        )
        for line in lines
    }


@pytest.mark.parametrize("kind", KINDS)
def test_no_entry_point_no_root_and_labels(kind):
    found = instructions(kind)
    words = [word for word, _ in found]
    assert "ENTRYPOINT" not in words
    assert [value for word, value in found if word == "USER"] == ["65532:65532"]
    labels = next(value for word, value in found if word == "LABEL")
    for name in ("title", "description", "licenses", "source", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_the_large_image_finds_the_driver_where_gke_puts_it():
    assert ("ENV", "LD_LIBRARY_PATH=/usr/local/nvidia/lib64") in instructions("gpu")


@pytest.mark.parametrize("kind", KINDS)
def test_packages_come_by_hash_and_our_own_without_others(kind):
    runs = [value for word, value in instructions(kind) if word == "RUN"]
    assert len(runs) == 2
    assert "--require-hashes" in runs[0]
    assert "--no-deps" in runs[1]
    pip = next(value for word, value in instructions(kind) if word == "ARG" and value.startswith("PIP="))
    assert "--no-build-isolation" in pip  # in isolation pip fetches what builds by no hash
    assert "build.lock" in runs[0]
    assert not [run for run in runs if "apt-get" in run]  # no compiler comes in


@pytest.mark.parametrize("kind", KINDS)
def test_byte_code_has_no_time_in_it_whatever_was_there_before(kind):
    """A build of a source runs setuptools, and so writes byte code by time, which compileall would leave."""
    code = next(value for word, value in instructions(kind) if value.startswith("BYTECODE="))
    assert code.endswith('compileall -q -f --invalidation-mode unchecked-hash"')
    assert instructions("cpu")[1:4] == instructions("gpu")[1:4]  # base, pip, byte code


@pytest.mark.parametrize("kind", KINDS)
def test_every_package_is_pinned_by_hash_at_the_version_that_is_tested(kind):
    constraints = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    locked = pins(ROOT / f"images/{kind}.lock")
    assert len(locked) > 40
    for name, (version, hashes) in locked.items():
        assert hashes, name
        assert constraints.get(name.lower().replace("_", "-"), version) == version, name


def test_what_builds_is_what_torch_asks_for():
    build, large = pins(ROOT / "images/build.lock"), pins(ROOT / "images/gpu.lock")
    assert build.keys() == {"setuptools"}
    assert build["setuptools"] == large["setuptools"]


@pytest.mark.parametrize("given", ["weights/absent", "README.md", "weights/../README.md", "/etc/hostname"])
def test_weights_that_a_build_cannot_see_are_refused_before_it(given):
    command = [ROOT / "images/build.sh", "", "", given]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"ENGINE": "false"})
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: PRETRAINED={given}: ")
    assert done.stdout == ""


def test_the_small_image_holds_no_torch_and_the_large_one_all_that_the_small_one_does():
    small, large = (pins(ROOT / f"images/{kind}.lock") for kind in KINDS)
    assert not {"torch", "torchvision", "triton"} & small.keys()
    assert {"torch", "torchvision"} <= large.keys()
    assert small.items() <= large.items()


def test_nothing_enters_a_build_but_what_is_named():
    kept = {
        line.removeprefix("!")
        for line in (ROOT / ".containerignore").read_text().splitlines()
        if line[:1] == "!"
    }
    assert kept >= {"components", "pipelines", "stylegan2-ada-pytorch", "images", "weights"}
    for kind in KINDS:
        for word, value in instructions(kind):
            if word == "COPY" and not value.startswith("--from") and "${" not in value:
                sources = value.split()[:-1]
                assert all(source.split("/")[0] in kept for source in sources), value


def test_docker_and_podman_leave_out_the_same():
    lists = [(ROOT / name).read_text().splitlines() for name in (".containerignore", ".dockerignore")]
    rules = [[line for line in lines if not line.startswith("#")] for lines in lists]
    assert rules[0] == rules[1]
    assert not (
        ROOT / ".dockerignore"
    ).is_symlink()  # Docker's client sends a link's size and its target's bytes
