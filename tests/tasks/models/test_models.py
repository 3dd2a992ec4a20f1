"""Models: shapes, sizes, what they can and can't see."""

import pytest
import torch

from patchlake.tasks.models import NAMES, build, count_weights


@pytest.mark.parametrize(("name", "num_frames"), [("st_cnn", 1), ("st_cnn", 7), ("st_cnn", 16), ("frame_cnn", 1)])
@pytest.mark.parametrize("size", [(16, 16), (30, 44)])
@pytest.mark.parametrize("channels", [1, 3])
def test_logits_have_one_column_per_class(name: str, num_frames: int, size: tuple[int, int], channels: int) -> None:
    model = build(name, 5, channels=channels)
    logits_BK = model(torch.randn(2, channels, num_frames, *size))
    assert logits_BK.shape == (2, 5)
    assert torch.isfinite(logits_BK).all()


def test_the_control_is_of_comparable_size() -> None:
    sizes = {name: count_weights(build(name, 8)) for name in NAMES}
    assert 100_000 < sizes["st_cnn"] < 1_000_000
    assert 0.3 < sizes["frame_cnn"] / sizes["st_cnn"] < 3


def test_weights_follow_from_torch_s_seed() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(build("st_cnn", 3).state_dict()["stem.0.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_the_spacetime_net_sees_the_order_of_frames() -> None:
    torch.manual_seed(0)
    model = build("st_cnn", 4).eval()
    x_BCTHW = torch.randn(1, 3, 8, 32, 32)
    assert (model(x_BCTHW) - model(x_BCTHW.flip(2))).abs().max() > 1e-4


def test_the_single_frame_net_takes_one_frame_only() -> None:
    with pytest.raises(RuntimeError):
        build("frame_cnn", 4)(torch.randn(1, 3, 2, 32, 32))


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"no model is called 'vit'; expected one of st_cnn, frame_cnn"):
        build("vit", 2)
