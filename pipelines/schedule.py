"""The command `schedule`: a recurring run as a file says, made, kept, replaced or removed.

    name: weekly                    # of the recurring run; its identity on the server
    pipeline: augmentation
    cron: "0 0 3 * * 1"             # seconds minutes hours day-of-month month day-of-week: Mondays at 3
    parameters:
      volumes_uri: gs://bucket/scans
      state_uri: gs://bucket/state
    # And where wanted: enabled (false removes it), experiment, profile, pipeline_root, service_account.

Called again it changes nothing, unless the file, the compiled pipeline or somebody's hand did. KFP cannot
update a recurring run, so a change makes a new one and then removes the old. A recurring run of that name
that somebody made in another way is left as it is, and the command refused.
"""

import argparse
import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api
import yaml

from components.shared.faults import InputError, shown
from components.validate_parameters.places import check_pipeline_root
from pipelines import profiles, server
from pipelines.catalogue import PIPELINES, WHEN_NEW
from pipelines.compiled import compiled_nodes
from pipelines.cron import check_cron
from pipelines.submission import parse
from pipelines.submit import EXPERIMENT, SERVICE_ACCOUNT, check_service_account, form_values

# A ledger of that name is of other volumes once there are new ones; who is forgotten stays so.
_OF_ONE_RUN = ("run_name", "forget_patient")
_MADE_BY = "; by `python -m pipelines schedule`, "  # in the description of every recurring run made here


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What a schedule's file says."""

    name: str
    pipeline: str
    cron: str
    enabled: bool = True  # false: it is removed
    experiment: str = EXPERIMENT
    profile: str = "cluster"
    pipeline_root: str = ""  # "": the server's
    service_account: str = SERVICE_ACCOUNT
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        """Return what two files that say the same have in common."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


def add_command(commands: Any) -> None:
    """Add it to the command line."""
    scheduling = commands.add_parser("schedule", help="make a recurring run what a file says")
    scheduling.add_argument("file", type=Path)
    server.add_options(scheduling)
    scheduling.set_defaults(command=_schedule)


def _schedule(options: argparse.Namespace) -> None:
    wanted = read(options.file, options.build)
    client = server.connect(options)
    with server.asking(options.host):
        said = apply(client, wanted, options.build)
    print(f"schedule    {wanted.name}: {said}")  # noqa: T201


def apply(client: kfp.Client, wanted: Schedule, build: Path) -> str:
    """Make the server's recurring runs of that name what the file says; return what was done.

    Raises InputError, before anything is changed, where one of that name was not made by this command.
    """
    namespace = client.get_user_namespace() or None
    listed = server.every(client.list_recurring_runs, "recurring_runs", namespace=namespace)
    named = [job for job in listed if job.display_name == wanted.name]
    _refuse_others(client, named)
    if not wanted.enabled:
        _remove(client, named)
        return "removed" if named else "nothing there to remove"
    gated = PIPELINES[wanted.pipeline].first is not None  # a run with nothing to do then ends at once
    version = server.upload(client, wanted.pipeline + WHEN_NEW * gated, build)
    experiment = client.create_experiment(wanted.experiment, namespace=namespace).experiment_id
    changes = {job.recurring_run_id: list(_changes(job, wanted, version, experiment)) for job in named}
    kept = next((job for job in named if not changes[job.recurring_run_id]), None)
    if kept is None:
        _make(client, wanted, version, experiment)
    _remove(client, [job for job in named if job is not kept])
    if kept is not None:
        return "kept as it is" + " and its doubles removed" * (len(named) > 1)
    because = sorted(set().union(*changes.values()))
    return f"replaced ({', '.join(because)} changed)" if named else "made"


def _refuse_others(client: kfp.Client, jobs: list[Any]) -> None:
    """Refuse to touch what somebody else made under the name."""
    for job in jobs:
        if _MADE_BY not in (job.description or ""):
            raise InputError(
                f"name: {shown(job.display_name)}: a recurring run of that name"
                f"{_experiment_words(client, job)} was not made by this command;"
                " valid: another name, or delete that one in the UI"
            )


def _experiment_words(client: kfp.Client, job: Any) -> str:
    """Return where a recurring run is, as a message's words; "" where the server does not tell."""
    try:
        experiment = client.get_experiment(experiment_id=job.experiment_id or "")
    except (kfp_server_api.ApiException, ValueError):
        return ""
    return f" in experiment {shown(experiment.display_name)}"


def _remove(client: kfp.Client, jobs: list[Any]) -> None:
    for job in jobs:
        client.delete_recurring_run(job.recurring_run_id)


def _make(client: kfp.Client, wanted: Schedule, version: server.Version, experiment: str) -> None:
    client.create_recurring_run(
        experiment,
        wanted.name,
        description=f"{wanted.pipeline} {version.name}{_MADE_BY}{wanted.digest()}",
        cron_expression=wanted.cron,
        max_concurrency=1,  # two runs would wait for one lease
        no_catchup=True,  # the newest run sees all the volumes that a missed one would have
        params=dict(wanted.parameters),
        pipeline_id=version.pipeline_id,
        version_id=version.version_id,
        pipeline_root=wanted.pipeline_root or None,
        service_account=wanted.service_account,
    )


def _changes(job: Any, wanted: Schedule, version: server.Version, experiment: str) -> Iterator[str]:
    """Yield what of a recurring run is not as wanted: by the file's digest, and by hand on the server."""
    cron = job.trigger.cron_schedule if job.trigger else None
    reference, runtime = job.pipeline_version_reference, job.runtime_config
    there = {
        "cron": cron.cron if cron else None,
        "pipeline": reference.pipeline_version_id if reference else None,
        "parameters": (runtime.parameters if runtime else None) or {},
        "service_account": job.service_account,
        "experiment": job.experiment_id,
        "enabled": job.mode,
        "max_concurrency": str(job.max_concurrency),
        "no_catchup": bool(job.no_catchup),
    }
    right = {
        "cron": wanted.cron,
        "pipeline": version.version_id,
        "parameters": dict(wanted.parameters),
        "service_account": wanted.service_account,
        "experiment": experiment,
        "enabled": "ENABLE",
        "max_concurrency": "1",
        "no_catchup": True,
    }
    changed = [name for name, value in right.items() if there[name] != value]
    yield from changed
    if not changed and wanted.digest() not in (job.description or ""):
        yield "the file"


def read(path: Path, build: Path) -> Schedule:
    """Return what a file says, its parameters complete and checked, for the pipelines compiled in `build`.

    Raises InputError that names the file's line for an unknown key, a cron of five fields, or any value that
    cannot be used.
    """
    top = _mapping(path, _compose(path))
    _refuse_unknown(path, {key: node.start_mark.line + 1 for key, node in top.items()})
    values = {key: _plain(path, node) for key, node in top.items() if key != "parameters"}
    for key, value in values.items():
        with _naming(path, top[key]):
            _check_value(key, value)
    given = _mapping(path, top["parameters"]) if "parameters" in top else {}
    nodes = compiled_nodes(build / f"{values['pipeline']}.yaml")
    parameters = _parameters(path, values, given, nodes)
    if "pipeline_root" in top:
        with _naming(path, top["pipeline_root"]):
            check_pipeline_root(values["pipeline_root"], parameters["state_uri"])
    return Schedule(**values, parameters=parameters)


def _compose(path: Path) -> yaml.Node:
    try:
        node = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; valid: a file with name, pipeline and cron") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{place}: no YAML; valid: lines of `key: value`") from error
    if node is None:
        raise InputError(f"{path}: empty; valid: a file with name, pipeline and cron")
    return node


def _mapping(path: Path, node: yaml.Node) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{path}:{node.start_mark.line + 1}: no mapping; valid: lines of `key: value`")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise InputError(f"{path}:{key.start_mark.line + 1}: a list or mapping as key; valid: a name")
        if key.value in found:
            raise InputError(f"{path}:{key.start_mark.line + 1}: {key.value}: twice; valid: once")
        found[key.value] = value
    return found


def _refuse_unknown(path: Path, lines: Mapping[str, int]) -> None:
    known = [known.name for known in fields(Schedule)]
    for key, line in lines.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1) or [", ".join(known)]
            raise InputError(f"{path}:{line}: {key}: unknown; valid: {close[0]}")
    for needed in fields(Schedule):
        if needed.default is MISSING and needed.default_factory is MISSING and needed.name not in lines:
            raise InputError(f"{path}: {needed.name}: not there; valid: name, pipeline and cron are needed")


def _plain(path: Path, node: yaml.Node) -> Any:
    """Return a node's value in plain JSON types; tags and aliases of YAML that have none are refused."""
    try:
        value = yaml.SafeLoader("").construct_object(node, deep=True)
        json.dumps(value, default=str)
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        place = f"{path}:{node.start_mark.line + 1}"
        raise InputError(f"{place}: no plain value; valid: text, numbers, true, lists, mappings") from error
    return value


@contextmanager
def _naming(path: Path, node: yaml.Node) -> Iterator[None]:
    """Begin what is refused with the file's line."""
    try:
        yield
    except InputError as error:
        place = f"{path}:{node.start_mark.line + 1}"
        raise InputError(f"{place}: {str(error).removeprefix('-p ')}") from error


def _check_value(key: str, value: Any) -> None:
    """Refuse a value of the file that its key cannot have."""
    if key == "enabled":
        _require(key, value, isinstance(value, bool), "true or false")
        return
    _require(
        key, value, isinstance(value, str), "text, in quotation marks where YAML takes it for something else"
    )
    if key == "name":
        _require(
            key, value, re.fullmatch(r"[\w][\w .-]{0,99}", value) is not None, "up to 100 letters and digits"
        )
    if key == "pipeline":
        _require(key, value, value in PIPELINES, " or ".join(sorted(PIPELINES)))
    if key == "profile":
        _require(key, value, value in profiles.PROFILES, " or ".join(profiles.PROFILES))
    if key == "experiment":
        _require(key, value, bool(value.strip()), f"a name, e.g. {EXPERIMENT}")
    if key == "service_account":
        check_service_account(value)
    if key == "cron":
        check_cron(value)


def _require(key: str, value: Any, holds: bool, valid: str) -> None:
    if not holds:
        raise InputError(f"{key}: {shown(value)}: not usable; valid: {valid}")


def _parameters(
    path: Path, values: Mapping[str, Any], given: Mapping[str, yaml.Node], nodes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return every parameter of the run; a line of the file is named where its value is refused."""
    declared = PIPELINES[values["pipeline"]].parameters
    parsed: dict[str, Any] = {}
    for name, node in given.items():
        text = _text(_plain(path, node))
        with _naming(path, node):
            parsed |= parse([f"{name}={text}"], declared)
            _require(name, parsed[name], name not in _OF_ONE_RUN, "none: it is for one run, by `submit`")
    try:
        return form_values(values["pipeline"], values.get("profile", "cluster"), parsed, nodes)
    except InputError as error:
        name = str(error).partition("=")[0]
        place = f"{path}:{given[name].start_mark.line + 1}" if name in given else f"{path}"
        raise InputError(f"{place}: {error}") from error


def _text(value: Any) -> str:
    """Return a YAML value as `-p` would take it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)
