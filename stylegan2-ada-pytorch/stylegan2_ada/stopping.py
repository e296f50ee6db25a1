"""The notice to end, SIGTERM or Ctrl-C: heard at any time, followed between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from stylegan2_ada.distributed import Ranks

_STEPS = 4  # of several processes between two questions whether one has got a notice
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Notice:
    """Whether a signal to end has come, and which."""

    def __init__(self) -> None:
        self.received = False
        self.signal = signal.SIGTERM

    def hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (a handler's signature)
        """Note the signal; who presses Ctrl-C again does not want to wait for the step."""
        if self.received and number == self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.received, self.signal = True, signal.Signals(number)

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
    """Hear signals while the body runs, but for those that whoever started the process has it ignore.

    Only a main thread can; elsewhere they end the process as ever.
    """
    notice = Notice()
    if threading.current_thread() is not threading.main_thread():
        yield notice
        return
    heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, notice.hear) for number in heeded}
    try:
        yield notice
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
