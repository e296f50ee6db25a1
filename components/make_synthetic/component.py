"""KFP interface of make_synthetic."""

from kfp import dsl

from components.shared.images import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, install_kfp_package=False)
def make_synthetic(
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
    sources: str,
    state_uri: str,
    run: str,
    owner: str,
    gan_checkpoint_kimg: float,
) -> str:
    """Train GANs of an open study and sample them, one after the other; their names are separated by blanks.

    A failure is kept as a reason, and the others go on; only where the store is away, or a patient was
    forgotten meanwhile, does the task fail.
    """
    from pathlib import Path

    from components.make_synthetic.stage import Config, make_synthetic
    from components.shared.failures import each_surviving
    from components.shared.ledger import Ledger
    from components.shared.planes import PlaneSet
    from components.shared.progress import Progress
    from components.shared.splits import Splits
    from components.shared.study import Source

    study = Ledger(state_uri=state_uri, run=run)
    named = {f"synthetic {name}": Source.named(name) for name in sources.split()}

    def work(name: str, progress: Progress) -> None:
        config = Config.of(
            state_uri, study.uri, study.parameters() | {"gan_checkpoint_kimg": gan_checkpoint_kimg}
        )
        opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
        make_synthetic(config, named[name], *opened, progress)

    return each_surviving({name: part.uri(study.uri) for name, part in named.items()}, owner, work)
