"""KFP interface of split_patients."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def split_patients(state_uri: str, snapshot_digest: str, splits: dsl.Output[dsl.Artifact]) -> None:
    """Assign every patient to train, validation or test; a known patient never changes side."""
    from pathlib import Path

    from components.shared.progress import stage
    from components.split_patients.stage import Config, split_patients

    with stage("split_patients"):
        assigned = split_patients(
            Config(state_uri=state_uri, snapshot_digest=snapshot_digest), Path(splits.path)
        )
        splits.metadata.update({side: len(assigned.patients(side)) for side in set(assigned.sides.values())})
