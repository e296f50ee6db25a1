"""One recurring run per file, whatever is changed where."""

import shutil
import textwrap

import pytest

from components.shared.faults import InputError
from pipelines.__main__ import main
from pipelines.compiled import COMPILED
from pipelines.cron import check_cron
from pipelines.schedule import read
from tests.pipelines.fake_kfp import fake_kfp

FILE = """\
    # Every Monday
    name: weekly
    pipeline: augmentation
    cron: "0 0 3 * * 1"
    parameters:
      volumes_uri: gs://b/scans
      state_uri: gs://b/state
      label_fraction: 0.1
      truncations: [0.7]
      gpu_count: 2
    """


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weekly.yaml"
    path.write_text(textwrap.dedent(FILE))
    return path


def change(file, old, new):
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


@pytest.fixture
def schedule(server, build, file, capsys):
    def call(folder=build):
        status = main(["schedule", str(file), "--host", server.url, "--from", str(folder)])
        said = capsys.readouterr()
        assert status == 0, said.err
        return said.out.strip().partition("weekly: ")[2]

    return call


def test_the_job_is_what_the_file_says(schedule, server):
    assert schedule() == "made"
    (job,) = server.jobs.values()
    assert job["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"
    assert (job["max_concurrency"], job["no_catchup"], job["mode"]) == ("1", True, "ENABLE")
    assert job["service_account"] == "fontanelle-stage"
    given = job["runtime_config"]["parameters"]
    assert (given["label_fraction"], given["truncations"], given["gpu_count"]) == (0.1, [0.7], "2")
    assert given["epochs"] == 7  # the defaults are sent too: they show in the UI


def test_the_place_of_artifacts_reaches_the_job(schedule, server, file):
    change(file, "name: weekly", "name: weekly\npipeline_root: gs://b/root")
    schedule()
    (job,) = server.jobs.values()
    assert job["runtime_config"]["pipeline_root"] == "gs://b/root"


@pytest.mark.parametrize(("pipeline", "made"), [("study", "study-when-new"), ("apply", "apply")])
def test_what_has_a_gate_is_scheduled_behind_it(pipeline, made, schedule, server, file):
    places = ["volumes_uri: gs://b/v", "state_uri: gs://b/s"]
    places += ["classifiers_uri: gs://b/c"] * (pipeline == "apply")
    given = "".join(f"\n  {place}" for place in places)
    file.write_text(f'name: weekly\npipeline: {pipeline}\ncron: "0 0 3 * * 1"\nparameters:{given}\n')
    assert schedule() == "made"
    assert [pipeline["name"] for pipeline in server.pipelines.values()] == [made]


def test_two_calls_leave_one_job_and_ask_for_nothing_new(schedule, server):
    schedule()
    (job,) = server.jobs
    server.asked.clear()
    assert schedule() == "kept as it is"
    assert list(server.jobs) == [job]
    assert not [asked for asked in server.asked if not asked.startswith("GET")]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"0 0 3 * * 1"', '"0 0 4 * * 1"', "cron"),
        ("label_fraction: 0.1", "label_fraction: 0.2", "parameters"),
        ("name: weekly", "name: weekly\nexperiment: other", "experiment"),
        ("name: weekly", "name: weekly\nservice_account: other", "service_account"),
        ("name: weekly", "name: weekly\npipeline_root: gs://b/root", "the file"),
    ],
)
def test_a_changed_file_replaces_the_job(old, new, said, schedule, server, file):
    schedule()
    (before,) = server.jobs
    change(file, old, new)
    assert schedule() == f"replaced ({said} changed)"
    (after,) = server.jobs
    assert after != before
    assert schedule() == "kept as it is"


def test_another_build_replaces_the_job(schedule, server, build, tmp_path):
    schedule()
    text = (build / "augmentation-when-new.yaml").read_text().replace(":t1", ":t2")
    (tmp_path / "augmentation-when-new.yaml").write_text(text)
    assert schedule(tmp_path) == "replaced (pipeline changed)"
    (job,) = server.jobs.values()
    newest = [*server.versions][-1]
    assert job["pipeline_version_reference"]["pipeline_version_id"] == newest


def test_a_file_that_says_the_same_in_another_order_changes_nothing(schedule, file):
    first, second = "pool: gpus", "spot: 'true'"
    change(file, "gpu_count: 2", f"gpu_count: 2\n  gpu_node_selector: {{{first}, {second}}}")
    schedule()
    change(file, f"{first}, {second}", f"{second}, {first}")
    change(file, "name: weekly\npipeline: augmentation", "pipeline: augmentation\nname: weekly")
    assert schedule() == "kept as it is"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mode", "DISABLE"),
        ("max_concurrency", "10"),
        ("no_catchup", False),
        ("trigger", {"periodic_schedule": {"interval_second": "60"}}),
    ],
)
def test_what_somebody_changed_on_the_server_is_put_right(key, value, schedule, server):
    schedule()
    (job,) = server.jobs.values()
    job[key] = value
    assert schedule().startswith("replaced (")
    (job,) = server.jobs.values()
    assert job[key] != value


def test_of_several_jobs_of_the_name_one_is_left_and_other_names_stay(schedule, server):
    schedule()
    (job,) = server.jobs.values()
    doubles = [("a", "weekly"), ("b", "weekly"), ("c", "weekly"), ("d", "daily"), ("e", "weekly too")]
    server.jobs |= {key: {**job, "recurring_run_id": key, "display_name": name} for key, name in doubles}
    assert schedule() == "kept as it is and its doubles removed"
    assert sorted(job["display_name"] for job in server.jobs.values()) == ["daily", "weekly", "weekly too"]


def test_enabled_false_removes_it(schedule, server, file):
    schedule()
    file.write_text(file.read_text() + "enabled: false\n")
    assert schedule() == "removed"
    assert not server.jobs
    assert schedule() == "nothing there to remove"


@pytest.mark.parametrize("description", ["the one of the night shift", None])
@pytest.mark.parametrize("change_to", ['cron: "0 0 4 * * 1"', 'cron: "0 0 3 * * 1"\nenabled: false'])
@pytest.mark.parametrize("known", [True, False])
def test_a_job_of_the_name_that_somebody_else_made_stays_as_it_is(
    description, change_to, known, schedule, server, build, file, capsys
):
    schedule()
    (ours,) = server.jobs.values()
    experiment = server.create_experiment({"display_name": "night"})["experiment_id"] if known else "gone"
    theirs = {**ours, "recurring_run_id": "theirs", "experiment_id": experiment, "description": description}
    server.jobs["theirs"] = dict(theirs)
    change(file, 'cron: "0 0 3 * * 1"', change_to)
    server.asked.clear()
    for jobs in ({"theirs": theirs}, {ours["recurring_run_id"]: ours, "theirs": theirs}):
        server.jobs = {key: dict(job) for key, job in jobs.items()}
        assert main(["schedule", str(file), "--host", server.url, "--from", str(build)]) == 1
        assert server.jobs == jobs
        said = capsys.readouterr().err
        where = " in experiment night" * known
        assert said == (
            f"error: name: weekly: a recurring run of that name{where} was not made by this command; "
            "valid: another name, or delete that one in the UI\n"
        )
    assert not [asked for asked in server.asked if not asked.startswith("GET")]


def test_a_new_job_that_is_refused_leaves_the_old_one(schedule, server, file, build, capsys, monkeypatch):
    schedule()
    monkeypatch.setattr("pipelines.cron.FIELDS", ())
    monkeypatch.setattr("pipelines.schedule.check_cron", lambda _: None)
    change(file, "0 0 3 * * 1", "0 3 * * 1")
    assert main(["schedule", str(file), "--host", server.url, "--from", str(build)]) == 1
    assert "400 Invalid input error: cron 0 3 * * 1" in capsys.readouterr().err
    assert len(server.jobs) == 1


@pytest.mark.parametrize("name", ["augmentation", "augmentation-when-new"])
def test_a_compiled_pipeline_without_its_second_document_is_refused(
    name, server, file, build, tmp_path, capsys
):
    folder = tmp_path / "build"
    shutil.copytree(build, folder)
    path = folder / f"{name}.yaml"
    path.write_text(path.read_text().partition("\n---\n")[0])
    assert main(["schedule", str(file), "--host", server.url, "--from", str(folder)]) == 1
    said = capsys.readouterr().err
    assert said == f"error: {path}: no compiled pipeline (1 of its 2 documents); valid: {COMPILED}\n"
    assert not server.jobs


def test_in_a_namespace_of_several_users(build, file):
    with fake_kfp(several_users=True) as server:
        for _ in range(2):
            command = ["schedule", str(file), "--host", server.url, "--from", str(build)]
            assert main([*command, "--namespace", "clinic"]) == 0
        assert len(server.jobs) == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            '"0 0 3 * * 1"',
            '"0 3 * * 1"',
            ":4: cron: 0 3 * * 1: 5 fields; valid: 6, seconds first, e.g. 0 0 3 * * 1",
        ),
        ("cron:", "corn:", ":4: corn: unknown; valid: cron"),
        ("name: weekly", "name: weekly\nname: other", ":3: name: twice; valid: once"),
        ("name: weekly\n", "", ": name: not there; valid: name, pipeline and cron are needed"),
        ("name: weekly", "name: 2026-01-01", ":2: name: 2026-01-01: not usable; valid: text"),
        (
            "pipeline: augmentation",
            "pipeline: other",
            ":3: pipeline: other: not usable; valid: apply or augm",
        ),
        (
            "name: weekly",
            "name: weekly\nenabled: perhaps",
            ":3: enabled: perhaps: not usable; valid: true or",
        ),
        (
            "label_fraction: 0.1",
            "label_fracton: 0.1",
            ":8: label_fracton: unknown parameter; valid: label_fraction",
        ),
        (
            "label_fraction: 0.1",
            "label_fraction: half",
            ":8: label_fraction=half: not usable; valid: a number",
        ),
        ("label_fraction: 0.1", "label_fraction: 2", ":8: label_fraction=2.0: not usable; valid: above 0"),
        ("gs://b/scans", "scans", ":6: volumes_uri=scans: a place on one machine"),
        ("gs://b/state", "gs://b//state", ":7: state_uri=gs://b//state: not usable; valid: parts between"),
        ("gs://b/state", '"gs://b/state "', ":7: state_uri='gs://b/state ': not usable"),
        ("label_fraction: 0.1", "patient_pattern: '('", ":8: patient_pattern=(: missing )"),
        ("  volumes_uri: gs://b/scans\n", "", ": volumes_uri=: not usable"),
        ("parameters:", "parameters: [", ":7: no YAML"),
        ("label_fraction: 0.1", f"truncations: {'[' * 3000}", ": no YAML"),
        ("name: weekly", 'name: "we\\n"', r":2: name: 'we\n': not usable"),
        ("name: weekly", f"name: {'w' * 101}", f":2: name: {'w' * 101}: not usable; valid: up to 100"),
        ("name: weekly", 'name: weekly\nexperiment: ""', ":3: experiment: : not usable; valid: a name"),
        ("name: weekly", 'name: weekly\nservice_account: ""', ":3: service_account: : no name of"),
        ("name: weekly", "name: weekly\nservice_account: No Such", ":3: service_account: No Such: no name"),
        ("label_fraction: 0.1", "label_fraction:", ":8: label_fraction=: not usable; valid: a number"),
        ("label_fraction: 0.1", "run_name: mine", ":8: run_name: mine: not usable; valid: none"),
        ("label_fraction: 0.1", "forget_patient: a", ":8: forget_patient: a: not usable; valid: none"),
        ("label_fraction: 0.1", "label_fraction: !tag 1", ":8: no plain value"),
        ("label_fraction: 0.1", "label_fraction: &a [*a]", ":8: no plain value"),
        (
            "name: weekly",
            "name: weekly\npipeline_root: b/a",
            ":3: pipeline_root=b/a: not usable; valid: empty, or",
        ),
        ("label_fraction: 0.1", "[a]: 1", ":8: a list or mapping as key"),
    ],
)
def test_a_mistake_names_its_line(old, new, words, file):
    change(file, old, new)
    with pytest.raises(InputError) as refused:
        read(file, file.parent)
    said = str(refused.value)
    assert said.startswith(f"{file}{words}")
    assert "\n" not in said


@pytest.mark.parametrize(
    "cron",
    [
        "0 0 3 * * 1",
        "30 */15 8-17 ? JAN,jul MON-FRI",
        "0 0 0 1,15 * *",
        "0 5/10 * * * ?",
        "0 0 3 29 2 *",
        "0 0 3 31 feb MON",  # either fires: Mondays in February
        "0 0 3 31 */2 *",  # July is among the months
        "0 0 3 30,31 2,4 ?",
        "0 0 3 28-31 2 *",
        "0 0 3 31 4/2,5 *",
        "0 0 3 */31 2 *",
        "0 0 3 31 4/3 *",  # July again
    ],
)
def test_crons_that_the_scheduler_reads(cron):
    check_cron(cron)


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("@weekly", "1 fields; valid: 6"),
        ("0 0 3 * *", "5 fields; valid: 6, seconds first, e.g. 0 0 0 3 * *"),
        ("0 0 24 * * 1", "24: no hour; valid: \\*, or 0 to 23"),
        ("0 0 3 0 * ?", "0: no day of the month; valid: \\*, or 1 to 31"),
        ("0 0 3 * * 7", "7: no day of the week"),
        ("0 0 3 * * MO", "MO: no day of the week"),
        ("0 0 3 * * FRI-mon", "FRI-mon: ends before it begins; valid: mon-FRI"),
        ("0 0 8,17-9 * * 1", "17-9: ends before it begins; valid: 9-17"),
        ("0 0 3 * * 1; rm", "7 fields"),
        ("0 0 3 31 2 *", "31: no day of month 2; valid: 1 to 29"),
        ("0 0 3 30-31 FEB ?", "30-31: no day of month FEB; valid: 1 to 29"),
        ("0 0 3 31 2,4,JUN-jun,9/2 *", "31: no day of month 2,4,JUN-jun,9/2; valid: 1 to 30"),
        ("0 0 3 30/1 2 */2", "30/1: no day of month 2"),
        ("0 0 3 31 2 1,*", "31: no day of month 2"),
        ("60 0 3 * * 1", "60: no second"),
        ("0 60 3 * * 1", "60: no minute"),
        ("0 */0 3 * * 1", "\\*/0: no minute"),
        ("0 0 3 32 * *", "32: no day of the month"),
        ("0 0 3 1 0 *", "0: no month"),
        ("0 0 3 31 NOV *", "31: no day of month NOV; valid: 1 to 30"),
        ("* 0 3 * * 1", "several runs a minute"),
        ("*/5 0 3 * * 1", "several runs a minute"),
        ("0,30 0 3 * * 1", "several runs a minute"),
    ],
)
def test_crons_that_it_does_not_read_or_reads_otherwise(cron, words):
    with pytest.raises(InputError, match=words):
        check_cron(cron)
