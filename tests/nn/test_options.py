"""Layer normalisation, dropouts and zoneout do what their papers say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from longspan import nn
from tests.nn.beside_torch import KINDS, B, H, I, T, both, gradients, recorded, same, states

# oneDNN says once that it leaves projections to the plain implementation, which is the one we compare with.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


class TestOptions:
    """Options beside torch.nn's."""

    @pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
    def test_layer_norm(self, backend: str, kind: str):
        _, plain = both(kind)
        name, own = KINDS[kind]
        layer = getattr(nn, name)(I, H, layer_norm=True, **own)
        layer.load_state_dict(plain.state_dict(), strict=False)
        x = torch.randn(T, B, I)
        # Without biases and with a first state of 0 the normed product ignores how large the input is.
        for tensor in (layer.bias_ih_l0, layer.bias_hh_l0):
            torch.nn.init.zeros_(tensor)
        same(layer(x)[0][0], layer(x * 100)[0][0], rtol=1e-3, atol=1e-3)
        assert (layer(x)[0] - plain(x)[0]).abs().max() > 1e-2
        assert all(g.any() for g in gradients(layer(x), [layer.norm_x_l0, layer.norm_r_l0]))

    @pytest.mark.parametrize(
        "options",
        [
            {"recurrent_dropout": 0.5},
            {"zoneout": 0.3},
            {"weight_dropout": 0.5},
            {"num_layers": 2, "dropout": 0.5},
        ],
        ids=str,
    )
    def test_randomness_follows_the_seed(self, backend: str, options: dict[str, Any]):
        layer, x = nn.LSTM(I, H, **options), torch.randn(T, B, I)
        outputs = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            outputs.append(layer(x)[0])
        assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])
        layer.eval()
        assert torch.equal(layer(x)[0], layer(x)[0])

    def test_recurrent_dropout_is_one_scaled_mask_a_sequence(self, monkeypatch: pytest.MonkeyPatch):
        jobs = recorded(monkeypatch)
        layer = nn.LSTM(I, 200, 2, bidirectional=True, recurrent_dropout=0.25)
        layer(torch.randn(T, B, I))
        assert [job.dropout_mask.shape for job in jobs] == [(2, B, 200)] * 2
        same(jobs[0].dropout_mask.unique(), torch.tensor([0.0, 4 / 3]))
        assert abs((jobs[0].dropout_mask == 0).float().mean() - 0.25) < 0.05
        layer.eval()(torch.randn(T, B, I))
        assert jobs[-1].dropout_mask is None

    def test_weight_dropout_masks_r_and_scales_it(self, monkeypatch: pytest.MonkeyPatch):
        jobs = recorded(monkeypatch)
        layer: Any = nn.LSTM(I, 50, weight_dropout=0.25)
        out, _ = layer(torch.randn(T, B, I))
        used = jobs[0].weights[0].r
        kept = used != 0
        same(used[kept], layer.weight_hh_l0[kept] * 4 / 3)
        assert abs(kept.float().mean() - 0.75) < 0.02
        assert not gradients(out, [layer.weight_hh_l0])[0][~kept].any()
        layer.eval()(torch.randn(T, B, I))
        assert jobs[-1].weights[0].r is layer.weight_hh_l0

    def test_zoneout_of_one_keeps_everything(self, backend: str):
        layer, x = nn.LSTM(I, H, zoneout=1.0), torch.randn(T, B, I)
        given = states(layer)
        for training in (True, False):
            out, last = layer.train(training)(x, given)
            same(last, given)
            same(out, given[0].expand(T, B, H))

    def test_zoneout_by_state(self, backend: str):
        layer, x = nn.LSTM(I, H, zoneout=(0.0, 1.0)), torch.randn(T, B, I)
        given = states(layer)
        _, (h, c) = layer(x, given)
        same(c, given[1])
        assert (h - given[0]).abs().min() > 0

    def test_zoneout_blends_in_evaluation(self, backend: str):
        layer = nn.GRU(I, H, zoneout=0.3).eval()
        plain = nn.GRU(I, H)
        plain.load_state_dict(layer.state_dict())
        x, h = torch.randn(1, B, I), torch.randn(1, B, H)
        same(layer(x, h)[1], 0.3 * h + 0.7 * plain(x, h)[1])
