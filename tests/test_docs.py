"""The documentation names what is there, and only that."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

from components.validate_parameters.stage import Parameters
from components.validate_parameters.study import StudyParameters
from pipelines.augmentation import augmentation
from pipelines.profiles import values
from pipelines.study import study_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def cell(value):
    if isinstance(value, dict | list | tuple):
        text = str(list(value) if isinstance(value, tuple) else value).replace("'", "")
        return f"`{text}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "empty"


def rows_of(graph, declared, laptop, left_out=()):
    form = graph.component_spec.inputs
    for field in fields(declared):
        if field.name in left_out:
            continue
        default = field.default if field.default_factory is MISSING else field.default_factory()
        cluster = "needed" if default is MISSING else cell(default)
        small = cell(laptop[field.name]) if field.name in laptop else ""
        yield f"| `{field.name}` | {cluster} | {small} | {form[field.name].description.rstrip('.')} |"


def parameter_rows():
    study, laptop = values("laptop", StudyParameters), values("laptop", Parameters)
    told = {name for name, value in study.items() if laptop.get(name, value) != value}
    shared = {field.name for field in fields(Parameters)} - {"label_unit", *told}
    yield from rows_of(study_of(1), StudyParameters, study, shared)
    yield from rows_of(augmentation, Parameters, laptop)


def test_readme_explains_every_parameter():
    table = re.findall(r"^\| `[a-z_]+` \| (?:`|empty|needed).*\|$", README, re.MULTILINE)
    assert table == list(parameter_rows()), "README's parameter table should read:\n" + "\n".join(
        parameter_rows()
    )


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
