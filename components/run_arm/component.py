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
    """Train and test cells of an open study, one after the other; their names are separated by blanks.

    A cell's failure becomes its row in the report, and the others go on; only where the store is away, or a
    patient was forgotten meanwhile, does the task fail.
    """
    from pathlib import Path

    from components.run_arm.stage import Config, run_arm
    from components.shared.failures import each_surviving
    from components.shared.ledger import Ledger
    from components.shared.planes import PlaneSet
    from components.shared.progress import Progress
    from components.shared.splits import Splits
    from components.shared.study import Cell

    study = Ledger(state_uri=state_uri, run=run)
    named = {f"arm {name}": Cell.named(name) for name in cells.split()}

    def work(name: str, progress: Progress) -> None:
        config = Config.of(state_uri, study.uri, study.parameters(), study.expert_labels())
        opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
        run_arm(config, named[name], *opened, owner, progress)

    return each_surviving({name: part.uri(study.uri) for name, part in named.items()}, owner, work)
