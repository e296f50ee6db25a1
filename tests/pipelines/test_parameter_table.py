"""README's table of parameters says what the forms of the compiled pipelines say."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

from components.validate_parameters.stage import Parameters
from components.validate_parameters.study import StudyParameters
from pipelines.profiles import values

README = (Path(__file__).parents[2] / "README.md").read_text()


def cell(value):
    if isinstance(value, dict | list | tuple):
        text = str(list(value) if isinstance(value, tuple) else value).replace("'", "")
        return f"`{text}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "empty"


def rows_of(form, declared, laptop, left_out=()):
    for field in fields(declared):
        if field.name in left_out:
            continue
        default = field.default if field.default_factory is MISSING else field.default_factory()
        cluster = "needed" if default is MISSING else cell(default)
        small = cell(laptop[field.name]) if field.name in laptop else ""
        yield f"| `{field.name}` | {cluster} | {small} | {form[field.name]['description'].rstrip('.')} |"


def parameter_rows(study_form, form):
    study, laptop = values("laptop", StudyParameters), values("laptop", Parameters)
    told = {name for name, value in study.items() if laptop.get(name, value) != value}
    shared = {field.name for field in fields(Parameters)} - {"label_unit", *told}
    yield from rows_of(study_form, StudyParameters, study, shared)
    yield from rows_of(form, Parameters, laptop)


def test_readme_explains_every_parameter(build, form_of):
    table = re.findall(r"^\| `[a-z_]+` \| (?:`|empty|needed).*\|$", README, re.MULTILINE)
    rows = list(parameter_rows(form_of(build, "study"), form_of(build, "augmentation")))
    assert table == rows, "README's parameter table should read:\n" + "\n".join(rows)
