"""docs/deploy.md says what is so: its commands parse, its messages are those of the stages."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from components.shared.faults import InputError
from pipelines import schedule
from pipelines.__main__ import _parser
from pipelines.submission import parse
from pipelines.submit import form_values
from pipelines.tasks import NAMES_SECRET

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs/deploy.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for kind, block in BLOCKS
    if not kind
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("python -m pipelines")
]


def spoken():
    """Return the strings in the sources of the stages as one text; comments and docstrings say nothing."""
    trees = [ast.parse(path.read_text()) for path in sorted((ROOT / "components").rglob("*.py"))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    idle = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
    return "\n".join(text_of(node) for node in nodes if id(node) not in idle)


def text_of(node):
    """Return a string's text, with {} for what is put in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_the_messages_that_it_explains_are_said():
    table = DOCUMENT.partition("## When a stage fails")[2].partition("When there is no such line")[0]
    rows = re.findall(r"^\| (`.*`) \|", table, re.MULTILINE)
    words = [word for row in rows for word in re.findall(r"`([^`]+)`", row)]
    assert len(words) > 30
    said = spoken()
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_are_ones_that_the_command_line_takes(command):
    arguments = shlex.split(command.replace("$BUCKET", "b"))[3:]
    options = _parser().parse_args(arguments)
    if arguments[0] == "submit":
        parameters = schedule.PIPELINES[options.pipeline].parameters
        assert form_values(options.pipeline, options.profile, parse(options.p, parameters))


def test_there_are_commands_of_each_kind():
    assert {command.split()[3] for command in COMMANDS} >= {"compile", "submit", "schedule"}


def test_its_schedule_is_one(tmp_path):
    (block,) = [block for kind, block in BLOCKS if kind == "yaml"]
    with pytest.raises(
        InputError, match=r"gs://BUCKET/\w+: not usable; valid: gs://bucket/prefix, with a name"
    ):
        (tmp_path / "weekly.yaml").write_text(block)
        schedule.read(tmp_path / "weekly.yaml", tmp_path)
    (tmp_path / "weekly.yaml").write_text(block.replace("BUCKET", "b"))
    assert schedule.read(tmp_path / "weekly.yaml", tmp_path).cron == "0 0 3 * * 1"


def test_it_names_the_secret_that_tasks_mount():
    assert f"create secret generic {NAMES_SECRET} --from-file=key=" in DOCUMENT


def test_files_that_it_names_exist():
    named = re.findall(r"(?<![\w/])((?:manifests|images)/[\w./-]+\w)", DOCUMENT)
    assert len(named) > 5
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_its_links_lead_somewhere():
    headings = {
        re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^## (.*)", DOCUMENT, re.M)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", DOCUMENT)) <= headings
