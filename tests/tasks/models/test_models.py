"""Models: forward passes by hand, sizes, what they can and can't see."""

import numpy as np
import pydantic
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from patchlake.tasks import models
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.models import MODELS, build, card_of, count_weights, of_card
from patchlake.tasks.objectives.heads import MeanLinear


@pytest.mark.parametrize(("name", "num_frames"), [("st_cnn", 1), ("st_cnn", 7), ("st_cnn", 16), ("frame_cnn", 1)])
@pytest.mark.parametrize("size", [(16, 16), (30, 44)])
@pytest.mark.parametrize("channels", [1, 3])
def test_outputs_are_a_linear_layer_of_the_maps_mean(
    name: str, num_frames: int, size: tuple[int, int], channels: int
) -> None:
    model = build(name, channels=channels).eval()
    x_BCTHW = torch.randn(2, channels, num_frames, *size)
    maps_BTYXC = model(x_BCTHW).detach().numpy()
    assert maps_BTYXC.shape[0] == 2
    assert maps_BTYXC.shape[-1] == model.num_channels
    model.head = MeanLinear(model.num_channels, 5)
    weight, bias = (p.detach().numpy() for p in (model.head.weight, model.head.bias))
    expected = maps_BTYXC.mean(axis=(1, 2, 3)) @ weight.T + bias
    np.testing.assert_allclose(model(x_BCTHW).detach(), expected, rtol=1e-4, atol=1e-5)


def by_hand(stage: nn.Sequential, x: torch.Tensor, stride: tuple[int, ...], padding: tuple[int, ...]) -> torch.Tensor:
    """Convolution, normalisation by running figures, ReLU, as sums over shifted slices of the padded input."""
    weight, norm = stage[0].weight.detach(), stage[1]
    x = F.pad(x, [n for p in reversed(padding) for n in (p, p)])
    kernel = weight.shape[2:]
    shape = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    out = torch.zeros(x.shape[0], weight.shape[0], *shape, dtype=x.dtype)
    for offset in np.ndindex(*kernel):
        slices = [slice(o, o + (n - 1) * s + 1, s) for o, n, s in zip(offset, shape, stride, strict=True)]
        out += torch.einsum("bc...,kc->bk...", x[(slice(None), slice(None), *slices)], weight[(..., *offset)])
    view = (1, -1, *([1] * len(kernel)))
    mean, var = norm.running_mean.view(view), norm.running_var.view(view)
    out = (out - mean) / torch.sqrt(var + norm.eps) * norm.weight.detach().view(view) + norm.bias.detach().view(view)
    return out.clamp(min=0)


def randomised(model: nn.Module) -> nn.Module:
    """Running figures as a trained network has them, in double precision."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model.double().eval()


def test_the_spacetime_net_s_maps_by_hand() -> None:
    torch.manual_seed(0)
    model = randomised(build(MODELS.entry({"kind": "st_cnn", "width": 2})))
    x_BCTHW = torch.randn(2, 3, 4, 16, 20, dtype=torch.float64)
    x = 2 * (x_BCTHW - x_BCTHW.mean(dim=2, keepdim=True))
    x = by_hand(model.stem, x, (1, 4, 4), (2, 1, 1))
    for stage in model.stages:
        x = by_hand(stage, x, (2, 2, 2), (1, 1, 1))
    torch.testing.assert_close(model(x_BCTHW).detach(), x.permute(0, 2, 3, 4, 1))


def test_the_single_frame_net_s_maps_by_hand() -> None:
    torch.manual_seed(0)
    model = randomised(build(MODELS.entry({"kind": "frame_cnn", "width": 2})))
    x_BCTHW = torch.randn(2, 3, 1, 32, 24, dtype=torch.float64)
    x = by_hand(model.stages[0], x_BCTHW[:, :, 0], (4, 4), (1, 1))
    for stage in (model.stages[1], model.stages[2]):
        x = by_hand(stage, x, (2, 2), (1, 1))
    torch.testing.assert_close(model(x_BCTHW).detach(), x.permute(0, 2, 3, 1).unsqueeze(1))


def test_the_control_is_of_comparable_size() -> None:
    sizes = {name: count_weights(build(name)) for name in MODELS.ours}
    assert 100_000 < sizes["st_cnn"] < 1_000_000
    assert 0.3 < sizes["frame_cnn"] / sizes["st_cnn"] < 3


def test_weights_follow_from_torch_s_seed() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(build("st_cnn").state_dict()["stem.0.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_the_spacetime_net_sees_the_order_of_frames() -> None:
    torch.manual_seed(0)
    model = build("st_cnn").eval()
    x_BCTHW = torch.randn(1, 3, 8, 32, 32)
    told = [model(x).mean(dim=(1, 2, 3)) for x in (x_BCTHW, x_BCTHW.flip(2))]
    assert (told[0] - told[1]).abs().max() > 1e-4


def test_the_single_frame_net_takes_one_frame_only() -> None:
    with pytest.raises(RuntimeError):
        build("frame_cnn")(torch.randn(1, 3, 2, 32, 32))


def test_a_card_describes_its_model() -> None:
    assert card_of(MODELS.entry("st_cnn")) == {"architecture": "st_cnn"}
    wide = MODELS.entry({"kind": "st_cnn", "width": 8})
    card = {**card_of(wide), "channels": 1}
    assert card == {"architecture": "st_cnn", "options": {"width": 8}, "channels": 1}
    assert of_card(card).stem[0].weight.shape[:2] == (8, 1)


def test_unknown_name() -> None:
    with pytest.raises(RecipeError, match=r"got kind 'vit'; expected one of: 'st_cnn', 'frame_cnn'"):
        build("vit")
    with pytest.raises(ValueError, match="got kind 'vit'"):
        models.of_card({"architecture": "vit", "channels": 3})
    with pytest.raises(pydantic.ValidationError):
        MODELS.entry({"kind": "st_cnn", "height": 3})
