"""KFP interface of run_arm."""

from kfp import dsl

from components.shared.images import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, install_kfp_package=False)
def run_arm(
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
    cells: str,
    state_uri: str,
    run: str,
    owner: str,
) -> str:
    """Train and test cells of an open study, one after the other; a blank stands between their names.

    A cell's failure becomes its row in the report, and the others go on; only where the store is away, or a
    patient was forgotten meanwhile, does the task fail.
    """
    from pathlib import Path

    from components.run_arm.stage import Config, run_arm
    from components.shared.failures import in_turn, surviving
    from components.shared.ledger import Ledger
    from components.shared.planes import PlaneSet
    from components.shared.progress import stage
    from components.shared.splits import Splits
    from components.shared.study import Cell

    study = Ledger(state_uri=state_uri, run=run)
    named = {name: Cell.named(name) for name in cells.split()}
    order, killed = in_turn({name: cell.uri(study.uri) for name, cell in named.items()}, owner)

    def run_one(cell: Cell) -> str:
        with stage(f"arm {cell.name}") as progress:

            def work() -> None:
                config = Config.of(state_uri, study.uri, study.parameters(), study.expert_labels())
                opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
                run_arm(config, cell, *opened, owner, progress)

            return surviving(cell.uri(study.uri), f"arm {cell.name}", owner, work, killed)

    return " ".join([run_one(named[name]) for name in order])
