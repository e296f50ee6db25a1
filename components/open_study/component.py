"""KFP interfaces of what precedes the arms of a study: its name, and the lists that its loops run over."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def open_study(
    state_uri: str,
    run_name: str,
    fingerprint: str,
    snapshot_digest: str,
    parameters: dsl.Input[dsl.Artifact],
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
) -> str:
    """Name the study and check its folds; a repeated study finds its own state."""
    import json
    from pathlib import Path

    from components.open_study.stage import Config, open_study
    from components.shared.planes import PlaneSet
    from components.shared.progress import stage
    from components.shared.splits import Splits

    with stage("open_study"):
        config = Config(
            state_uri=state_uri, run_name=run_name, fingerprint=fingerprint, snapshot_digest=snapshot_digest
        )
        submitted = json.loads(Path(parameters.path).read_text())
        opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
        return open_study(config, submitted, *opened)


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def list_folds(folds: int) -> list[int]:
    """Return the folds that are tested in turn."""
    return list(range(folds))


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def list_cells(
    fold: int, label_fractions: list[float], seeds: int, gans: int, arms: str, folds: int, step: str
) -> list[str]:
    """Return the names of a fold's cells: of the baseline arms, or of those with pseudo-labels."""
    from components.shared.study import Grid

    grid = Grid(folds=folds, fractions=label_fractions, seeds=seeds, gans=gans, arms=arms)
    return [cell.name for cell in grid.cells(fold, step)]


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def list_sources(
    fold: int, label_fractions: list[float], seeds: int, gans: int, arms: str, folds: int
) -> list[str]:
    """Return the names of the sets of synthetic images that a fold's arms ask for."""
    from components.shared.study import Grid

    grid = Grid(folds=folds, fractions=label_fractions, seeds=seeds, gans=gans, arms=arms)
    return [source.name for source in grid.sources(fold)]
