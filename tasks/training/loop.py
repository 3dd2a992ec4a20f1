"""The training loop of one variant on one rank: epochs of steps, a test and a checkpoint after each.

Each rank's gradient is its share's sum over the number of terms of the whole batch; ranks add these up, which is exact
for uneven shares. The objective defines what is learnt.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchlake.tasks import failpoints, models
from patchlake.tasks.loading.batches import Batch, Sampler
from patchlake.tasks.loading.prefetch import prefetch
from patchlake.tasks.loading.reader import ClipFrames
from patchlake.tasks.loading.windows import epoch_order, num_steps, rank_share
from patchlake.tasks.objectives.objective import Figures
from patchlake.tasks.objectives.variants import variant_of
from patchlake.tasks.storage.location import Location
from patchlake.tasks.training import checkpoint
from patchlake.tasks.training.evaluate import clip_outputs
from patchlake.tasks.training.group import Group
from patchlake.tasks.training.job import TrainJob

NORMALISATION = {"mean": 127.5, "scale": 64.0}
"""A model's input is (pixel - mean) / scale."""

CHECKPOINT = "checkpoint.pt"
WEIGHT_DECAY = 0.05
WARM_UP = 0.1
"""Share of all steps during which the learning rate rises."""


@dataclass(frozen=True, slots=True)
class Rank:
    """Where a loop runs, and how it reports."""

    group: Group
    device: torch.device
    emit: Callable[[dict[str, Any]], None]
    """Called on rank 0 with each epoch's figures, after its checkpoint is in place."""


def train(job: TrainJob, variant: str, frames: ClipFrames, rank: Rank) -> dict[str, Any]:
    """Train one variant, from its checkpoint if there is one, and return its results (on every rank).

    Rank 0 writes FOLDER/VARIANT/{checkpoint.pt, model.pt, model.json}. Raises RuntimeError if a peer is lost.
    """
    trainer = _Trainer(job, variant, frames, rank)
    for epoch in range(trainer.resume(), trainer.options.epochs):
        started = time.perf_counter()
        loss = trainer.train_epoch(epoch)
        figures = trainer.test()
        trainer.keep(epoch, loss, figures, time.perf_counter() - started)
    return trainer.finish()


def learning_rate(step: int, total: int, peak: float) -> float:
    """Return the rate of a step: linear warm-up, then a half cosine to zero (Loshchilov and Hutter 2017)."""
    rise = max(1, round(WARM_UP * total))
    if step < rise:
        return peak * (step + 1) / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


class _Trainer:
    """The state of one variant's training: weights, optimizer, learning curve, latest figures."""

    def __init__(self, job: TrainJob, variant: str, frames: ClipFrames, rank: Rank) -> None:
        self.job, self.rank, self.options = job, rank, job.train_options
        self.variant, self.digest = variant_of(variant), job.digest(variant)
        self.folder = Location(job.folder) / variant
        self.objective = job.objective.fitted(job.clips, job.outputs)
        torch.manual_seed(self.options.seed)
        self.entry = self.variant.model(self.options)
        self.model = models.build(self.entry, channels=frames.channels)
        self.model.head = self.objective.head(self.model.num_channels)
        self.model.to(rank.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), weight_decay=WEIGHT_DECAY)
        self.sampler = Sampler(frames, job.clips, self.options.window, self.variant.view, self.options.seed)
        is_test = np.array([clip.test for clip in job.clips])
        self.train_clips, self.test_clips = np.flatnonzero(~is_test), np.flatnonzero(is_test)
        self.curve: list[dict[str, Any]] = []
        self.figures: Figures = {}

    def resume(self) -> int:
        """Load rank 0's checkpoint, or else its initial weights, on every rank; return the first epoch to train."""
        group = self.rank.group
        mine = None
        if group.rank == 0:
            mine = checkpoint.load(self.folder, CHECKPOINT, self.digest) or self._state()
        state = group.from_first(mine)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.curve, self.figures = state["curve"], state["figures"]
        return len(self.curve)

    def train_epoch(self, epoch: int) -> float:
        """Step through the training clips once; return the mean loss over terms."""
        group, options = self.rank.group, self.options
        torch.manual_seed(int(np.random.SeedSequence([options.seed, epoch, group.rank]).generate_state(1)[0]))
        order = self.train_clips[epoch_order(len(self.train_clips), options.seed, epoch)]
        steps = num_steps(len(order), options.batch_size)
        shares = [rank_share(order, step, options.batch_size, group.rank, group.world_size) for step in range(steps)]
        total = torch.zeros((), dtype=torch.float64, device=self.rank.device)
        terms = 0
        self.model.train()
        for step, batch in enumerate(prefetch(partial(self.sampler.train, share, epoch) for share in shares)):
            rate = learning_rate(epoch * steps + step, options.epochs * steps, options.learning_rate)
            loss, number = self._step(batch, rate)
            total += loss
            terms += number
            failpoints.reach("training_step")
        group.add(total)
        group.average_buffers(self.model)
        return float(total) / terms

    def test(self) -> Figures:
        """Return the figures of all test clips."""
        self.model.eval()
        outputs_NK = clip_outputs(
            lambda batch: self.model(self._input(batch)), self.sampler, self.test_clips,
            num_outputs=len(self.job.outputs), batch_size=self.options.batch_size,
            group=self.rank.group, device=self.rank.device,
        )  # fmt: skip
        clips = [self.job.clips[i] for i in self.test_clips]
        return self.objective.figures(self.objective.statistics(outputs_NK, clips))

    def keep(self, epoch: int, loss: float, figures: Figures, seconds: float) -> None:
        """Add the epoch to the curve; on rank 0 write the checkpoint, then report the epoch."""
        point = {"epoch": epoch, "train_loss": loss, **self.objective.curve_point(figures), "seconds": seconds}
        self.curve.append(point)
        self.figures = figures
        failpoints.reach("epoch_trained")
        if self.rank.group.rank == 0:
            checkpoint.save(self.folder, CHECKPOINT, self._state())
            failpoints.reach("checkpoint_written")
            self.rank.emit({"event": "epoch", "variant": self.variant.name, **point})

    def finish(self) -> dict[str, Any]:
        """Save the model on rank 0, return the results; RuntimeError if the ranks hold different models."""
        weights = self.model.state_dict()
        weights_digest = checkpoint.weights_digest(weights)
        self.rank.group.check_equal(weights_digest)
        if self.rank.group.rank == 0:
            checkpoint.save_model(self.folder, weights, self._card())
        return {
            **self.figures,
            "curve": self.curve,
            "weights_digest": weights_digest,
            "num_weights": models.count_weights(self.model),
            "model": str(self.folder / "model.pt"),
            "seconds": sum(point["seconds"] for point in self.curve),
        }

    def _card(self) -> dict[str, Any]:
        architecture = models.card_of(self.entry)
        return {
            "architecture": architecture.pop("architecture"),
            "variant": self.variant.name,
            **self.objective.described(),
            "channels": self.sampler.frames.channels,
            "window_frames": self.variant.view.num_frames(self.options.window_frames),
            "window_stride": self.options.window_stride,
            "size": list(self.sampler.frames.size),
            "normalisation": NORMALISATION,
            **architecture,
        }

    def _state(self) -> dict[str, Any]:
        """The full state of training; random draws depend only on (seed, epoch), schedules on the step."""
        return {
            "digest": self.digest,
            "variant": self.variant.name,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": self.curve,
            "figures": self.figures,
        }

    def _step(self, batch: Batch, rate: float) -> tuple[Tensor, int]:
        """Update the weights by one batch; return this rank's sum of losses, and the number of terms on all ranks."""
        for settings in self.optimizer.param_groups:
            settings["lr"] = rate
        self.optimizer.zero_grad()
        loss, number = torch.zeros((), device=self.rank.device), 0
        if len(batch.target_B):
            target_B = torch.from_numpy(batch.target_B).to(self.rank.device)
            loss, number = self.objective.loss(self.model(self._input(batch)), target_B)
        number = self.rank.group.sum(number)
        if len(batch.target_B):
            torch.autograd.backward(loss / number)
        self.rank.group.add_gradients(self.model)
        self.optimizer.step()
        return loss.detach(), number

    def _input(self, batch: Batch) -> Tensor:
        """Return x_BCTHW, float and normalised, on the device; frames are transferred as uint8."""
        x_BCTHW = torch.from_numpy(batch.x_BTHWC).to(self.rank.device).permute(0, 4, 1, 2, 3).float()
        gain_BC111 = torch.from_numpy(batch.gain_BC).to(self.rank.device)[:, :, None, None, None]
        return (x_BCTHW * gain_BC111 - NORMALISATION["mean"]) / NORMALISATION["scale"]
