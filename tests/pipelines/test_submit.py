"""Versions on a server and runs of them, through kfp's own client against a small server that keeps state."""

import argparse
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
import yaml
from werkzeug.serving import make_ssl_devcert

from components.shared.faults import InputError
from components.validate_parameters.stage import Parameters
from pipelines.__main__ import main
from pipelines.catalogue import PIPELINES
from pipelines.compiled import COMPILED, read_documents
from pipelines.server import connect, upload
from pipelines.submit import form_values
from tests.pipelines.fake_kfp import fake_kfp

FILES = ("token_file", "cookie_file", "ca_file")
PLACES = ("-p", "volumes_uri=gs://b/scans/*.nrrd", "-p", "state_uri=gs://b/state")


def ask(command, server, build, *more):
    return main([command, "augmentation", "--host", server.url, "--from", str(build), *more])


def test_a_run_starts_with_every_parameter_on_its_version(server, build, capsys):
    assert ask("submit", server, build, *PLACES, "-p", "label_fraction=0.1", "-p", "gan_mirror=false") == 0
    (run,) = server.runs.values()
    (version,) = server.versions.values()
    wanted = Parameters(
        volumes_uri="gs://b/scans/*.nrrd", state_uri="gs://b/state", label_fraction=0.1, gan_mirror=False
    )
    assert run["runtime_config"]["parameters"] == {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(wanted).items()
    }
    assert run["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    assert run["service_account"] == "fontanelle-stage"
    assert re.fullmatch(r"augmentation \d{4}-\d\d-\d\d \d\d:\d\d", run["display_name"])
    said = capsys.readouterr().out
    assert f"{server.url}/#/runs/details/{run['run_id']}" in said
    assert version["display_name"] in said


def test_a_run_asks_for_the_nodes_that_compile_was_told(server, build, tmp_path):
    spec, platform = read_documents((build / "augmentation.yaml").read_bytes())
    form = spec["root"]["inputDefinitions"]["parameters"]
    form["gpu_node_selector"]["defaultValue"] = {"pool": "gpus", "pool/spot": "true"}
    spot = {"key": "pool/spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
    form["gpu_tolerations"]["defaultValue"] += [spot]
    (tmp_path / "augmentation.yaml").write_text(yaml.safe_dump_all([spec, platform]))
    assert ask("submit", server, tmp_path, *PLACES) == 0
    assert ask("submit", server, tmp_path, *PLACES, "-p", "gpu_node_selector={}") == 0
    asked = [run["runtime_config"]["parameters"] for run in server.runs.values()]
    assert [run["gpu_node_selector"] for run in asked] == [{"pool": "gpus", "pool/spot": "true"}, {}]
    assert all(run["gpu_tolerations"][-1] == spot for run in asked)


def test_weights_baked_into_an_image_are_no_place_of_this_machine(server, build):
    assert ask("submit", server, build, *PLACES, "-p", "pretrained_uri=/opt/pretrained/a.safetensors") == 0


def test_options_reach_the_run(server, build):
    options = ["--name", "first", "--experiment", "e", "--pipeline-root", "gs://b/root"]
    assert ask("submit", server, build, *PLACES, *options, "--service-account", "mine") == 0
    (run,) = server.runs.values()
    assert (run["display_name"], run["service_account"]) == ("first", "mine")
    assert run["runtime_config"]["pipeline_root"] == "gs://b/root"
    assert server.experiments[run["experiment_id"]]["display_name"] == "e"


def cached(graph):
    """Return the tasks of a graph, and of the graphs within it, that KFP may take from its cache."""
    return [
        (name, task)
        for name, component in {"root": graph["root"], **graph["components"]}.items()
        for task, about in component.get("dag", {}).get("tasks", {}).items()
        if about.get("cachingOptions", {}).get("enableCache")
    ]


@pytest.mark.parametrize("pipeline", sorted(PIPELINES))
def test_a_run_without_the_cache_brings_its_graph_and_leaves_no_version(pipeline, server, build, capsys):
    places = (*PLACES, "-p", "classifiers_uri=gs://b/c") if pipeline == "apply" else PLACES
    command = ["submit", pipeline, "--host", server.url, "--from", str(build), "--no-cache", *places]
    assert main([*command, "--pipeline-root", "gs://b/root"]) == 0
    (run,) = server.runs.values()
    spec, platform = read_documents((build / f"{pipeline}.yaml").read_bytes())
    brought = run["pipeline_spec"]
    assert {name for name, _ in cached(spec)} > {"root"}  # kfp's own way knows the outermost tasks alone
    assert cached(brought["pipeline_spec"]) == []
    assert without_caching(brought["pipeline_spec"]) == without_caching(spec)
    assert brought["platform_spec"] == platform
    assert run["runtime_config"]["pipeline_root"] == "gs://b/root"
    assert run["service_account"] == "fontanelle-stage"
    assert not server.versions
    assert "version     none: " in capsys.readouterr().out


def without_caching(graph):
    """Return the graph with nothing said of caching, to compare what else it says."""
    if isinstance(graph, dict):
        return {key: without_caching(value) for key, value in graph.items() if key != "cachingOptions"}
    return [without_caching(value) for value in graph] if isinstance(graph, list) else graph


def test_the_same_compiled_pipeline_is_one_version(server, build, capsys):
    assert [ask("upload", server, build) for _ in range(2)] == [0, 0]
    assert ask("submit", server, build, *PLACES) == 0
    assert len(server.pipelines) == len(server.versions) == len(server.runs) == 1
    assert [line.split("(")[1] for line in capsys.readouterr().out.splitlines() if "version" in line] == [
        "uploaded)",
        "found)",
        "found)",
    ]


def test_other_images_are_another_version_and_versions_sort_by_age(server, build, tmp_path):
    names = []
    for tag in ("t1", "t2", "t3", "t4"):  # more than one page of the list
        text = (build / "augmentation.yaml").read_text().replace(":t1", f":{tag}")
        (tmp_path / "augmentation.yaml").write_text(text)
        assert ask("upload", server, tmp_path) == 0
        names = [version["display_name"] for version in server.versions.values()]
    assert len(set(names)) == 4
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d-\d{4}-[0-9a-f]{12}", name) for name in names)
    assert [name[:15] for name in names] == sorted(name[:15] for name in names)
    described = [version["description"] for version in server.versions.values()]
    assert "example.org/r/fontanelle-gpu:t4" in described[3]
    assert ask("upload", server, build) == 0
    assert len(server.versions) == 4


def test_uploads_at_once_end_at_one_version(server, build):
    client = connect(argparse.Namespace(host=server.url, namespace="", **dict.fromkeys(FILES)))
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: upload(client, "augmentation", build), range(4)))
    assert len(server.pipelines) == 1
    assert ask("submit", server, build, *PLACES) == 0
    (run,) = server.runs.values()
    first = min(server.versions.values(), key=lambda version: version["display_name"])
    assert run["pipeline_version_reference"]["pipeline_version_id"] == first["pipeline_version_id"]
    assert {version.pipeline_id for version in made} == set(server.pipelines)


def test_who_uploads_the_same_at_the_same_minute_gets_the_others_version(server, build, monkeypatch):
    client = connect(argparse.Namespace(host=server.url, namespace="", **dict.fromkeys(FILES)))
    real = client.upload_pipeline_version

    def second(*given, **named):
        real(*given, **named)  # the other is first, by a moment
        return real(*given, **named)

    monkeypatch.setattr(client, "upload_pipeline_version", second)
    made = upload(client, "augmentation", build)
    assert list(server.versions) == [made.version_id]


def test_a_pipeline_far_down_the_list_is_found(server, build):
    for name in ("a", "b", "c", "d"):  # more than one page
        server.create_pipeline({"display_name": name})
    assert [ask("upload", server, build) for _ in range(2)] == [0, 0]
    assert [pipeline["name"] for pipeline in server.pipelines.values()].count("augmentation") == 1
    assert len(server.versions) == 1


def test_a_pipeline_of_the_name_that_all_users_share_is_not_taken_for_ones_own(build):
    with fake_kfp(several_users=True) as server:
        server.create_pipeline({"display_name": "augmentation"})
        assert [ask("upload", server, build, "--namespace", "clinic") for _ in range(2)] == [0, 0]
        (version,) = server.versions.values()
        assert server.pipelines[version["pipeline_id"]]["namespace"] == "clinic"


def test_of_two_versions_of_one_compiled_pipeline_the_earlier_is_taken(server, build, capsys):
    assert ask("upload", server, build) == 0
    (version,) = server.versions.values()
    digest = version["display_name"].rpartition("-")[2]
    for year, key in (("2999", "later"), ("1999", "earlier")):
        double = {"display_name": f"{year}-01-01-0000-{digest}", "pipeline_version_id": key}
        server.versions[key] = version | double
    assert ask("submit", server, build, *PLACES) == 0
    (run,) = server.runs.values()
    assert run["pipeline_version_reference"]["pipeline_version_id"] == "earlier"
    assert f"1999-01-01-0000-{digest} (found)" in capsys.readouterr().out


def test_who_makes_the_same_pipeline_a_moment_later_takes_the_others(server, build, monkeypatch):
    client = connect(argparse.Namespace(host=server.url, namespace="", **dict.fromkeys(FILES)))
    real = client.pipelines.pipeline_service_create_pipeline
    monkeypatch.setattr(
        client.pipelines, "pipeline_service_create_pipeline", lambda wanted: (real(wanted), real(wanted))[1]
    )
    assert upload(client, "augmentation", build).pipeline_id == next(iter(server.pipelines))


@pytest.mark.parametrize("route", ["POST pipelines", "POST pipelines/upload_version"])
def test_what_is_refused_as_it_is_uploaded_is_told_in_the_servers_words(route, server, build, capsys):
    server.refusals[route] = 403, "User is not authorized"
    assert ask("upload", server, build) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: --host {server.url}: 403 User is not authorized; valid: a token in ")
    assert said.count("\n") == 1


def test_several_users_need_a_namespace_and_one_user_none(build, capsys):
    with fake_kfp(several_users=True) as server:
        assert ask("submit", server, build, *PLACES) == 1
        assert "--namespace: not given" in capsys.readouterr().err
        assert ask("submit", server, build, *PLACES, "--namespace", "clinic") == 0
        assert [e["namespace"] for e in server.experiments.values()] == ["clinic"]
    with fake_kfp() as server:
        assert ask("submit", server, build, *PLACES, "--namespace", "clinic") == 1
        assert "--namespace clinic: this server has one user; valid: none" in capsys.readouterr().err
        assert not server.runs


def test_a_token_is_read_from_its_file(build, tmp_path, capsys):
    (tmp_path / "token").write_text("secret\n")
    with fake_kfp(token="secret") as server:
        assert ask("submit", server, build, *PLACES) == 1
        said = capsys.readouterr().err
        assert "401 Unauthorized; valid: a token in --token-file" in said
        assert said.count("\n") == 1
        assert ask("submit", server, build, *PLACES, "--token-file", str(tmp_path / "token")) == 0
        assert len(server.runs) == 1


def test_a_secret_that_no_header_can_hold_is_refused(server, build, tmp_path, capsys):
    (tmp_path / "secret").write_text("schlüssel€\n", encoding="utf-8")
    for option in ("--token-file", "--cookie-file"):
        assert ask("submit", server, build, *PLACES, option, str(tmp_path / "secret")) == 1
        assert f"{option} {tmp_path / 'secret'}: has letters other than ASCII's" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "\n", "two words\n", "one\nanother\n"])
def test_a_file_of_a_secret_that_holds_none_or_several_is_refused(text, server, build, tmp_path, capsys):
    path = tmp_path / "secret"
    path.write_text(text)
    for option in ("--token-file", "--cookie-file"):
        assert ask("submit", server, build, *PLACES, option, str(path)) == 1
        assert f"{option} {path}: empty or of several words; valid: " in capsys.readouterr().err
    assert not server.runs


def test_the_namespace_and_the_cookie_of_kfps_own_session_are_taken(build, tmp_path, monkeypatch):
    (tmp_path / "context.json").write_text('{"namespace": "clinic", "client_authentication_cookie": "s=1"}')
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    with fake_kfp(several_users=True, cookie="s=1") as server:
        assert ask("submit", server, build, *PLACES) == 0
        assert [pipeline["namespace"] for pipeline in server.pipelines.values()] == ["clinic"]
        assert [experiment["namespace"] for experiment in server.experiments.values()] == ["clinic"]


def test_a_cookie_is_read_from_its_file_and_a_login_page_is_no_server(build, tmp_path, capsys):
    (tmp_path / "cookie").write_text("session=secret\n")
    with fake_kfp(cookie="session=secret") as server:
        assert ask("upload", server, build) == 1
        said = capsys.readouterr().err
        assert "200 a page, as before a login, and no Kubeflow Pipelines API; valid: a token in" in said
        assert said.count("\n") == 1
        assert ask("upload", server, build, "--cookie-file", str(tmp_path / "cookie")) == 0
        assert len(server.versions) == 1


def test_a_cookie_of_several_pairs_is_sent_as_browsers_send_it(build, tmp_path):
    (tmp_path / "cookie").write_text("session_0=secret; session_1=more\n")
    with fake_kfp(cookie="session_0=secret; session_1=more") as server:
        assert ask("upload", server, build, "--cookie-file", str(tmp_path / "cookie")) == 0


def test_the_environment_may_name_the_server(server, build, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.url)
    assert main(["upload", "augmentation", "--from", str(build)]) == 0
    assert len(server.versions) == 1


def test_an_authority_of_ones_own_is_trusted_where_its_file_is_given(build, tmp_path, capsys):
    files = make_ssl_devcert(str(tmp_path / "own"), host="localhost")
    with fake_kfp(certificate=files) as server:
        server.url = server.url.replace("127.0.0.1", "localhost")
        assert ask("upload", server, build) == 1
        said = capsys.readouterr().err
        assert f"--host {server.url}: no answer (" in said and "certificate verify failed" in said
        assert not server.asked
        assert ask("upload", server, build, "--ca-file", files[0]) == 0
        assert len(server.versions) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "label_fraction=0"], "label_fraction=0.0: not usable"),
        (["-p", "classifier=vgg"], "classifier=vgg: not usable; valid: convnext_tiny or resnet18"),
        (["-p", "colour=red"], "-p colour: unknown parameter"),
        (["-p", "volumes_uri=scans"], "volumes_uri=scans: a place on one machine; valid: gs://"),
        (["-p", "state_uri=file:///x"], "state_uri=file:///x: a place on one machine"),
        (["-p", "state_uri="], "state_uri=: not usable; valid: gs://"),
        (["-p", "state_uri=~/state"], "state_uri=~/state: a place on one machine"),
        (["-p", "state_uri= gs://b/st"], "state_uri=' gs://b/st': not usable; valid: an address without a"),
        (["-p", "volumes_uri=gs://b/s\u00a0"], "volumes_uri='gs://b/s\\xa0': not usable"),
        (["-p", "volumes_uri=az://b/s"], "volumes_uri=az://b/s: az://b/s: not a place"),
        (["-p", "volumes_uri=GS://b/s"], "volumes_uri=GS://b/s: GS://b/s: not a place"),
        (["-p", "volumes_uri=gs:///s"], "volumes_uri=gs:///s: not usable; valid: gs://bucket/prefix"),
        (["-p", "state_uri=http://b/st"], "state_uri=http://b/st: http://b/st: not a place"),
        (["-p", "state_uri=gs://b"], "state_uri=gs://b: not usable; valid: gs://b/PREFIX"),
        (["--pipeline-root", "gs:///a"], "pipeline_root=gs:///a: not usable; valid: empty, or gs://"),
        (["-p", f"gpu_node_selector={'[' * 9000}"], "gpu_node_selector="),
        (["-p", "forget_patient=Ana"], "forget_patient=Ana: not usable; valid: empty, or a pseudonym"),
        (["-p", "run_name=gan"], "run_name=gan: not usable; valid: another name"),
        (["-p", "run_name=a\n"], "run_name='a\\n': not usable; valid: empty, or up to 63"),
        (["-p", "patient_pattern=["], "patient_pattern=[: unterminated character set"),
        (["-p", "inception_uri=gs://b/i.pkl"], "inception_uri=gs://b/i.pkl: not usable"),
        (["-p", 'gpu_node_selector={"a b": "c"}'], "gpu_node_selector={'a b': 'c'}: not usable"),
        (
            ["--from", "/nowhere"],
            "/nowhere/augmentation.yaml: not there; valid: what `python -m pipelines compile`",
        ),
        (["--token-file", "/nowhere"], "--token-file /nowhere: not readable"),
        (["--ca-file", "/nowhere", "--host", "https://127.0.0.1:1"], "--ca-file /nowhere: no certificates"),
        (["--ca-file", __file__, "--host", "https://127.0.0.1:1"], f"--ca-file {__file__}: no certificates"),
        (["--ca-file", __file__], f"--ca-file {__file__}: not used with --host http://"),
        (["--service-account", "No Such!"], "service_account: No Such!: no name of a ServiceAccount"),
        (["--service-account", ""], "service_account: : no name of a ServiceAccount"),
        (["--host", "127.0.0.1"], "--host 127.0.0.1: no URL"),
        (["--host", "http://127.0.0.1:1"], "--host http://127.0.0.1:1: no answer"),
        (["--host", ""], "--host: not given"),
    ],
)
def test_a_mistake_costs_one_line_and_starts_nothing(arguments, words, server, build, capsys):
    given = {word.partition("=")[0] for word in arguments}
    others = [f"-p{place}" for place in PLACES[1::2] if place.partition("=")[0] not in given]
    assert ask("submit", server, build, *others, *arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {words}")
    assert "valid: " in said
    assert said.count("\n") == 1
    assert not server.runs


@pytest.mark.parametrize(
    ("pipeline", "name", "value"),
    [
        ("apply", "classifiers_uri", ""),
        ("apply", "classifiers_uri", "run/published"),
        ("apply", "classifiers_uri", "gs://b/c "),
        ("apply", "state_uri", "gs://b//st"),
        ("apply", "language", "fr"),
        ("apply", "memory", "8GB"),
        ("study", "forget_patient", "Ana"),
        ("study", "state_uri", "gs://b/st\n"),
        ("study", "inception_uri", "gs://b/i.pkl"),
    ],
)
def test_every_pipeline_is_checked_before_its_run_starts(pipeline, name, value):
    given = {"volumes_uri": "gs://b/v", "state_uri": "gs://b/s"}
    given |= {"classifiers_uri": "gs://b/c"} if pipeline == "apply" else {}
    form_values(pipeline, "cluster", given)
    with pytest.raises(InputError, match=rf"^{name}=.*; valid: "):
        form_values(pipeline, "cluster", {**given, name: value})


def test_a_pipeline_of_other_code_is_refused(server, build, tmp_path, capsys):
    shutil.copy(build / "apply.yaml", tmp_path / "augmentation.yaml")
    for command in (["upload"], ["submit", *PLACES], ["submit", *PLACES, "--no-cache"]):
        assert ask(command[0], server, tmp_path, *command[1:]) == 1
        assert "has other parameters than this version's augmentation" in capsys.readouterr().err
    assert not server.versions
    assert not server.runs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 of its 2 documents"),
        ("hello", "1 of its 2 documents"),
        ("root: 1", "1 of its 2 documents"),
        ("root: 1\n---\n{}", "not KFP's form"),
        ("{}\n---\n{}", "not KFP's form"),
        ("root: {inputDefinitions: {parameters: [a]}}\n---\n{}", "not KFP's form"),
        ("{", "no YAML"),
        ("a: 2026-13-45", "no YAML"),
        ("[" * 9000, "no YAML"),
        ("- " * 1_000_000, "no YAML"),  # libyaml would end the process
        ("\0", "no YAML"),
    ],
)
def test_a_file_that_is_no_pipeline_is_refused(text, words, server, tmp_path, capsys):
    (tmp_path / "augmentation.yaml").write_text(text)
    assert ask("submit", server, tmp_path, *PLACES) == 1
    said = capsys.readouterr().err
    path = tmp_path / "augmentation.yaml"
    assert said == f"error: {path}: no compiled pipeline ({words}); valid: {COMPILED}\n"


def changed(build, folder, *keys, to=None):
    """Write the compiled pipeline with one place of it changed, or, where `to` is ..., removed."""
    documents = read_documents((build / "augmentation.yaml").read_bytes())
    place = documents
    for key in keys[:-1]:
        place = place[key]
    if to is ...:
        del place[keys[-1]]
    else:
        place[keys[-1]] = to
    (folder / "augmentation.yaml").write_text(yaml.safe_dump_all(documents))


FORM = (0, "root", "inputDefinitions", "parameters")
EXECUTORS = (0, "deploymentSpec", "executors")
PODS = (1, "platforms", "kubernetes", "deploymentSpec", "executors")
NO_PODS = "its second document has no platforms.kubernetes"


@pytest.mark.parametrize(
    ("keys", "to", "words"),
    [
        ((1,), ..., "1 of its 2 documents"),
        ((1,), None, "not KFP's form"),
        ((1,), {}, NO_PODS),
        ((1, "platforms", "kubernetes"), ..., NO_PODS),
        ((1, "platforms", "kubernetes"), None, "not KFP's form"),
        ((1, "platforms", "kubernetes"), {}, NO_PODS),
        ((1, "platforms"), [], "not KFP's form"),
        ((*PODS, "exec-train-gan"), ..., "its two documents are of different tasks"),
        ((*PODS, "exec-train-gan"), None, "not KFP's form"),
        ((*FORM, "gpu_node_selector", "defaultValue"), ..., "the default of gpu_node_selector"),
        ((*FORM, "gpu_node_selector", "defaultValue"), None, "the default of gpu_node_selector"),
        ((*FORM, "gpu_node_selector", "defaultValue"), {"pool": 1}, "the default of gpu_node_selector"),
        ((*FORM, "gpu_node_selector"), None, "not KFP's form"),
        ((*FORM, "gpu_tolerations", "defaultValue"), None, "the default of gpu_tolerations"),
        ((*FORM, "gpu_tolerations", "defaultValue"), {}, "the default of gpu_tolerations"),
        ((*FORM, "gpu_tolerations", "defaultValue"), ["all"], "the default of gpu_tolerations"),
        (FORM, None, "not KFP's form"),
        ((*EXECUTORS, "exec-train-gan", "container", "image"), None, "a task without an image"),
        ((*EXECUTORS, "exec-train-gan", "container", "image"), "", "a task without an image"),
        ((*EXECUTORS, "exec-train-gan", "container", "image"), {}, "a task without an image"),
        ((*EXECUTORS, "exec-train-gan", "container", "image"), ..., "a task without an image"),
        ((*EXECUTORS, "exec-train-gan", "container"), None, "a task without an image"),
        ((*EXECUTORS, "exec-train-gan"), None, "a task without an image"),
        (EXECUTORS, None, "not KFP's form"),
        ((0, "root", "dag", "tasks"), [], "not KFP's form"),
        ((0, "colour"), "red", "not KFP's form"),
    ],
)
def test_a_compiled_pipeline_changed_by_hand_is_refused(keys, to, words, server, build, tmp_path, capsys):
    changed(build, tmp_path, *keys, to=to)
    assert ask("submit", server, tmp_path, *PLACES) == 1
    path = tmp_path / "augmentation.yaml"
    said = capsys.readouterr().err
    assert said == f"error: {path}: no compiled pipeline ({words}); valid: {COMPILED}\n"
    assert not server.versions


def test_a_pipeline_compiled_before_a_parameter_was_new_is_refused(server, build, tmp_path, capsys):
    changed(build, tmp_path, *FORM, "label_fraction", to=...)
    assert ask("upload", server, tmp_path) == 1
    assert "has other parameters than this version's augmentation" in capsys.readouterr().err
    assert not server.versions


def test_what_the_server_refuses_is_told_in_its_words(server, build, capsys, monkeypatch):
    monkeypatch.setattr(
        "pipelines.submit.form_values",
        lambda *_: {"volumes_uri": "gs://b/v", "state_uri": "gs://b/s", "x": 1},
    )
    assert ask("submit", server, build, *PLACES) == 1
    assert "400 Invalid input error: unrecognized input parameter: x" in capsys.readouterr().err
