"""A Kubeflow Pipelines server: reaching it, and the versions of the pipelines it holds.

Everything goes through kfp's own client, so that a token, a session's cookie and the address of a
port-forward work as they do elsewhere. What the server refuses, the caller reads in one line.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import ssl
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kfp
import kfp_server_api
import urllib3

from components.shared.faults import InputError
from pipelines.catalogue import PIPELINES, WHEN_NEW, Pipeline
from pipelines.compiled import COMPILED, Compiled, read_compiled

ENDPOINT = "KF_PIPELINES_ENDPOINT"  # kfp's own name for it
PATIENCE_S = (10, 60)  # to connect, to answer
PAGE = 100
NO_NAMESPACE = "kubeflow"  # kfp's default, by which it takes its session's namespace, if there is one
LOGIN = "; valid: a token in --token-file or a cookie in --cookie-file, of someone who may"


@dataclass(frozen=True, kw_only=True)
class Version:
    """A pipeline's version on a server."""

    name: str  # its time first, so that a list sorts by age
    pipeline_id: str
    version_id: str
    found: bool  # it was there before

    @property
    def words(self) -> str:
        """Return what to tell the caller."""
        return f"version     {self.name} ({'found' if self.found else 'uploaded'})"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command that talks to a server takes."""
    parser.add_argument("--host", default=os.environ.get(ENDPOINT, ""), help=f"URL (default: ${ENDPOINT})")
    parser.add_argument("--namespace", default="", help="your profile's, on a server with several users")
    parser.add_argument("--token-file", type=Path, help="file with a bearer token (default: kfp's session)")
    parser.add_argument("--cookie-file", type=Path, help="file with a session's cookie, as name=value")
    parser.add_argument("--ca-file", type=Path, help="certificate of the server's authority")
    parser.add_argument(
        "--from",
        dest="build",
        type=Path,
        default=Path("build"),
        help="folder that `compile` wrote (default: build)",
    )


class _Client(kfp.Client):  # type: ignore[misc]  # kfp has no types
    """kfp's client, but that a server which does not answer is given up at once, not after 25 seconds."""

    def get_kfp_healthz(self, sleep_duration: int = 0) -> SimpleNamespace:  # noqa: ARG002
        answer = self.healthzs.healthz_service_get_healthz(
            _preload_content=False, _request_timeout=PATIENCE_S
        )
        if not 200 <= answer.status < 300:
            raise kfp_server_api.ApiException(status=answer.status, reason=answer.reason)
        try:
            told = json.loads(answer.data)
            return SimpleNamespace(multi_user=bool(told.get("multi_user")))
        except (ValueError, AttributeError):
            said = "a page, as before a login, and no Kubeflow Pipelines API"
            raise kfp_server_api.ApiException(status=answer.status, reason=said + LOGIN) from None


def connect(options: argparse.Namespace) -> kfp.Client:
    """Return a client for the server that `add_options` named.

    Raises InputError where it does not answer, wants a login, or wants a namespace.
    """
    if not options.host:
        raise InputError(f"--host: not given; valid: the URL of a KFP server, here or in ${ENDPOINT}")
    if not options.host.startswith(("http://", "https://")):
        raise InputError(f"--host {options.host}: no URL; valid: one that begins with https:// or http://")
    with asking(options.host), warnings.catch_warnings(action="ignore"):
        client = _Client(
            host=options.host,
            namespace=options.namespace or NO_NAMESPACE,
            existing_token=_secret("--token-file", options.token_file),
            cookies=_secret("--cookie-file", options.cookie_file),
            ssl_ca_cert=_authority(options.ca_file, options.host),
        )
        several_users = client.get_kfp_healthz().multi_user
    _check_namespace(client.get_user_namespace(), several_users)
    return client


def _secret(option: str, path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{option} {path}: not readable ({error}); valid: a file with one line") from error
    if not text or any(character.isspace() for character in text.replace("; ", "")):
        raise InputError(f"{option} {path}: empty or of several words; valid: a file with one line")
    if not (text.isascii() and text.isprintable()):  # what HTTP sends in a header
        raise InputError(f"{option} {path}: has letters other than ASCII's; valid: a file with one line")
    return text


def _authority(path: Path | None, host: str) -> str | None:
    """Return the certificates to trust, which kfp would read only as it asks, and blame the host."""
    if path is None:
        return None
    if not host.startswith("https://"):
        raise InputError(f"--ca-file {path}: not used with --host {host}; valid: none, or a host of https://")
    try:
        ssl.create_default_context(cafile=str(path))
    except OSError as error:  # that of SSL is one
        raise InputError(f"--ca-file {path}: no certificates ({error}); valid: a PEM file of them") from error
    return str(path)


def _check_namespace(namespace: str, several_users: bool) -> None:
    if several_users and not namespace:
        raise InputError("--namespace: not given, and this server has several users; valid: your profile's")
    if namespace and not several_users:
        raise InputError(f"--namespace {namespace}: this server has one user; valid: none")


@contextlib.contextmanager
def asking(host: str) -> Iterator[None]:
    """Keep kfp's own prints back, and turn what the server refuses into one line that names it."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except kfp_server_api.ApiException as error:
        raise InputError(f"--host {host}: {_refusal(error)}") from error
    except urllib3.exceptions.HTTPError as error:
        cause = str(getattr(error, "reason", None) or error).split(": ", 1)[-1]
        valid = (
            "the URL of a KFP server, e.g. of `kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80`"
        )
        raise InputError(f"--host {host}: no answer ({cause}); valid: {valid}") from error


def _refusal(error: kfp_server_api.ApiException) -> str:
    try:
        told = json.loads(error.body)
        said = str(told.get("message") or told.get("error")).splitlines()[0]
    except (TypeError, ValueError, AttributeError, IndexError):
        said = str(error.reason)
    if error.status in (401, 403):
        said += LOGIN
    return f"{error.status} {said}"


def every(ask: Callable[..., Any], field: str, **arguments: Any) -> Iterator[Any]:
    """Yield what a list call of kfp's client holds, page after page."""
    token = ""
    while True:
        page = ask(page_token=token, page_size=PAGE, **arguments)
        yield from getattr(page, field) or []
        token = page.next_page_token
        if not token:
            return


def upload(client: kfp.Client, name: str, folder: Path) -> Version:
    """Return the version of pipeline `name` that `compile` wrote into `folder`, made where it is not there.

    A version is known by the digest of its YAML, which names the images: the same code in the same images is
    the same version. Two uploads at once end at the same one, the earlier.
    """
    package = folder / f"{name}.yaml"
    compiled = read_package(name, folder)
    digest = hashlib.sha256(compiled.text).hexdigest()[:12]
    pipeline_id = _find_pipeline(client, name) or _make_pipeline(client, name)
    if found := _find_version(client, pipeline_id, digest):
        return Version(name=found.display_name, pipeline_id=pipeline_id, version_id=_id(found), found=True)
    try:
        client.upload_pipeline_version(
            str(package),
            f"{datetime.now(UTC):%Y-%m-%d-%H%M}-{digest}",
            pipeline_id=pipeline_id,
            description=f"fontanelle {version_of('fontanelle')}, {' and '.join(compiled.images)}",
        )
    except kfp_server_api.ApiException as error:
        if error.status != 409:  # one of that name, made in this minute
            raise
    made = _find_version(client, pipeline_id, digest)
    if made is None:
        raise InputError(
            f"the uploaded version of {name} is not listed; valid: a KFP server of 2.17 or newer"
        )
    return Version(name=made.display_name, pipeline_id=pipeline_id, version_id=_id(made), found=False)


def _id(version: Any) -> str:
    return str(version.pipeline_version_id)


def read_package(name: str, folder: Path) -> Compiled:
    """Return pipeline `name` as `compile` wrote it into `folder`; refuse one that other code compiled."""
    package = folder / f"{name}.yaml"
    compiled = read_compiled(package)
    if set(compiled.form) != {field.name for field in fields(_behind(name).parameters)}:
        raise InputError(f"{package}: has other parameters than this version's {name}; valid: {COMPILED}")
    return compiled


def _behind(name: str) -> Pipeline:
    """Return the pipeline that a name, with its gate or without, is of."""
    return PIPELINES[name.removesuffix(WHEN_NEW)]


def _find_pipeline(client: kfp.Client, name: str) -> str | None:
    listed = every(client.list_pipelines, "pipelines", namespace=client.get_user_namespace() or None)
    return next((str(p.pipeline_id) for p in listed if name in (p.name, p.display_name)), None)


def _make_pipeline(client: kfp.Client, name: str) -> str:
    """Make a pipeline without a version: one uploaded whole names its first version after itself."""
    wanted = kfp_server_api.V2beta1Pipeline(
        name=name,
        display_name=name,
        description=_behind(name).title,
        namespace=client.get_user_namespace() or None,
    )
    try:
        return str(client.pipelines.pipeline_service_create_pipeline(wanted).pipeline_id)
    except kfp_server_api.ApiException as error:
        made = _find_pipeline(client, name) if error.status == 409 else None
        if made is None:
            raise
        return made


def _find_version(client: kfp.Client, pipeline_id: str, digest: str) -> Any | None:
    listed = every(client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline_id)
    same = [version for version in listed if version.display_name.endswith(f"-{digest}")]
    return min(same, key=lambda version: version.display_name, default=None)
