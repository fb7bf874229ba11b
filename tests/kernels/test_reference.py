"""The reference against torch.nn, packed sequences and plain loops written here from the papers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from longspan.cells import CELLS, Cell, Values, cell
from longspan.kernels.job import Job, Result, Weights, Zoneout
from longspan.kernels.reference import refuses, run

T, B, I, H, R = 7, 4, 3, 5, 2
LENGTHS = torch.tensor([7, 3, 1, 5])

FIELDS = {"x": "weight_ih", "r": "weight_hh", "bx": "bias_ih", "br": "bias_hh"}
MODULES: dict[str, dict[str, Any]] = {
    "rnn": {"kind": torch.nn.RNN},
    "rnn_relu": {"kind": torch.nn.RNN, "nonlinearity": "relu"},
    "lstm": {"kind": torch.nn.LSTM},
    "gru": {"kind": torch.nn.GRU},
    "lstm projected": {"kind": torch.nn.LSTM, "proj_size": R},
}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def close(got: Any, want: Any, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


def same(got: Result, want: Result) -> None:
    close((got.out, *got.state), (want.out, *want.state), 0.0)


def torch_module(name: str, bias: bool = True, bidirectional: bool = True) -> Any:
    options = dict(MODULES[name])
    return options.pop("kind")(I, H, bias=bias, bidirectional=bidirectional, **options)


def of_module(module: Any) -> tuple[Weights, ...]:
    """The module's parameters as weights, one a direction."""
    ways = ("", "_reverse")[: 1 + module.bidirectional]
    fields = FIELDS if module.bias else {k: v for k, v in FIELDS.items() if "bias" not in v}
    fields = fields | ({"proj": "weight_hr"} if module.proj_size else {})
    return tuple(Weights(**{k: getattr(module, f"{v}_l0{way}") for k, v in fields.items()}) for way in ways)


def random_weights(c: Cell, directions: int = 1, width: int = H, **more: Any) -> tuple[Weights, ...]:
    def one() -> Weights:
        g = len(c.gates) * H
        r = torch.randn(g, width) if c.recurrent else None
        return Weights(torch.randn(g, I), r, torch.randn(g), torch.randn(g) if c.recurrent else None)

    extras = {"p": torch.randn(len(c.params), H)} if c.params else {}
    return tuple(replace(one(), **extras, **more) for _ in range(directions))


def random_state(c: Cell, directions: int = 1, rows: int = B, width: int = H) -> tuple[Tensor, ...]:
    """A state that a run could have left: small, with a normaliser n of at least 1."""
    state = {k: 0.5 * torch.randn(directions, rows, width if k == "h" else H) for k in c.states}
    if "n" in state:
        state["n"] = 1 + state["n"].abs()
    return tuple(state.values())


def random_job(name: str, directions: int = 1, rows: int = B, steps: int = T, **more: Any) -> Job:
    c = CELLS[name]
    x, state = torch.randn(steps, rows, I), random_state(c, directions, rows)
    return Job(c, x, state, random_weights(c, directions), **more)


def row(job: Job, b: int) -> Job:
    """One row of a job, without lengths, masks and resets."""
    return Job(job.cell, job.x[:, b : b + 1], tuple(s[:, b : b + 1] for s in job.state), job.weights)


def of_torch(module: Any, x: Any, state: tuple[Tensor, ...]) -> tuple[Any, tuple[Tensor, ...]]:
    out, final = module(x, state if len(state) == 2 else state[0])
    return out, final if len(state) == 2 else (final,)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_equals_torch(name: str, bias: bool) -> None:
    module, c = torch_module(name, bias), CELLS[name.split()[0]]
    x, state = torch.randn(T, B, I), random_state(c, 2, width=R if module.proj_size else H)
    got = run(Job(c, x, state, of_module(module)))
    out, final = of_torch(module, x, state)
    close(got.out, out)
    close(got.state, final)
    assert got.gates is None


@pytest.mark.parametrize("name", MODULES)
def test_lengths_equal_packed_sequences(name: str) -> None:
    """Outputs, final states and every gradient, in both directions, with NaN in the padding."""
    module, c = torch_module(name), CELLS[name.split()[0]]
    width = R if module.proj_size else H
    state = tuple(s.requires_grad_() for s in random_state(c, 2, width=width))
    x = torch.randn(T, B, I, requires_grad=True)
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    wanted, final = of_torch(module, packed, state)
    out, _ = pad_packed_sequence(wanted, total_length=T)
    padding = torch.arange(T)[:, None, None] >= LENGTHS[:, None]
    dirty = x.masked_fill(padding, torch.nan)
    got = run(Job(c, dirty, state, of_module(module), lengths=LENGTHS))
    close(got.out, out)
    close(got.state, final)
    leaves = [x, *state, *module.parameters()]
    shares = [torch.randn_like(out), *[torch.randn_like(s) for s in final]]
    want = torch.autograd.grad([out, *final], leaves, shares)
    close(torch.autograd.grad([got.out, *got.state], leaves, shares), want)


@pytest.mark.parametrize("name", CELLS)
def test_rows_do_not_depend_on_their_batch(name: str) -> None:
    lengths = torch.tensor([2, 0, T, 1])
    job = random_job(name, 2, lengths=lengths)
    got = run(job)
    for b, length in enumerate(lengths.tolist()):
        alone = run(replace(row(job, b), x=job.x[:length, b : b + 1]))
        close(got.out[:length, b : b + 1], alone.out)
        close([s[:, b : b + 1] for s in got.state], list(alone.state))
        assert (got.out[length:, b] == 0).all()
    close([s[:, 1] for s in got.state], [s[:, 1] for s in job.state], 0.0)


def test_any_strides() -> None:
    job = random_job("lstm", 2)
    strided = torch.randn(B, T, 2 * I)[..., ::2].transpose(0, 1)
    close(run(replace(job, x=strided)).out, run(replace(job, x=strided.contiguous())).out)


def test_no_steps() -> None:
    job = random_job("lstm", 2, steps=0, gates=True)
    got = run(job)
    assert got.out.shape == (0, B, 2 * H)
    assert got.gates is not None
    assert [{k: v.shape for k, v in one.items()} for one in got.gates] == [
        dict.fromkeys("ifgohc", (B, 0, H))
    ] * 2
    close(got.state, job.state, 0.0)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("directions", [1, 2])
def test_a_masked_step_carries_the_state(name: str, directions: int) -> None:
    """As if the step were not there; its output is the state carried over it."""
    mask = torch.rand(T, B) < 0.6
    job = random_job(name, directions, mask=mask)
    job = replace(job, x=job.x.masked_fill(~mask.unsqueeze(-1), torch.nan))
    got = run(job)
    for b in range(B):
        alone = run(replace(row(job, b), x=job.x[mask[:, b], b : b + 1]))
        close([s[:, b : b + 1] for s in got.state], list(alone.state))
        close(got.out[mask[:, b], b : b + 1], alone.out)
        for d in range(directions):
            carried = job.state[0][d, b]
            for t in reversed(range(T)) if d else range(T):
                shown = got.out[t, b, d * H : (d + 1) * H]
                close(shown, shown if mask[t, b] else carried, 0.0)
                carried = shown


def test_lengths_and_mask_together() -> None:
    mask = torch.rand(T, B) < 0.6
    job = random_job("gru", 2, lengths=LENGTHS, mask=mask)
    got = run(job)
    beyond = torch.arange(T)[:, None] >= LENGTHS
    assert (got.out[beyond] == 0).all()
    same(got, run(replace(job, mask=mask | beyond)))
    same(got, run(replace(job, mask=mask & ~beyond)))
    masked = run(replace(job, mask=mask & ~beyond, lengths=None))
    close(got.state, masked.state)
    close(got.out[~beyond], masked.out[~beyond])


def starting(job: Job) -> tuple[Tensor, ...]:
    return tuple(
        torch.full_like(s, job.cell.initial.get(k, 0.0))
        for k, s in zip(job.cell.states, job.state, strict=True)
    )


@pytest.mark.parametrize("name", CELLS)
def test_a_reset_begins_anew(name: str) -> None:
    """Forwards the part from the reset on, backwards the part up to it, run from the constants."""
    at = 3
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[at, 1] = True
    job = random_job(name, 2, reset=reset)
    got, plain = run(job), run(replace(job, reset=None))
    others = [0, 2, 3]
    close(got.out[:, others], plain.out[:, others], 0.0)
    alone = replace(row(job, 1), state=tuple(s[:, 1:2] for s in starting(job)))
    after, before = run(replace(alone, x=alone.x[at:])), run(replace(alone, x=alone.x[: at + 1]))
    close(got.out[:at, 1, :H], plain.out[:at, 1, :H])
    close(got.out[at:, 1, :H], after.out[:, 0, :H])
    close(got.out[: at + 1, 1, H:], before.out[:, 0, H:])
    close(got.out[at + 1 :, 1, H:], plain.out[at + 1 :, 1, H:])
    close([s[0, 1] for s in got.state], [s[0, 0] for s in after.state])
    close([s[1, 1] for s in got.state], [s[1, 0] for s in before.state])


def test_a_reset_stops_the_gradient() -> None:
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[2] = True
    job = random_job("lstm", reset=reset)
    x = job.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(run(replace(job, x=x)).state[1].sum(), x)
    assert (gradient[:2] == 0).all()
    assert (gradient[2:] != 0).all()


def test_a_reset_at_a_masked_step_counts_and_beyond_the_length_does_not() -> None:
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[3] = True
    mask = ~reset
    job = random_job("slstm", reset=reset, mask=mask)
    got, want = run(job), run(replace(job, mask=None, x=job.x[4:], reset=None, state=starting(job)))
    close(got.out[3], torch.zeros(B, H), 0.0)
    close(got.state, want.state)
    short = replace(job, lengths=torch.full((B,), 3))
    same(run(short), run(replace(short, reset=None)))


@pytest.mark.parametrize("projected", [False, True])
def test_recurrent_dropout_scales_h_where_r_reads_it(projected: bool) -> None:
    c, width = CELLS["lstm"], R if projected else H
    weights = random_weights(c, width=width, proj=torch.randn(R, H) if projected else None)
    drop = (torch.rand(1, B, width) < 0.7) / 0.7
    job = Job(c, torch.randn(T, B, I), random_state(c, width=width), weights, dropout_mask=drop)
    w, (h, s) = weights[0], (v[0] for v in job.state)
    outs = []
    assert w.r is not None
    assert w.bx is not None
    assert w.br is not None
    for x in job.x:
        a = x @ w.x.T + w.bx + (h * drop[0]) @ w.r.T + w.br
        i, f, g, o = a.chunk(4, -1)
        s = f.sigmoid() * s + i.sigmoid() * g.tanh()
        h = o.sigmoid() * s.tanh()
        h = h if w.proj is None else h @ w.proj.T
        outs.append(h)
    got = run(job)
    close(got.out, torch.stack(outs))
    close(got.state, (h[None], s[None]))


@pytest.mark.parametrize("kept", ["mask", "rate"])
def test_zoneout_keeps_or_blends(kept: str) -> None:
    job = random_job("lstm", 2)
    masks = [(torch.rand(2, T, B, H) < 0.4).to(torch.uint8) for _ in "hc"]
    zone = tuple(Zoneout(0.3, m if kept == "mask" else None) for m in masks)
    cells = [torch.nn.LSTMCell(I, H) for _ in range(2)]
    got = run(replace(job, zoneout=zone, weights=tuple(of_cell(m) for m in cells)))
    for d, module in enumerate(cells):
        h, c = (s[d] for s in job.state)
        for t in reversed(range(T)) if d else range(T):
            new = module(job.x[t], (h, c))
            z = [m[d, t].to(h.dtype) if kept == "mask" else 0.3 for m in masks]
            h, c = (k * old + (1 - k) * n for k, old, n in zip(z, (h, c), new, strict=True))
            close(got.out[t, :, d * H : (d + 1) * H], h)
        close([s[d] for s in got.state], [h, c])


def of_cell(module: torch.nn.LSTMCell) -> Weights:
    return Weights(**{k: getattr(module, v) for k, v in FIELDS.items()})


def test_zoneout_of_one_state_only() -> None:
    job = random_job("lstm")
    nothing = torch.zeros(1, T, B, H, dtype=torch.uint8)
    one = run(replace(job, zoneout=(None, Zoneout(0.5, 1 - nothing))))
    close(one.state[1], job.state[1], 0.0)
    same(run(replace(job, zoneout=(Zoneout(0.5, nothing), None))), run(job))


def normalised(v: Tensor) -> Tensor:
    mean = v.mean(-1, keepdim=True)
    return (v - mean) / ((v - mean).square().mean(-1, keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize("name", ["lstm", "peephole", "cifg"])
def test_layer_norm_equals_a_plain_loop(name: str) -> None:
    """Ba et al. 2016, equations 20 to 22: of W x and of R h over all gates, of c where h reads it."""
    c = CELLS[name]
    g = len(c.gates) * H
    norms = {"norm_x": g, "norm_r": g, "norm_c": H, "norm_c_bias": H}
    norm: dict[str, Any] = {k: torch.randn(n, requires_grad=True) for k, n in norms.items()}
    weights = random_weights(c, **norm)
    job = Job(c, torch.randn(T, B, I, requires_grad=True), random_state(c), weights)
    w: Any = weights[0]
    h, s = (v[0] for v in job.state)
    outs = []
    for x in job.x:
        a = normalised(x @ w.x.T) * w.norm_x + w.bx + normalised(h @ w.r.T) * w.norm_r + w.br
        a = dict(zip(c.gates, a.chunk(len(c.gates), -1), strict=True))
        p = dict(zip(c.params, w.p, strict=True)) if c.params else dict.fromkeys("ifo", torch.zeros(H))
        f = (a["f"] + p["f"] * s).sigmoid()
        i = (a["i"] + p["i"] * s).sigmoid() if "i" in a else 1 - f
        s = f * s + i * a["g"].tanh()
        shown = normalised(s) * w.norm_c + w.norm_c_bias
        h = (a["o"] + p["o"] * shown).sigmoid() * shown.tanh()
        outs.append(h)
    out, got = torch.stack(outs), run(job)
    close(got.out, out)
    close(got.state, (h[None], s[None]))
    leaves = [job.x, w.norm_x, w.norm_r, w.norm_c, w.norm_c_bias]
    share = torch.randn_like(out)
    close(torch.autograd.grad(got.out, leaves, share), torch.autograd.grad(out, leaves, share))


def test_layer_norm_of_gru() -> None:
    c = CELLS["gru"]
    weights = random_weights(c, norm_x=torch.randn(3 * H), norm_r=torch.randn(3 * H))
    job = Job(c, torch.randn(T, B, I), random_state(c), weights)
    w: Any = weights[0]
    h = job.state[0][0]
    for x in job.x:
        xr, xz, xn = (normalised(x @ w.x.T) * w.norm_x + w.bx).chunk(3, -1)
        rr, rz, rn = (normalised(h @ w.r.T) * w.norm_r + w.br).chunk(3, -1)
        z = (xz + rz).sigmoid()
        h = (1 - z) * (xn + (xr + rr).sigmoid() * rn).tanh() + z * h
    close(run(job).state, (h[None],))


def test_slstm_equals_the_unstabilised_equations() -> None:
    """Beck et al. 2024, equations 8 to 14: c and n without the division by exp(m)."""
    c = CELLS["slstm"]
    job = random_job("slstm")
    job = replace(job, state=starting(job))
    w: Any = job.weights[0]
    h = s = n = torch.zeros(B, H)
    got = run(job)
    for t, x in enumerate(job.x):
        a = x @ w.x.T + w.bx + h @ w.r.T + w.br
        i, f, g, o = a.chunk(4, -1)
        s = f.sigmoid() * s + i.exp() * g.tanh()
        n = f.sigmoid() * n + i.exp()
        h = o.sigmoid() * s / n
        close(got.out[t], h)
    carried = dict(zip(c.states, got.state, strict=True))
    close(carried["c"][0] * carried["m"][0].exp(), s)
    close(carried["n"][0] * carried["m"][0].exp(), n)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CELLS)
def test_saturated_inputs_stay_finite(name: str, dtype: torch.dtype) -> None:
    c = CELLS[name]
    g = len(c.gates) * H
    size = I if name not in ("rnn_relu", "indrnn") else 1  # what is linear in x grows with it
    x = (60.0 / size * torch.randint(-1, 2, (3 * T, B, I))).to(dtype).requires_grad_()
    p = torch.ones(len(c.params), H, dtype=dtype) if c.params else None
    r = 0.1 * torch.ones(g, H, dtype=dtype) if c.recurrent else None
    weights = Weights(torch.ones(g, I, dtype=dtype), r, p=p)
    state = starting(Job(c, x, tuple(torch.zeros(1, B, H, dtype=dtype) for _ in c.states), (weights,)))
    got = run(Job(c, x, state, (weights,)))
    (gradient,) = torch.autograd.grad(got.out.sum() + sum(s.sum() for s in got.state), x)
    assert got.out.isfinite().all()
    assert gradient.isfinite().all()


def test_a_half_precision_reset_holds_what_it_can() -> None:
    job = random_job("slstm")
    halves: list[dict[str, Any]] = [
        {k: None if v is None else v.half() for k, v in vars(w).items()} for w in job.weights
    ]
    low = Job(
        job.cell,
        job.x.half(),
        tuple(s.half() for s in job.state),
        tuple(Weights(**w) for w in halves),
        reset=torch.ones(T, B, dtype=torch.bool),
    )
    assert run(low).out.isfinite().all()


@cell(gates="fz", states="hc", params="u", initial={"c": 0.5})
def mine(x: Values, r: Values, s: Values, p: Values) -> tuple[Any, ...]:
    """A user's cell: a minimal gated unit with a slow trace."""
    f = (x.f + r.f).sigmoid()
    c = 0.9 * s.c + p.u * s.h
    return f * s.h + (1 - f) * (x.z + c).tanh(), c


@pytest.mark.parametrize("c", [*CELLS.values(), mine], ids=lambda c: c.name)
def test_gradients_by_finite_differences(c: Cell) -> None:
    """Of all that can be learned, with lengths, mask, reset, dropout and zoneout, in both directions."""
    steps, rows = 3, 2
    leaves = [torch.randn(steps, rows, I), *random_state(c, 2, rows)]
    weights = random_weights(c, 2)
    names = [k for k, v in vars(weights[0]).items() if v is not None]
    leaves += [getattr(w, k) for w in weights for k in names]
    more: dict[str, Any] = {
        "lengths": torch.tensor([3, 2]),
        "mask": torch.tensor([[True, False], [True, True], [False, True]]),
        "reset": torch.tensor([[False, False], [True, False], [False, False]]),
        "dropout_mask": torch.rand(2, rows, H),
        "zoneout": (Zoneout(0.2), *(None if "m" in c.states else Zoneout(0.1) for _ in c.states[1:])),
    }
    shared = torch.randn(256)

    def loss(*given: Tensor) -> Tensor:
        count = len(c.states)
        parts = [dict(zip(names, part, strict=True)) for part in in_two(given[1 + count :])]
        job = Job(c, given[0], given[1 : 1 + count], tuple(Weights(**part) for part in parts), **more)
        got = run(job)
        everything = torch.cat([v.flatten() for v in (got.out, *got.state)])
        return (everything * shared[: len(everything)]).sum()

    inputs = [v.requires_grad_() for v in leaves]
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True)


def in_two(values: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    return values[: len(values) // 2], values[len(values) // 2 :]


def test_second_derivatives_and_torch_func() -> None:
    job = random_job("lstm", rows=2, steps=2, lengths=torch.tensor([2, 1]))

    def final(x: Tensor) -> Tensor:
        return run(replace(job, x=x)).state[0]

    assert torch.autograd.gradgradcheck(final, job.x.clone().requires_grad_(), fast_mode=True)
    many = torch.randn(3, *job.x.shape)
    close(torch.func.vmap(final)(many), torch.stack([final(x) for x in many]))
    close(torch.func.jacrev(final)(job.x), torch.autograd.functional.jacobian(final, job.x))


def test_compiles_into_one_graph() -> None:
    job = random_job("slstm", rows=2, steps=2, lengths=torch.tensor([2, 1]))

    def out(x: Tensor) -> Tensor:
        return run(replace(job, x=x)).out

    close(torch.compile(out, fullgraph=True, backend="eager")(job.x), out(job.x))


def by_hand(module: torch.nn.LSTMCell, x: Tensor, h: Tensor) -> dict[str, Tensor]:
    a = x @ module.weight_ih.T + module.bias_ih + h @ module.weight_hh.T + module.bias_hh
    i, f, g, o = a.chunk(4, -1)
    return {"i": i.sigmoid(), "f": f.sigmoid(), "g": g.tanh(), "o": o.sigmoid()}


def test_gates_and_states_of_every_step() -> None:
    mask = torch.rand(T, B) < 0.7
    module = torch.nn.LSTMCell(I, H)
    job = random_job("lstm", 2, lengths=LENGTHS, mask=mask, gates=True)
    job = replace(job, weights=(of_cell(module),) * 2)
    got = run(job)
    assert got.gates is not None
    live = torch.arange(T)[:, None] < LENGTHS
    for d in range(2):
        h, c = (s[d] for s in job.state)
        for t in reversed(range(T)) if d else range(T):
            now, gates = live[t, :, None] & mask[t, :, None], by_hand(module, job.x[t], h)
            new_h, new_c = module(job.x[t], (h, c))
            h, c = torch.where(now, new_h, h), torch.where(now, new_c, c)
            for k, want in gates.items():
                close(got.gates[d][k][:, t], want * now)
            close(got.gates[d]["h"][:, t], h * live[t, :, None])
            close(got.gates[d]["c"][:, t], c * live[t, :, None])
    close(torch.cat([one["h"] for one in got.gates], -1).transpose(0, 1), got.out, 0.0)


@pytest.mark.parametrize("c", [*CELLS.values(), mine], ids=lambda c: c.name)
def test_asking_for_gates_changes_nothing(c: Cell) -> None:
    job = Job(c, torch.randn(T, B, I), random_state(c), random_weights(c))
    plain, asked = run(job), run(replace(job, gates=True))
    close(asked.out, plain.out)
    assert asked.gates is not None
    (shown,) = asked.gates
    assert list(shown) == [*c.gates, *c.states]
    assert {v.shape for v in shown.values()} == {(B, T, H)}
    close([shown[k][None, :, -1] for k in c.states], list(plain.state))


def test_gates_of_projected_and_normed_layers() -> None:
    c = CELLS["lstm"]
    weights = random_weights(c, width=R, proj=torch.randn(R, H), norm_c=torch.ones(H))
    got = run(Job(c, torch.randn(T, B, I), random_state(c, width=R), weights, gates=True))
    assert got.gates is not None
    (shown,) = got.gates
    assert shown["h"].shape == (B, T, R)
    want = shown["o"] * normalised(shown["c"]).tanh()
    assert weights[0].proj is not None
    close(got.out, want.transpose(0, 1) @ weights[0].proj.T)


def test_a_user_cell_runs_from_its_initial_constants() -> None:
    job = Job(mine, torch.randn(T, B, I), random_state(mine), random_weights(mine))
    got: Result = run(replace(job, reset=torch.ones(T, B, dtype=torch.bool)))
    w: Any = job.weights[0]
    f, z = (job.x @ w.x.T + w.bx + w.br).chunk(2, -1)
    z = z - w.br.chunk(2)[1]  # the step leaves r.z out
    close(got.out, (1 - f.sigmoid()) * (z + 0.45).tanh())
    close(got.state[1], torch.full((1, B, H), 0.45))


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        (
            "gru",
            {"proj": torch.ones(R, H)},
            "proj_size: expected a cell that reads h only through R, received",
        ),
        ("indrnn", {"proj": torch.ones(R, H)}, "received 'indrnn', whose step reads h itself; leave the"),
        ("rnn", {"norm_c": torch.ones(H)}, "norm_c: expected a cell with a state c, received 'rnn'"),
        ("rnn", {"r": None}, "r: expected a matrix R for the cell 'rnn', received none; correct the weights"),
        ("indrnn", {"r": torch.ones(H, H)}, "r: expected no matrix R for the cell 'indrnn', received one"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, changes: dict[str, Any], words: str) -> None:
    job = random_job(name)
    assert refuses(job) is None
    job = replace(job, weights=tuple(replace(w, **changes) for w in job.weights))
    reason = refuses(job)
    assert reason is not None
    assert words in reason
    with pytest.raises(ValueError, match=words):
        run(job)
