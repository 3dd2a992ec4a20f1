"""The ranks that train together; with a single rank no communication is set up."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Group:
    """This process's rank in the group; created by `join`."""

    rank: int = 0
    world_size: int = 1

    def add(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over ranks."""
        if self.world_size > 1:
            dist.all_reduce(tensor)

    def sum(self, number: int) -> int:
        """Return the sum of a number over ranks."""
        if self.world_size == 1:
            return number
        box = torch.tensor(number)  # on the CPU, which every group supports
        dist.all_reduce(box)
        return int(box)

    def add_gradients(self, model: nn.Module) -> None:
        """Replace every gradient by its sum over ranks, in one message; a missing one counts as zero."""
        if self.world_size == 1:
            return
        weights = [p for p in model.parameters() if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in weights])
        dist.all_reduce(flat)
        for p, grad in zip(weights, torch.split(flat, [p.numel() for p in weights]), strict=True):
            p.grad = grad.view_as(p)

    def average_buffers(self, model: nn.Module) -> None:
        """Replace running statistics (batch norm's) by their mean over ranks, so that all have the same model."""
        for buffer in model.buffers():
            if self.world_size > 1 and buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= self.world_size

    def from_first(self, value: Any) -> Any:
        """Return rank 0's value (picklable) on every rank."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def check_equal(self, value: str) -> None:
        """Raise RuntimeError unless all ranks have the same value, e.g. the digest of their weights."""
        if self.world_size > 1:
            values: list[Any] = [None] * self.world_size
            dist.all_gather_object(values, value)
            if len(set(values)) > 1:
                raise RuntimeError(f"ranks have drifted apart: {values}")

    def wait(self) -> None:
        """Return once every rank has called this."""
        if self.world_size > 1:
            dist.barrier()


def join() -> Group:
    """Join the group that torchrun's environment variables describe: gloo for the CPU, nccl for CUDA.

    PATCHLAKE_GROUP_TIMEOUT_SECONDS (default 300) limits the wait for a peer, including the time it reads data.
    """
    group = Group(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    if group.world_size > 1:
        seconds = float(os.environ.get("PATCHLAKE_GROUP_TIMEOUT_SECONDS", "300"))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        timeout = timedelta(seconds=seconds)
        store = _store(group, timeout)
        dist.init_process_group(backend, store=store, rank=group.rank, world_size=group.world_size, timeout=timeout)
    return group


def _store(group: Group, timeout: timedelta) -> Any:
    """Return the store by which ranks meet, on MASTER_ADDR only; by default torch listens on all addresses."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    listener = None
    if group.rank == 0:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family).detach()
    make: Any = dist.TCPStore  # type: ignore[attr-defined]
    return make(host, port, group.world_size, is_master=group.rank == 0, timeout=timeout, master_listen_fd=listener)


def pick_device() -> torch.device:
    """Return this rank's GPU (by LOCAL_RANK) or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device
