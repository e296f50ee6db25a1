"""The commands `upload` and `submit`: a pipeline's version on a server, and a run of it."""

import argparse
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import kfp

from components.shared.faults import InputError, shown
from components.validate_parameters.places import NEEDED, check_pipeline_root, check_remote
from components.validate_parameters.requirements import require_types
from components.validate_parameters.resources import is_object_name
from pipelines import profiles, server
from pipelines.catalogue import PIPELINES
from pipelines.compiled import compiled_nodes
from pipelines.submission import parse

SERVICE_ACCOUNT = "fontanelle-stage"  # manifests/base makes it
EXPERIMENT = "fontanelle"


def add_commands(commands: Any) -> None:
    """Add both to the command line."""
    uploading = commands.add_parser("upload", help="put a compiled pipeline's version on a server")
    uploading.add_argument("pipeline", choices=sorted(PIPELINES))
    server.add_options(uploading)
    uploading.set_defaults(command=_upload)
    submitting = commands.add_parser("submit", help="upload, and start a run")
    submitting.add_argument("pipeline", choices=sorted(PIPELINES))
    server.add_options(submitting)
    submitting.add_argument("--name", default="", help="of the run (default: the pipeline's and the time)")
    submitting.add_argument("--experiment", default=EXPERIMENT, help=f"(default: {EXPERIMENT})")
    submitting.add_argument("--pipeline-root", default="", help="where artifacts go (default: the server's)")
    submitting.add_argument(
        "--service-account", default=SERVICE_ACCOUNT, help=f"of the pods (default: {SERVICE_ACCOUNT})"
    )
    submitting.add_argument("--profile", choices=sorted(profiles.PROFILES), default="cluster")
    submitting.add_argument("-p", action="append", default=[], metavar="NAME=VALUE", help="one parameter")
    submitting.add_argument(
        "--no-cache", action="store_true", help="every task works: none is taken from KFP's cache"
    )
    submitting.set_defaults(command=_submit)


def form_values(
    pipeline: str, profile: str, given: Mapping[str, Any], nodes: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Return every parameter of a run as the server takes it, in plain JSON types.

    `nodes` is where GPU tasks run as `compile` was told.

    Raises InputError for what cannot be used, so far as that shows without the cluster's own rights: the
    volumes and the state are looked at by the run's first task.
    """
    chosen = PIPELINES[pipeline]
    values = {**nodes, **profiles.values(profile, chosen.parameters), **given}
    absent = {field.name: "" for field in fields(chosen.parameters) if field.name in NEEDED}
    parameters = chosen.parameters(**{**absent, **values})
    for check in (require_types, check_remote, *chosen.checks):
        check(parameters)
    return dict(json.loads(json.dumps(asdict(parameters))))


def check_service_account(name: str) -> None:
    """Refuse what no ServiceAccount is called: a cluster would say so only once a pod is made."""
    if not is_object_name(name):
        raise InputError(
            f"service_account: {shown(name)}: no name of a ServiceAccount; valid: e.g. {SERVICE_ACCOUNT}"
        )


def _upload(options: argparse.Namespace) -> None:
    client = server.connect(options)
    with server.asking(options.host):
        version = server.upload(client, options.pipeline, options.build)
    print(version.words)  # noqa: T201


def _submit(options: argparse.Namespace) -> None:
    check_service_account(options.service_account)
    given = parse(options.p, PIPELINES[options.pipeline].parameters)
    nodes = compiled_nodes(options.build / f"{options.pipeline}.yaml")
    values = form_values(options.pipeline, options.profile, given, nodes)
    check_pipeline_root(options.pipeline_root, values["state_uri"])
    client = server.connect(options)
    with server.asking(options.host), _graph(client, options) as (words, graph):
        experiment = client.create_experiment(
            options.experiment, namespace=client.get_user_namespace() or None
        )
        run = client.run_pipeline(
            experiment.experiment_id,
            options.name or f"{options.pipeline} {datetime.now(UTC):%Y-%m-%d %H:%M}",
            params=values,
            **graph,
            pipeline_root=options.pipeline_root or None,
            service_account=options.service_account,
        )
    url = f"{options.host.rstrip('/')}/#/runs/details/{run.run_id}"
    print(f"{words}\nexperiment  {options.experiment}\nrun         {url}")  # noqa: T201


@contextmanager
def _graph(client: kfp.Client, options: argparse.Namespace) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield what a run is of, in words and as kfp's client takes it: a version, or a graph of its own.

    A server runs a version as it was compiled, whatever a run says of its cache. A version with the cache off
    would be the pipeline's newest, and whoever starts a run in the UI would get it.
    """
    if not options.no_cache:
        version = server.upload(client, options.pipeline, options.build)
        yield version.words, {"pipeline_id": version.pipeline_id, "version_id": version.version_id}
        return
    compiled = server.read_package(options.pipeline, options.build)
    with TemporaryDirectory() as scratch:
        package = Path(scratch) / f"{options.pipeline}.yaml"
        package.write_text(compiled.without_cache())
        yield (
            "version     none: the run brings its graph, without the cache",
            {"pipeline_package_path": str(package)},
        )
