"""KFP interface of close_rounds."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def close_rounds(state_uri: str, run: str, owner: str, supervised: dsl.Input[dsl.Model]) -> str:
    """Publish the supervised and the best round's classifier; return the digest of the rounds."""
    from pathlib import Path

    from components.close_rounds.stage import close_rounds
    from components.shared.ledger import Ledger
    from components.shared.progress import stage

    with stage("close_rounds"):
        return close_rounds(Ledger(state_uri=state_uri, run=run), Path(supervised.path), owner)
