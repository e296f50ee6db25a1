"""The documentation names what is there, and only that."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_readme_names_every_stage_and_no_other():
    folders = {path.parent.name for path in ROOT.glob("components/*/stage.py")}
    assert set(re.findall(r"^\| \[`([a-z_]+)`\]\(components/", README, re.MULTILINE)) == folders


def test_links_lead_somewhere():
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "components/README.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert target.startswith("http") or (document.parent / target).exists(), (
                f"{document.name}: {target}"
            )


def test_paths_that_the_documents_name_exist():
    named = re.findall(
        r"`((?:components|pipelines|benchmarks|tests|stylegan2-ada-pytorch)/[\w/.-]+\.py)", README
    )
    named += re.findall(
        r"`((?:components|pipelines|tests|stylegan2-ada-pytorch)/[\w/.-]+\.py)", contributing()
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_no_place_was_left_to_fill_in():
    for document in ROOT.glob("*.md"):
        assert not re.findall(r"@@|TODO|TBD|XXX", document.read_text()), document.name


def contributing():
    return (ROOT / "CONTRIBUTING.md").read_text()


def test_readme_names_only_verbs_that_make_has():
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)(?=[\s`]|$)", README)) <= verbs
    assert {"demo", "test"} <= verbs
