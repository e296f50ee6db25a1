"""KFP interface of run_arm."""

from kfp import dsl

from components.shared.images import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, install_kfp_package=False)
def run_arm(
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
    cell: str,
    state_uri: str,
    run: str,
    owner: str,
) -> str:
    """Train and test one cell of an open study; a failure becomes its row in the report, the others go on."""
    from pathlib import Path

    from components.run_arm.stage import Config, run_arm
    from components.shared.failures import surviving
    from components.shared.ledger import Ledger
    from components.shared.planes import PlaneSet
    from components.shared.progress import stage
    from components.shared.splits import Splits
    from components.shared.study import Cell

    study, chosen = Ledger(state_uri=state_uri, run=run), Cell.named(cell)
    with stage(f"arm {cell}") as progress:

        def work() -> None:
            config = Config.of(state_uri, study.uri, study.parameters(), study.expert_labels())
            opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
            run_arm(config, chosen, *opened, owner, progress)

        return surviving(chosen.uri(study.uri), f"arm {cell}", owner, work)
