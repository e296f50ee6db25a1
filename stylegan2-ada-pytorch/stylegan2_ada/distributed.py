"""How a step's batch is cut over processes and over what fits a device, and how the parts come together.

Every process holds all networks and all images. A step's numbers are those of the whole batch, however cut:
each process adds up its parts' gradients, one sum over all processes follows a phase.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.distributed.rendezvous import rendezvous

from stylegan2_ada.devices import own_device
from stylegan2_ada.errors import UsageError

_MEET_S = 120.0  # for all processes to find each other
_ANSWER_S = 3600.0  # for the others' part of a sum: the first process also measures and writes


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The place of this process among those of the run."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Tell whether this is the process that writes."""
        return self.rank == 0

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each float tensor by its sum over all processes, in one exchange."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.flatten().float() for tensor in tensors])
        distributed.all_reduce(flat)
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, total in zip(tensors, torch.split(flat, sizes), strict=True):
            tensor.copy_(total.view_as(tensor))

    def agree(self, number: int, device: torch.device) -> bool:
        """Tell whether all processes hold the same number; every process must ask."""
        if self.count == 1:
            return True
        extremes = torch.tensor([number, -number], device=device)
        distributed.all_reduce(extremes, distributed.ReduceOp.MAX)
        most, least = extremes.tolist()
        return bool(most == -least)

    def led(self, act: Callable[[], object], device: torch.device) -> None:
        """Let the first process act before the others go on; where it is refused, all processes end."""
        refusal: Exception | None = None
        if self.first:
            try:
                act()
            except (UsageError, OSError) as error:
                refusal = error
        refused = torch.tensor([float(refusal is not None)], device=device)
        self.add_up([refused])
        if refusal is not None:
            raise refusal
        if refused.item():
            raise UsageError(
                f"rank={self.rank}: the first process cannot go on;"
                " valid: what the first process's own message asks for"
            )


def place() -> Ranks:
    """Return which of torchrun's processes this is; alone where it started none."""
    return Ranks(rank=int(os.environ.get("RANK", "0")), count=int(os.environ.get("WORLD_SIZE", "1")))


@contextmanager
def join(device: torch.device, meet_s: float = _MEET_S) -> Iterator[tuple[Ranks, torch.device]]:
    """Meet the other processes that torchrun started; yield which one this is, and its device.

    Without torchrun the process is alone. Raises UsageError where the others do not come in time.
    """
    if place().count == 1:
        yield Ranks(), device
        return
    device = own_device(device)
    ranks = _meet(device, meet_s)
    try:
        yield ranks, device
    finally:
        distributed.destroy_process_group()


def _meet(device: torch.device, meet_s: float) -> Ranks:
    place = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
    wait = timedelta(seconds=meet_s)
    try:
        store, rank, count = next(iter(rendezvous("env://", timeout=wait)))
        store.set_timeout(wait)
        on_gpu = device.type == "cuda"
        # Told the device, NCCL connects here, where a failure is one of meeting.
        distributed.init_process_group(
            "nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=count,
            timeout=timedelta(seconds=_ANSWER_S), device_id=device if on_gpu else None,
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"MASTER_ADDR={place}: the processes did not meet within {meet_s:g} s ({reason});"
            " valid: an address that all reach, and WORLD_SIZE processes started by torchrun"
        ) from error
    return Ranks(rank=rank, count=count)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Images that a process works on at once."""

    count: int  # images in the batch
    rows: Tensor  # their places in it
    rows_host: Tensor  # the same, on the CPU
    own: Tensor  # their places among the images of this process

    @property
    def whole(self) -> bool:
        """Tell whether the part is all of the batch; its images then stand in their order."""
        return len(self.rows_host) == self.count

    def of(self, values: Tensor) -> Tensor:
        """Take this part of something of the whole batch."""
        return values if self.whole else values[self.rows]

    def of_own(self, values: Tensor) -> Tensor:
        """Take this part of something of this process's images."""
        return values if self.whole else values[self.own]


def own_rows(count: int, group: int, ranks: Ranks) -> NDArray[np.int64]:
    """Return the places in a batch of count images that fall to this process, in order."""
    return _rows(_columns(count, group, ranks), count, group)


def cut(count: int, group: int, ranks: Ranks, most: int, device: torch.device) -> list[Part]:
    """Cut this process's share of a batch into parts of at most so many images; 0: one part.

    Minibatch deviation puts image i into one group with i + count/group, i + 2 count/group and so on. A part
    takes whole groups, in an order in which it finds the same ones again.
    """
    columns = _columns(count, group, ranks)
    pieces = -(-len(columns) // max(most // group, 1)) if most else 1
    own = _rows(columns, count, group)
    parts = []
    for piece in np.array_split(columns, pieces):
        rows = _rows(piece, count, group)
        places = torch.from_numpy(np.searchsorted(own, rows)).to(device)
        host = torch.from_numpy(rows)
        parts.append(Part(count=count, rows=host.to(device), rows_host=host, own=places))
    return parts


def _columns(count: int, group: int, ranks: Ranks) -> NDArray[np.int64]:
    if count // group < ranks.count:
        raise UsageError(
            f"batch={count}: {count // group} group(s) of {group} images for {ranks.count} processes;"
            f" valid: at least {group * ranks.count}, or a smaller group"
        )
    return np.array_split(np.arange(count // group), ranks.count)[ranks.rank]


def _rows(columns: NDArray[np.int64], count: int, group: int) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = (np.arange(group)[:, None] * (count // group) + columns).ravel()
    return rows
