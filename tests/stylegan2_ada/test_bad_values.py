"""Every option of every command, with values that cannot be used: one line, status 2."""

import argparse
import json
import logging
import resource
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from stylegan2_ada import __main__ as command_line
from stylegan2_ada.__main__ import main

from tests.stylegan2_ada.archives import write_archive
from tests.stylegan2_ada.detectors import Pooled, write_script
from tests.stylegan2_ada.test_main import flags

HUGE = "9" * 20
NUMBERS = ("x", "", "nan", "inf", "-1", "1e400")
WHOLE = ("x", "1.5", "-1", "nan", HUGE)
# A path under a file; a name longer than any file system takes.
PLACES = ("{tmp}/a.zip/below", "{tmp}/" + "n" * 300)

TRAIN: Mapping[str, Sequence[str]] = {
    "--data": ("absent", "{tmp}/text", "{tmp}/empty", "{tmp}/run", *PLACES),
    "--outdir": ("{tmp}/text", "{tmp}/published", "{tmp}/foreign", *PLACES),
    "--members": ("absent", "{tmp}", "{tmp}/a.zip", "{tmp}/wrong-names", *PLACES),
    "--resume": (
        "",
        "absent",
        "latest",
        "{tmp}/text",
        "{tmp}/damaged",
        "{tmp}/vast",
        "{tmp}/untrue",
        *PLACES,
    ),
    "--device": ("foo", "", "meta", "mps", "cpu:0", "cuda:99", "cuda:-1", "cuda:999999999999"),
    "--detector": ("", "absent", "{tmp}", "{tmp}/text", "{tmp}/text.pt", "{tmp}/one-channel.pt", *PLACES),
    "--detector-channels": (*WHOLE, "0", "65"),
    "--detector-count": (*WHOLE, "0"),
    "--cfg": ("", "paper"),
    "--resolution": (*WHOLE, "0", "4", "33", "2048"),
    "--channels": (*WHOLE, "0", "2", "4"),
    "--fit": ("", "stretch"),
    "--subset": (*WHOLE, "13"),
    "--kimg": (*NUMBERS, "1e-9", "1e10"),
    "--batch": (*WHOLE, "1000000"),
    "--batch-gpu": (*WHOLE, "1000000"),
    "--gamma": NUMBERS,
    "--channel-base": (*WHOLE, "8", "1000000000"),
    "--channel-max": (*WHOLE, "0", "1000000"),
    "--mapping-layers": (*WHOLE, "1000"),
    "--g-blocks": ("", "dense"),
    "--d-blocks": ("dense",),
    "--dtype": ("", "fp8"),
    "--aug": ("", "some"),
    "--p": (*NUMBERS, "2", "0.5"),
    "--augment": ("", "all"),
    "--ada-target": ("x", "nan", "inf", "2", "-2"),
    "--ada-kimg": NUMBERS,
    "--ada-max": (*NUMBERS, "0", "2"),
    "--freeze-d": (*WHOLE, "99"),
    "--learning-rate": NUMBERS,
    "--ema-kimg": NUMBERS,
    "--ema-ramp": NUMBERS,
    "--mixing": (*NUMBERS, "2"),
    "--path-weight": NUMBERS,
    "--path-interval": (*WHOLE[:-1], "0"),
    "--r1-interval": (*WHOLE[:-1], "0"),
    "--group": (*WHOLE, "3", "5000"),
    "--tick-kimg": NUMBERS,
    "--snapshot-kimg": (*NUMBERS, "0", "1e-9"),
    "--patience": (*WHOLE, "5"),
    "--collapse-ratio": NUMBERS,
    "--keep": (*WHOLE[:-1], "0"),
    "--seed": WHOLE,
}
GENERATE: Mapping[str, Sequence[str]] = {
    "--network": (
        "",
        "absent",
        "{tmp}",
        "{tmp}/text",
        "{tmp}/damaged",
        "{tmp}/vast",
        "{tmp}/untrue",
        *PLACES,
    ),
    "--outdir": ("{tmp}/text", *PLACES),
    "--seeds": ("", "x", "-1", "5-3", "1.5", "nan", HUGE, f"0-{HUGE}", "0,,1", "1-2-3"),
    "--trunc": ("x", "nan", "inf", "-inf", ""),
    "--cutoff": WHOLE,
    "--class": ("0", "x", "", "0,1", "nan"),
    "--noise": ("", "some"),
    "--batch": (*WHOLE[:-1], "0"),
    "--device": TRAIN["--device"],
}
METRICS: Mapping[str, Sequence[str]] = {
    "--network": GENERATE["--network"],
    "--data": TRAIN["--data"][:3],
    "--fit": TRAIN["--fit"],
    "--detector": TRAIN["--detector"],
    "--detector-channels": TRAIN["--detector-channels"],
    "--cache": ("{tmp}/text", *PLACES),
    "--device": TRAIN["--device"],
    "--count": (*WHOLE, "0"),
    "--batch": (*WHOLE, "0"),
    "--seed": WHOLE,
    "--truncation": ("x", "nan", "inf"),
    "--kept": (*WHOLE, "0"),
}
DATASET: Mapping[str, Sequence[str]] = {
    "source": ("absent", "{tmp}/text", "{tmp}/empty", *PLACES),
    "out": ("{tmp}/out.tar", "{tmp}/a.zip", "{tmp}/text/out.zip", "{tmp}/" + "n" * 300 + ".zip"),
    "--resolution": (*WHOLE, "0", "2", "12", "16384"),
    "--fit": ("", "stretch"),
    "--max-images": WHOLE[:-1],
    "--labels": ("", "guess", "folders-of"),
}
IMPORT: Mapping[str, Sequence[str]] = {
    "network": ("absent", "{tmp}", "{tmp}/text", "{tmp}/a.zip", *PLACES),
    "out": ("{tmp}/published",),
}
EXPORT: Mapping[str, Sequence[str]] = {
    "folder": GENERATE["--network"],
    "out": ("{tmp}/text/out.pt", "{tmp}/empty", *PLACES),
}
TABLES = {
    "train": TRAIN, "generate": GENERATE, "metrics": METRICS, "dataset": DATASET, "import": IMPORT,
    "export": EXPORT,
}  # fmt: skip
# Commands that are whole but for what a case adds or replaces.
WHOLE_COMMANDS: Mapping[str, Sequence[str]] = {
    "train": ("--data={tmp}/a.zip", "--outdir={tmp}/fresh", "--resolution=8", "--batch=4",
              "--channel-base=64", "--kimg=0.004"),
    "generate": ("--network={tmp}/published", "--outdir={tmp}/fresh", "--seeds=0"),
    "metrics": ("--network={tmp}/published", "--data={tmp}/a.zip", "--detector={tmp}/pooled.pt", "--count=4"),
    "dataset": ("source={tmp}/a.zip", "out={tmp}/fresh.zip"),
    "import": ("network={tmp}/a.zip", "out={tmp}/fresh"),
    "export": ("folder={tmp}/published", "out={tmp}/fresh.pt"),
}  # fmt: skip
ALSO: Mapping[str, Sequence[str]] = {
    "--detector": ("--device=cpu",), "--detector-channels": ("--detector={tmp}/pooled.pt",),
    "--detector-count": ("--detector={tmp}/pooled.pt",), "--group": ("--batch=4",),
    "--cutoff": ("--trunc=0.5",),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of things that are whole, and of such that are not."""
    tmp = tmp_path_factory.mktemp("place")
    write_archive(tmp / "a.zip")
    assert main(flags(tmp)) == 0
    shutil.copytree(tmp / "run", tmp / "published")
    (tmp / "published" / "training_options.json").unlink()
    (tmp / "text").write_text("text")
    (tmp / "text.pt").write_text("text")
    (tmp / "wrong-names").write_text("nobody.png\n")
    for name in ("empty", "foreign", "damaged", "vast", "untrue"):
        (tmp / name).mkdir()
    (tmp / "foreign" / "training_options.json").write_text('{"G_kwargs": {}}')
    (tmp / "damaged" / "generator.json").write_text('{"architecture": {"resolution": []}}')
    info = json.loads((tmp / "published" / "generator.json").read_text())
    for name, changes in (
        ("vast", {"resolution": 2**40}),
        ("untrue", {"channel_max": 8192, "channel_base": 2**20}),
    ):
        shutil.copytree(tmp / "published", tmp / name, dirs_exist_ok=True)
        about = info | {"architecture": info["architecture"] | changes}
        (tmp / name / "generator.json").write_text(json.dumps(about))
    write_script(tmp / "pooled.pt", Pooled())
    write_script(tmp / "one-channel.pt", OneChannel())
    return tmp


class OneChannel(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(images.float().flatten(1), torch.ones(3, 64))


def cases() -> list[tuple[str, str, str]]:
    return [
        (command, name, value)
        for command, table in TABLES.items()
        for name, values in table.items()
        for value in values
    ]


def words(command: str, name: str, value: str, tmp: Path) -> list[str]:
    """Return a whole command line in which one value is replaced."""
    given = dict(word.split("=", 1) for word in (*WHOLE_COMMANDS[command], *ALSO.get(name, ())))
    given[name] = value
    flagged = [f"{key}={text}" for key, text in given.items() if key.startswith("--")]
    placed = [text for key, text in given.items() if not key.startswith("--")]
    return [command, *(word.replace("{tmp}", str(tmp)) for word in (*flagged, *placed))]


@pytest.mark.parametrize(("command", "name", "value"), cases())
def test_a_value_that_cannot_be_used_ends_with_one_line(
    command: str,
    name: str,
    value: str,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(
        logging.ERROR, "stylegan2_ada"
    )  # undone afterwards; what is logged before is not in question
    status = main(words(command, name, value, place))
    said = capsys.readouterr().err
    assert status == 2, said
    assert len(said.strip().splitlines()) == 1 and "valid: " in said, said
    assert not (place / "fresh.zip").exists() and not list(place.rglob("*.part"))


def test_no_option_is_left_out() -> None:
    parser = command_line._parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for command, table in TABLES.items():
        taking = [action for action in commands.choices[command]._actions if action.nargs != 0]
        wanted = {(action.option_strings or [action.dest])[0] for action in taking}
        assert {name for name in wanted if not name.startswith("--no-")} - table.keys() <= {
            "--cond",
            "--mirror",
        }
        assert table.keys() <= wanted
    assert commands.choices.keys() == TABLES.keys()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "train",
        "paint",
        "train --data=a.zip",
        "generate --seeds=0 --network=x --outdir=y --paint",
        "train --batch",
    ],
)
def test_a_command_that_is_none_ends_with_one_line(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.fixture
def little_room() -> Iterator[None]:
    """Let no file grow beyond 150,000 bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize("command", ["train", "export"])
def test_a_full_disk_ends_with_one_line_and_leaves_nothing_half_written(
    command: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = {
        "train": flags(place, f"--outdir={tmp_path / 'run'}"),
        "export": ["export", str(place / "published"), str(tmp_path / "network.pt")],
    }[command]
    assert main(line) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "the disk may be full" in said and "valid: " in said
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".part", ".pt", ".safetensors")]


def test_networks_that_no_memory_holds_end_with_one_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + 2**30, before[1]))  # bytes; the first layers take more
    vast = ["--batch=65536", "--resolution=1024", "--channel-base=1048576", "--channel-max=8192"]
    try:
        assert main(flags(place, f"--outdir={tmp_path / 'run'}", *vast, "--mapping-layers=64")) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("out of memory (")
