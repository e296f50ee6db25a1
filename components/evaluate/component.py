"""KFP interface of evaluate."""

from kfp import dsl

from components.shared.images import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, install_kfp_package=False)
def evaluate(
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
    supervised: dsl.Input[dsl.Model],
    state_uri: str,
    run: str,
    rounds_digest: str,
    evaluation: dsl.Output[dsl.Artifact],
) -> None:
    """Measure the supervised and every round's classifier on the test patients.

    rounds_digest keys the cache, since the rounds are read from the ledger, and is checked against it.
    """
    import tempfile
    from pathlib import Path

    from components.evaluate.stage import Config, calibration_lines, evaluate
    from components.shared.ledger import Ledger
    from components.shared.planes import PlaneSet
    from components.shared.progress import emit, stage
    from components.shared.splits import Splits

    with stage("evaluate") as progress, tempfile.TemporaryDirectory() as folder:
        models = Ledger(state_uri=state_uri, run=run).fetch_rounds(Path(folder), rounds_digest)
        models = {"supervised": Path(supervised.path), **models}
        opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
        for line in calibration_lines(evaluate(Config(), *opened, models, Path(evaluation.path), progress)):
            emit("evaluate", "note", message=line)
