"""The training loop of one variant on one rank: epochs of steps, a test and a checkpoint after each.

Gradients are sums over shares divided by the global batch, added up over ranks: exact for uneven shares.
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
from torch.nn import functional as F

from patchlake.tasks import failpoints
from patchlake.tasks.models import build, count_weights
from patchlake.tasks.storage.location import Location
from patchlake.tasks.training import checkpoint
from patchlake.tasks.training.data import Batch, ClipFrames, Sampler, prefetch
from patchlake.tasks.training.group import Group
from patchlake.tasks.training.job import TrainJob
from patchlake.tasks.training.metrics import Score, score_sources
from patchlake.tasks.training.windows import epoch_order, num_steps, rank_share

NORMALISATION = {"mean": 127.5, "scale": 64.0}
"""Models see (pixel - mean) / scale."""

CHECKPOINT = "checkpoint.pt"
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
WARM_UP = 0.1
"""Share of all steps during which the learning rate rises."""


@dataclass(frozen=True, slots=True)
class Rank:
    """Where a loop runs and whom it tells."""

    group: Group
    device: torch.device
    emit: Callable[[dict[str, Any]], None]
    """Called on rank 0 with each epoch's figures, after its checkpoint is in place."""


def train(job: TrainJob, variant: str, frames: ClipFrames, rank: Rank) -> dict[str, Any]:
    """Train one variant, from its checkpoint where there is one, and return its results (on every rank).

    Rank 0 writes FOLDER/VARIANT/{checkpoint.pt, model.pt, model.json}. Raises RuntimeError when a peer is
    lost.
    """
    run = _Run(job, variant, frames, rank)
    for epoch in range(run.resume(), run.spec.epochs):
        started = time.perf_counter()
        loss = run.train_epoch(epoch)
        score = run.test()
        run.keep(epoch, loss, score, time.perf_counter() - started)
    return run.finish()


def learning_rate(step: int, total: int, peak: float) -> float:
    """Return the rate of a step: a line up, then a half cosine to zero (Loshchilov and Hutter 2017)."""
    rise = max(1, round(WARM_UP * total))
    if step < rise:
        return peak * (step + 1) / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


class _Run:
    """The state of one variant's training: weights, optimizer, learning curve, last confusion matrix."""

    def __init__(self, job: TrainJob, variant: str, frames: ClipFrames, rank: Rank) -> None:
        self.job, self.variant, self.rank, self.spec = job, variant, rank, job.train_spec
        self.folder = Location(job.folder) / variant
        self.architecture = "frame_cnn" if variant == "single_frame" else self.spec.model
        torch.manual_seed(self.spec.seed)
        self.model = build(self.architecture, len(job.classes), channels=frames.channels).to(rank.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), weight_decay=WEIGHT_DECAY)
        self.sampler = Sampler(frames, job.clips, self.spec, variant)
        is_test = np.array([clip.test for clip in job.clips])
        self.train_clips, self.test_clips = np.flatnonzero(~is_test), np.flatnonzero(is_test)
        self.curve: list[dict[str, Any]] = []
        self.score = Score(np.zeros((len(job.classes),) * 2, np.int64))

    def resume(self) -> int:
        """Take over rank 0's checkpoint, or else its fresh weights; return the first epoch to train."""
        group = self.rank.group
        mine = None
        if group.rank == 0:
            mine = checkpoint.load(self.folder, CHECKPOINT, self.job.digest(self.variant)) or self._state()
        state = group.from_first(mine)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.curve, self.score = state["curve"], Score(np.array(state["confusion"], np.int64))
        return len(self.curve)

    def train_epoch(self, epoch: int) -> float:
        """Step through the training clips once; return the mean loss."""
        group, size = self.rank.group, self.spec.batch_size
        torch.manual_seed(int(np.random.SeedSequence([self.spec.seed, epoch, group.rank]).generate_state(1)[0]))
        order = self.train_clips[epoch_order(len(self.train_clips), self.spec.seed, epoch)]
        steps = num_steps(len(order), size)
        shares = [rank_share(order, step, size, group.rank, group.world_size) for step in range(steps)]
        total = torch.zeros((), dtype=torch.float64, device=self.rank.device)
        self.model.train()
        for step, batch in enumerate(prefetch(partial(self.sampler.train, share, epoch) for share in shares)):
            rate = learning_rate(epoch * steps + step, self.spec.epochs * steps, self.spec.learning_rate)
            total += self._step(batch, rate, min(size, len(order) - step * size))
            failpoints.reach("training_step")
        group.add(total)
        group.average_buffers(self.model)
        return float(total) / len(order)

    def test(self) -> Score:
        """Return the score on all test sources; each rank sees its share, no clip is seen twice."""
        group = self.rank.group
        windows = self.sampler.test_windows(self.test_clips[group.rank :: group.world_size])
        parts = [windows[i : i + self.spec.batch_size] for i in range(0, len(windows), self.spec.batch_size)]
        sums = np.zeros((len(self.job.clips), len(self.job.classes) + 1))
        self.model.eval()
        with torch.inference_mode():
            for batch in prefetch(partial(self.sampler.test, part) for part in parts):
                logits_BK = self.model(self._input(batch)).cpu().double().numpy()
                np.add.at(sums[:, :-1], batch.clip_B, logits_BK)
                np.add.at(sums[:, -1], batch.clip_B, 1)
        shared = torch.from_numpy(sums[self.test_clips]).to(self.rank.device)
        group.add(shared)
        sums = shared.cpu().numpy()
        return score_sources(sums[:, :-1] / sums[:, -1:], [self.job.clips[i] for i in self.test_clips])

    def keep(self, epoch: int, loss: float, score: Score, seconds: float) -> None:
        """Add the epoch to the curve; on rank 0 put the checkpoint in place, then tell."""
        figures = {"epoch": epoch, "train_loss": loss, "test_accuracy": score.accuracy, "seconds": seconds}
        self.curve.append(figures)
        self.score = score
        failpoints.reach("epoch_trained")
        if self.rank.group.rank == 0:
            checkpoint.save(self.folder, CHECKPOINT, self._state())
            failpoints.reach("checkpoint_written")
            self.rank.emit({"event": "epoch", "variant": self.variant, **figures})

    def finish(self) -> dict[str, Any]:
        """Save the model on rank 0, return the results; RuntimeError if the ranks hold different models."""
        weights = self.model.state_dict()
        weights_digest = checkpoint.weights_digest(weights)
        self.rank.group.check_equal(weights_digest)
        card = {
            "architecture": self.architecture,
            "variant": self.variant,
            "classes": list(self.job.classes),
            "channels": self.sampler.frames.channels,
            "window_frames": 1 if self.variant == "single_frame" else self.spec.window_frames,
            "window_stride": self.spec.window_stride,
            "size": list(self.sampler.frames.size),
            "normalisation": NORMALISATION,
        }
        if self.rank.group.rank == 0:
            checkpoint.save_model(self.folder, weights, card)
        return {
            **self.score.to_dict(),
            "curve": self.curve,
            "weights_digest": weights_digest,
            "num_weights": count_weights(self.model),
            "model": str(self.folder / "model.pt"),
            "seconds": sum(figures["seconds"] for figures in self.curve),
        }

    def _state(self) -> dict[str, Any]:
        """All that training depends on; draws follow from (seed, epoch), schedules from the step."""
        return {
            "digest": self.job.digest(self.variant),
            "variant": self.variant,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": self.curve,
            "confusion": self.score.confusion.tolist(),
        }

    def _step(self, batch: Batch, rate: float, num_global: int) -> Tensor:
        """Update the weights by one batch of `num_global` clips in all; return the sum of own losses."""
        for settings in self.optimizer.param_groups:
            settings["lr"] = rate
        self.optimizer.zero_grad()
        loss = torch.zeros((), device=self.rank.device)
        if len(batch.y_B):
            y_B = torch.from_numpy(batch.y_B).to(self.rank.device)
            logits_BK = self.model(self._input(batch))
            loss = F.cross_entropy(logits_BK, y_B, reduction="sum", label_smoothing=LABEL_SMOOTHING)
            torch.autograd.backward(loss / num_global)
        self.rank.group.add_gradients(self.model)
        self.optimizer.step()
        return loss.detach()

    def _input(self, batch: Batch) -> Tensor:
        """Return x_BCTHW, float and normalised, on the device; frames travel as uint8."""
        x_BCTHW = torch.from_numpy(batch.x_BTHWC).to(self.rank.device).permute(0, 4, 1, 2, 3).float()
        gain_BC111 = torch.from_numpy(batch.gain_BC).to(self.rank.device)[:, :, None, None, None]
        return (x_BCTHW * gain_BC111 - NORMALISATION["mean"]) / NORMALISATION["scale"]
