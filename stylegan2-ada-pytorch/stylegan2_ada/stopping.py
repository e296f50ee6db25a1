"""The notice to end that a pod gets before it is killed: heard at any time, followed between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from stylegan2_ada.distributed import Ranks

_STEPS = 4  # of several processes between two questions whether one has got a notice


class Notice:
    """Whether SIGTERM has come."""

    def __init__(self) -> None:
        self.received = False

    def hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (a handler's signature)
        """Note the signal."""
        self.received = True

    def reached(self, ranks: Ranks, step: int, device: torch.device) -> bool:
        """Tell whether any process of the run has got it, so that all stop after the same step."""
        if ranks.count == 1:
            return self.received
        if step % _STEPS:
            return False
        got = torch.tensor([float(self.received)], device=device)
        ranks.add_up([got])
        return bool(got.item())


@contextmanager
def heard() -> Iterator[Notice]:
    """Hear SIGTERM while the body runs; only a main thread can, elsewhere it ends the process as ever."""
    notice = Notice()
    if threading.current_thread() is not threading.main_thread():
        yield notice
        return
    before = signal.signal(signal.SIGTERM, notice.hear)
    try:
        yield notice
    finally:
        signal.signal(signal.SIGTERM, before)
