"""KFP interfaces of the gate before a scheduled run, and of the mark after it."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def anything_new(
    volumes_uri: str,
    patient_pattern: str,
    pseudonym_key_uri: str,
    forget_patient: str,
    pipeline: str,
    state_uri: str,
    run_name: str,
    fingerprint: str,
    audit: str,
    language: str,
) -> str:
    """List the volumes; return `go`, or why nothing has to be done."""
    given = dict(locals())

    from components.anything_new.stage import Config, anything_new
    from components.shared.progress import stage
    from components.snapshot_volumes.stage import Config as Volumes
    from components.snapshot_volumes.stage import snapshot

    named = ("volumes_uri", "patient_pattern", "pseudonym_key_uri", "forget_patient")
    with stage("anything_new"):
        volumes = Volumes(state_uri=state_uri, **{name: given.pop(name) for name in named})
        return anything_new(Config(snapshot_digest=snapshot(volumes), **given))


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def keep_finished(
    pipeline: str,
    state_uri: str,
    run_name: str,
    fingerprint: str,
    snapshot_digest: str,
    audit: str,
    language: str,
) -> None:
    """Leave the mark that the next run of the same looks for."""
    given = dict(locals())

    from components.anything_new.stage import Config, keep_finished
    from components.shared.progress import stage

    with stage("keep_finished"):
        keep_finished(Config(**given))
