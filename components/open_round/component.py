"""KFP interfaces of the loop's gate."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def list_rounds(max_rounds: int) -> list[int]:
    """Return the numbers of the rounds to try."""
    from components.open_round.stage import round_ids

    return round_ids(max_rounds)


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def open_round(number: int, state_uri: str, run: str, owner: str) -> str:
    """Return `go`, `sealed` or `stop` from what the ledger holds."""
    from components.open_round.stage import open_round
    from components.shared.ledger import Ledger
    from components.shared.progress import stage

    with stage(f"round {number}: open_round"):
        return open_round(Ledger(state_uri=state_uri, run=run), number, owner)
