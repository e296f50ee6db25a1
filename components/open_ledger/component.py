"""KFP interface of open_ledger."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def open_ledger(
    state_uri: str,
    run_name: str,
    fingerprint: str,
    snapshot_digest: str,
    parameters: dsl.Input[dsl.Artifact],
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
) -> str:
    """Name the run and open its ledger; a repeated run finds its own state."""
    import json
    from pathlib import Path

    from components.open_ledger.stage import Config, open_ledger
    from components.shared.planes import PlaneSet
    from components.shared.progress import stage
    from components.shared.splits import Splits

    with stage("open_ledger"):
        config = Config(
            state_uri=state_uri, run_name=run_name, fingerprint=fingerprint, snapshot_digest=snapshot_digest
        )
        submitted = json.loads(Path(parameters.path).read_text())
        opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
        return open_ledger(config, submitted, *opened)
