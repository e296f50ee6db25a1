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
    """Train GANs of an open study and sample them, one after the other; a blank stands between their names.

    A failure is kept as a reason, and the others go on; only where the store is away, or a patient was
    forgotten meanwhile, does the task fail.
    """
    from pathlib import Path

    from components.make_synthetic.stage import Config, make_synthetic
    from components.shared.failures import in_turn, surviving
    from components.shared.ledger import Ledger
    from components.shared.planes import PlaneSet
    from components.shared.progress import stage
    from components.shared.splits import Splits
    from components.shared.study import Source

    study = Ledger(state_uri=state_uri, run=run)
    named = {name: Source.named(name) for name in sources.split()}
    order, killed = in_turn({name: source.uri(study.uri) for name, source in named.items()}, owner)

    def make_one(source: Source) -> str:
        with stage(f"synthetic {source.name}") as progress:

            def work() -> None:
                parameters = study.parameters() | {"gan_checkpoint_kimg": gan_checkpoint_kimg}
                config = Config.of(state_uri, study.uri, parameters)
                opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
                make_synthetic(config, source, *opened, progress)

            return surviving(source.uri(study.uri), f"synthetic {source.name}", owner, work, killed)

    return " ".join([make_one(named[name]) for name in order])
