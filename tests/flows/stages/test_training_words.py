"""What a training says while it runs."""

import pytest

from patchlake.flows.stages.train import epoch_sentence, say

EPOCH = {"event": "epoch", "rank": 0, "variant": "st_cnn", "epoch": 3, "train_loss": 0.25, "seconds": 1.5}


def test_an_epoch_is_a_sentence_with_the_objective_s_figures() -> None:
    accuracy = epoch_sentence({**EPOCH, "attempt": "a", "test_accuracy": 0.5})
    assert accuracy == "train st_cnn: epoch 3, loss 0.250, test accuracy 0.500, 1.5 s"
    both = epoch_sentence({**EPOCH, "test_r2": 0.5, "test_mae": 2.0})
    assert both == "train st_cnn: epoch 3, loss 0.250, test r2 0.500, test mae 2.000, 1.5 s"


def test_only_what_matters_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    say({"event": "gang_started", "attempt": 0, "workers": []})
    say({"event": "gang_failed", "attempt": 0, "message": "Traceback\nValueError: no"})
    assert capsys.readouterr().err == "train: ValueError: no; all ranks start again from the last checkpoint\n"
