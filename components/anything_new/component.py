"""KFP interfaces of the gate before a scheduled run, and of the mark after it."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def anything_new(
    pipeline: str,
    state_uri: str,
    run_name: str,
    fingerprint: str,
    snapshot_digest: str,
    audit: str,
    language: str,
) -> str:
    """Return `go`, or why nothing has to be done."""
    given = dict(locals())

    from components.anything_new.stage import Config, anything_new
    from components.shared.progress import stage

    with stage("anything_new"):
        return anything_new(Config(**given))


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
