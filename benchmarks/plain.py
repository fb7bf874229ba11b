"""Implements the LSTM's variants as plain PyTorch loops: what a user without these kernels would write."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F


def loop(layer: Module, x: Tensor, *, recurrent_dropout: float = 0.0, zoneout: float = 0.0) -> Tensor:
    """The output (T, B, H) for x (T, B, I), with a longspan layer's own parameters.

    Layer norm and peepholes are applied where the layer has parameters for them: Ba et al. 2016, arXiv
    1607.06450, equations 20 to 22; Graves 2013, arXiv 1308.0850, equations 7 to 11. Recurrent dropout: one
    mask on h for a sequence (Gal and Ghahramani 2016, arXiv 1512.05287). Zoneout: Krueger et al. 2017, arXiv
    1606.01305, equations 3 and 4.
    """
    w = {name.removesuffix("_l0"): parameter for name, parameter in layer.named_parameters()}
    hidden = w["weight_hh"].shape[1]
    peep = w.get("weight_p")
    h = c = x.new_zeros(x.shape[1], hidden)
    drop = F.dropout(torch.ones_like(h), recurrent_dropout, layer.training) if recurrent_dropout else None
    shape = (2, x.shape[0], x.shape[1], hidden)
    zones = torch.rand(shape) < zoneout if layer.training else torch.full(shape[:2], zoneout)
    outs: list[Tensor] = []
    for t, x_t in enumerate(x.unbind(0)):
        given = _normed(F.linear(x_t, w["weight_ih"]), w.get("norm_x")) + w["bias_ih"]
        read = h if drop is None else h * drop
        product = _normed(F.linear(read, w["weight_hh"]), w.get("norm_r")) + w["bias_hh"]
        i, f, g, o = (given + product).chunk(4, -1)
        if peep is not None:
            i, f = i + peep[0] * c, f + peep[1] * c
        new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        o = torch.sigmoid(o if peep is None else o + peep[2] * new_c)
        shown = new_c
        if "norm_c" in w:
            shown = F.layer_norm(new_c, (hidden,), w["norm_c"], w["norm_c_bias"])
        new_h = o * torch.tanh(shown)
        h, c = (
            _keep(z[t], old, new, zoneout) for z, old, new in zip(zones, (h, c), (new_h, new_c), strict=True)
        )
        outs.append(h)
    return torch.stack(outs)


def _normed(v: Tensor, scale: Tensor | None) -> Tensor:
    return v if scale is None else F.layer_norm(v, v.shape[-1:], scale)


def _keep(zone: Tensor, old: Tensor, new: Tensor, rate: float) -> Tensor:
    """The old value where a mask says so, or the blend by the rate where the zone is one number."""
    if not rate:
        return new
    return torch.where(zone, old, new) if zone.dtype == torch.bool else zone * old + (1 - zone) * new
