"""KFP interface of split_patients."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def split_patients(state_uri: str, planes: dsl.Input[dsl.Dataset], splits: dsl.Output[dsl.Artifact]) -> None:
    """Assign every patient to train, validation or test; a known patient never changes side."""
    from pathlib import Path

    from components.shared.planes import PlaneSet
    from components.shared.progress import stage
    from components.split_patients.stage import Config, split_patients

    with stage("split_patients"):
        opened = PlaneSet.open(Path(planes.path))
        assigned = split_patients(Config(state_uri=state_uri), opened, Path(splits.path))
        splits.metadata.update({side: len(assigned.patients(side)) for side in set(assigned.sides.values())})
