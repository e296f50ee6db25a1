"""KFP interface of snapshot_volumes."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def snapshot_volumes(
    volumes_uri: str,
    patient_pattern: str,
    pseudonym_key_uri: str,
    state_uri: str,
    minimum_patients: int = 3,
    forget_patient: str = "",
) -> str:
    """List the volumes; return a digest that changes exactly when a name or a content does."""
    from components.shared.progress import stage
    from components.snapshot_volumes.stage import Config, snapshot

    with stage("snapshot_volumes"):
        config = Config(
            volumes_uri=volumes_uri,
            patient_pattern=patient_pattern,
            pseudonym_key_uri=pseudonym_key_uri,
            state_uri=state_uri,
            minimum_patients=minimum_patients,
            forget_patient=forget_patient,
        )
        return snapshot(config)
