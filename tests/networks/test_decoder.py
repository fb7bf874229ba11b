"""The decoder: one step gives the numbers of the whole sequence, and searches work over it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from longspan import search
from longspan.kernels import single_step
from longspan.networks import Decoder, DecoderState

V, E, H, M, S = 13, 6, 8, 5, 7
END = 0


def make(dtype: torch.dtype = torch.float64, seed: int = 0, **options: Any) -> Decoder:
    torch.manual_seed(seed)
    decoder = Decoder(V, E, options.pop("hidden_size", H), **options).to(dtype).eval()
    with torch.no_grad():  # so that every part has a say
        for parameter in decoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return decoder


def read(decoder: Decoder, rows: int = 3, **more: Any):
    """A memory with places that do not count, which hold NaN."""
    memory = torch.randn(rows, S, M, dtype=decoder.embedding.weight.dtype)
    lengths = torch.tensor([S, 4, 2, 1, S, 3][:rows])
    for row, length in enumerate(lengths):
        memory[row, length:] = torch.nan
    if decoder.generate is not None:
        more = {"tokens": torch.randint(V + 2, (rows, S)), "extra": 2, **more}
    return decoder.remember(memory, lengths, **more)


WITH_MEMORY = [
    {"attention": kind, "memory_size": M, **options}
    for kind in ("additive", "multiplicative")
    for options in (
        {},
        {"num_layers": 1},
        {"coverage": True},
        {"copy": True},
        {"coverage": True, "copy": True, "num_layers": 3, "tied": False},
    )
]
WITHOUT = [
    {"num_layers": 1},
    {"num_layers": 3, "tied": False},
    {"hidden_size": (9, 11, E), "num_layers": 3},
    {"cell": "GRU", "summary_size": 4},
    {"cell": "slstm", "layer_norm": True},
    {"zoneout": 0.2, "forget_bias": 1.0},
]


@pytest.mark.parametrize("options", [*WITH_MEMORY, *WITHOUT], ids=str)
def test_one_step_gives_the_numbers_of_the_whole_sequence(options: dict[str, Any]) -> None:
    decoder, tokens = make(**options), torch.randint(V, (3, 6))
    if options.get("copy"):
        tokens[0, 2] = V + 1  # one that was copied
    memory = read(decoder) if "attention" in options else None
    summary = torch.randn(3, 4).double() if "summary_size" in options else None
    start = decoder.initial_state(3, memory, summary=summary)
    with torch.no_grad():
        output, after = decoder(tokens, start)
        whole, state = decoder.logits(output), start
        for t in range(tokens.shape[1]):
            logits, state, *attention = decoder.step(tokens[:, t], state)
            torch.testing.assert_close(logits, whole[:, t], rtol=0, atol=1e-10)
            if attention:
                assert output.attention is not None
                torch.testing.assert_close(attention[0], output.attention[:, t], rtol=0, atol=1e-10)
    for a, b in zip(state.layers, after.layers, strict=True):
        for one, other in zip(a, b, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    if state.coverage is not None:
        torch.testing.assert_close(state.coverage, after.coverage, rtol=0, atol=1e-10)


def test_a_step_is_the_same_in_float32_to_a_millionth() -> None:
    decoder, tokens = (
        make(torch.float32, attention="multiplicative", memory_size=M),
        torch.randint(V, (3, 20)),
    )
    with torch.no_grad():
        start = decoder.initial_state(3, read(decoder))
        whole, state = decoder.logits(decoder(tokens, start)[0]), start
        for t in range(20):
            logits, state, _ = decoder.step(tokens[:, t], state)
            torch.testing.assert_close(logits, whole[:, t], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"attention": "additive", "memory_size": M, "coverage": True}], ids=str
)
def test_a_sequence_may_come_in_chunks(options: dict[str, Any]) -> None:
    decoder, tokens = make(**options), torch.randint(V, (3, 8))
    with torch.no_grad():
        start = decoder.initial_state(3, read(decoder) if options else None)
        whole = decoder(tokens, start)[0].hidden
        first, state = decoder(tokens[:, :3], start)
        second, _ = decoder(tokens[:, 3:], tuple(state))  # as a training loop hands it back
    torch.testing.assert_close(torch.cat([first.hidden, second.hidden], 1), whole)


@pytest.mark.parametrize("options", WITH_MEMORY[:5], ids=str)
def test_padding_changes_nothing(options: dict[str, Any]) -> None:
    decoder, tokens = make(**options), torch.randint(V, (3, 6))
    memory, lengths = read(decoder), torch.tensor([6, 3, 1])
    with torch.no_grad():
        output, after = decoder(tokens, decoder.initial_state(3, memory), lengths=lengths)
        for row in range(3):
            n, places = int(lengths[row]), [S, 4, 2][row]
            alone = memory.mapped(lambda part, row=row, places=places: part[row : row + 1, :places])
            found, end = decoder(tokens[row : row + 1, :n], decoder.initial_state(1, alone))
            torch.testing.assert_close(found.hidden[0], output.hidden[row, :n])
            torch.testing.assert_close(decoder.logits(found)[0], decoder.logits(output)[row, :n])
            torch.testing.assert_close(end.layers[-1][0][0], after.layers[-1][0][row])
            if end.coverage is not None and after.coverage is not None:
                torch.testing.assert_close(end.coverage[0], after.coverage[row, :places])
    assert output.attention is not None
    assert float(output.attention[1, :, 4:].abs().max()) == 0.0
    torch.testing.assert_close(output.attention.sum(-1), torch.ones(3, 6).double())


def test_reset_starts_a_row_afresh() -> None:
    decoder, tokens = make(), torch.randint(V, (2, 6))
    reset = torch.zeros(2, 6, dtype=torch.bool)
    reset[1, 4] = True
    with torch.no_grad():
        hidden = decoder(tokens, reset=reset)[0].hidden
        torch.testing.assert_close(hidden[0], decoder(tokens)[0].hidden[0])
        torch.testing.assert_close(hidden[1, 4:], decoder(tokens[1:, 4:])[0].hidden[0])


@pytest.mark.parametrize("options", [{}, {"attention": "additive", "memory_size": M}], ids=str)
def test_loss_is_cross_entropy_of_the_logits(options: dict[str, Any]) -> None:
    decoder, tokens, target = make(**options), torch.randint(V, (3, 6)), torch.randint(V, (3, 6))
    target[0, 3:] = -100
    output, _ = decoder(tokens, decoder.initial_state(3, read(decoder) if options else None))
    for reduction, smoothing in (("mean", 0.1), ("sum", 0.0), ("none", 0.0)):
        found = decoder.loss(output, target, reduction=reduction, label_smoothing=smoothing)
        expected = F.cross_entropy(
            decoder.logits(output).transpose(1, 2), target, reduction=reduction, label_smoothing=smoothing
        )
        torch.testing.assert_close(found, expected)


def test_pointer_loss_is_that_of_its_log_probabilities() -> None:
    decoder, tokens = make(attention="additive", memory_size=M, copy=True), torch.randint(V, (3, 6))
    memory, target = read(decoder), torch.randint(V, (3, 6))
    assert memory.tokens is not None
    target[0, 2], target[1, 1], target[2, 5] = memory.tokens[0, 3], V + 1, -100
    memory.tokens[1, 0] = V + 1
    output, _ = decoder(tokens, decoder.initial_state(3, memory))
    log_probs = decoder.logits(output)
    assert log_probs.shape == (3, 6, V + 2)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(3, 6).double())
    expected = F.nll_loss(log_probs.transpose(1, 2), target)
    torch.testing.assert_close(decoder.loss(output, target), expected)
    mine = torch.autograd.grad(decoder.loss(output, target), list(decoder.parameters()), retain_graph=True)
    theirs = torch.autograd.grad(expected, list(decoder.parameters()))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_smoothed_pointer_loss_spreads_a_share_over_the_tokens_that_are_written() -> None:
    decoder, tokens = make(attention="additive", memory_size=M, copy=True), torch.randint(V, (3, 6))
    memory, target = read(decoder), torch.randint(V, (3, 6))
    assert memory.tokens is not None
    target[1, 1], target[2, 5] = V + 1, -100
    memory.tokens[1, 0] = V + 1
    output, _ = decoder(tokens, decoder.initial_state(3, memory))
    assert output.generate is not None
    written = decoder.output(output.hidden).log_softmax(-1) + output.generate.log().unsqueeze(-1)
    plain = F.nll_loss(decoder.logits(output).transpose(1, 2), target, reduction="none")
    losses = (0.9 * plain - 0.1 * written.mean(-1)).masked_fill(target == -100, 0.0)
    expected = losses.sum() / (target != -100).sum()
    found = decoder.loss(output, target, label_smoothing=0.1)
    torch.testing.assert_close(found, expected)
    mine = torch.autograd.grad(found, list(decoder.parameters()), retain_graph=True)
    theirs = torch.autograd.grad(expected, list(decoder.parameters()))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_coverage_loss_is_the_overlap_with_what_was_read() -> None:
    decoder = make(attention="additive", memory_size=M, coverage=True)
    output, after = decoder(torch.randint(V, (3, 4)), decoder.initial_state(3, read(decoder)))
    attention = output.attention
    assert attention is not None and after.coverage is not None
    before = attention.cumsum(1) - attention
    target = torch.randint(V, (3, 4))
    expected = decoder.loss(output, target, reduction="none") + 2 * torch.minimum(attention, before).sum(-1)
    torch.testing.assert_close(decoder.loss(output, target, coverage_weight=2.0), expected.mean())
    torch.testing.assert_close(after.coverage, attention.sum(1))


@pytest.mark.parametrize("options", [WITH_MEMORY[0], WITH_MEMORY[4], WITH_MEMORY[5]], ids=str)
def test_beams_share_a_memory_and_give_what_rows_give_alone(options: dict[str, Any]) -> None:
    decoder = make(seed=3, **options)
    memory, starts = read(decoder, 6), torch.arange(1, 7)
    search_options: dict[str, Any] = {"beam_size": 3, "n_best": 2, "end": END, "max_length": 8}
    with torch.no_grad():
        state = decoder.initial_state(6, memory)
        shared = search.beam(decoder.step, starts, state, reorder=decoder.reorder, **search_options)
        plain = search.beam(decoder.step, starts, state, **search_options)
        for row in range(6):
            alone = memory.mapped(lambda part, row=row: part[row : row + 1])
            one = search.beam(
                decoder.step, starts[row : row + 1], decoder.initial_state(1, alone), **search_options
            )[0]
            for a, b, c in zip(one, shared[row], plain[row], strict=True):
                assert a.tokens == b.tokens == c.tokens
                assert a.score == pytest.approx(b.score, abs=1e-6)
                assert b.attention is not None and b.attention.shape == (len(b.tokens), S)
        greedy = search.greedy(decoder.step, starts, state, end=END, max_length=8)
        single = search.beam(
            decoder.step, starts, state, beam_size=1, end=END, max_length=8, reorder=decoder.reorder
        )
    assert [h.tokens for h in greedy] == [h[0].tokens for h in single]


def test_reordering_copies_no_memory_while_the_rows_stay() -> None:
    decoder = make(attention="additive", memory_size=M)
    state = decoder.initial_state(2, read(decoder, 2))
    wide = decoder.reorder(state, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert wide.memory is state.memory and wide.layers[0][0].shape[0] == 6
    moved = decoder.reorder(wide, torch.tensor([2, 0, 0, 5, 3, 4]))
    assert moved.memory is state.memory
    torch.testing.assert_close(moved.layers[0][0], wide.layers[0][0][[2, 0, 0, 5, 3, 4]])
    one = decoder.reorder(moved, torch.tensor([4, 4, 3]))
    assert one.memory is not None and state.memory is not None
    torch.testing.assert_close(one.memory.keys, state.memory.keys[1:])


@pytest.mark.parametrize("variational", [False, True])
def test_dropout_acts_in_training_alone(variational: bool) -> None:
    decoder = make(dropout=0.5, variational=variational, hidden_size=E)
    tokens = torch.randint(V, (4, 9))
    assert torch.equal(decoder(tokens)[0].hidden, decoder(tokens)[0].hidden)
    decoder.train()
    first, second = decoder(tokens)[0].hidden, decoder(tokens)[0].hidden
    assert not torch.equal(first, second)
    zeros = first == 0
    assert 0.3 < float(zeros.double().mean()) < 0.7
    assert bool((zeros == zeros[:, :1]).all()) == variational


def test_whole_words_are_dropped() -> None:
    decoder = make(embedding_dropout=0.5, num_layers=1).train()
    vectors = decoder._vectors(torch.arange(V).repeat(2, 1))
    gone = (vectors == 0).all(-1)
    assert 0 < int(gone[0].sum()) < V and torch.equal(gone[0], gone[1])
    torch.testing.assert_close(vectors[0][~gone[0]], decoder.embedding.weight[~gone[0]] * 2)


def test_tied_weights_are_one_parameter() -> None:
    tied, loose = make(), make(tied=False)
    assert tied.output.weight is tied.embedding.weight and loose.output.weight is not loose.embedding.weight
    assert loose.output.weight.shape == (V, H)


def test_every_parameter_learns() -> None:
    for options in (*WITH_MEMORY, *WITHOUT):
        decoder = make(**options).train()
        memory = read(decoder) if "attention" in options else None
        summary = torch.randn(3, 4).double() if "summary_size" in options else None
        output, _ = decoder(torch.randint(V, (3, 5)), decoder.initial_state(3, memory, summary=summary))
        decoder.loss(output, torch.randint(V, (3, 5))).backward()
        for name, parameter in decoder.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
            assert float(parameter.grad.abs().max()) > 0, name


compiled = pytest.mark.skipif(single_step.EXCHANGE is None, reason="needs PyTorch 2.10")


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize(
    "options",
    [
        {}, {"cell": "GRU"}, {"cell": "RNN"}, {"cell": "slstm"}, {"tied": False}, {"num_layers": 1},
        {"hidden_size": (9, 20), "num_layers": 2}, {"dropout": 0.5, "recurrent_dropout": 0.5},
    ],
    ids=str,
)  # fmt: skip
def test_the_compiled_step_equals_the_modules(options: dict[str, Any], dtype: torch.dtype) -> None:
    decoder = make(dtype, **options)
    tokens = torch.tensor([5, 0, 7])
    with torch.no_grad():
        _, state = decoder.step(tokens, decoder.initial_state(3))
        logits, after = decoder._compiled_step(tokens, state)
    wanted, wanted_after = decoder.step(tokens, state)  # with gradients, by the modules
    tolerance = 1e-5 if dtype is torch.float32 else 1e-12
    found, expected = [logits, *sum(after, ())], [wanted, *sum(wanted_after.layers, ())]
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@compiled
@pytest.mark.parametrize(
    "change",
    [
        lambda decoder: decoder.output.register_forward_hook(lambda *_: None),
        lambda decoder: decoder.layers[0].register_forward_pre_hook(lambda *_: None),
        lambda decoder: decoder.embedding.register_forward_hook(lambda *_: None),
        lambda decoder: parametrizations.weight_norm(decoder.layers[1], "weight_hh_l0"),
        lambda decoder: setattr(decoder, "output", torch.nn.Sequential(decoder.output)),
        lambda decoder: setattr(decoder.layers[0], "zoneout", (0.5, 0.5)),
    ],
    ids=["output hook", "layer hook", "embedding hook", "weight norm", "own output layer", "zoneout"],
)
def test_what_modules_alone_do_is_left_to_them(change: Any) -> None:
    decoder = make()
    tokens, state = torch.tensor([5, 0, 7]), decoder.initial_state(3)
    with torch.no_grad():
        assert decoder._compiled_step(tokens, state) is not None
        change(decoder)
        assert decoder._compiled_step(tokens, state) is None
        decoder.step(tokens, state)


@compiled
def test_the_compiled_step_leaves_other_tokens_to_the_modules() -> None:
    decoder = make()
    with torch.no_grad():
        for tokens in (torch.tensor([V]), torch.tensor([-1]), torch.tensor([1], dtype=torch.int32)):
            assert decoder._compiled_step(tokens, decoder.initial_state(1)) is None
        with pytest.raises(IndexError):
            decoder.step(torch.tensor([V]), decoder.initial_state(1))


@compiled
def test_the_stepper_equals_step() -> None:
    torch.manual_seed(0)
    for decoder in (make(), make().train(), make(**WITH_MEMORY[0])):
        memory = read(decoder) if decoder.attention is not None else None
        state = expected = decoder.initial_state(3, memory)
        step = decoder.stepper()
        for tokens in torch.randint(V, (4, 3)):
            with torch.no_grad():
                logits, state, *_ = step(tokens, state)
                wanted, expected, *_ = decoder.step(tokens, expected)
            torch.testing.assert_close(logits, wanted, rtol=0, atol=0)
    decoder = make()
    logits, *_ = decoder.stepper()(torch.tensor([3]), decoder.initial_state(1))
    assert logits.requires_grad, "with gradients the modules run"


@compiled
def test_new_weights_and_layers_are_read_by_the_compiled_step() -> None:
    decoder = make()
    tokens = torch.tensor([5, 0])
    with torch.no_grad():
        decoder.step(tokens, decoder.initial_state(2))
        decoder.output.bias.add_(1.0)
        decoder.layers[0] = make(seed=1).layers[0]
        for copied in (decoder, copy.deepcopy(decoder), pickle.loads(pickle.dumps(decoder))):
            logits, _ = copied._compiled_step(tokens, copied.initial_state(2))
            with torch.enable_grad():
                expected, _ = decoder.step(tokens, decoder.initial_state(2))
            torch.testing.assert_close(logits, expected.detach(), rtol=1e-12, atol=1e-12)


def test_it_learns_to_reverse() -> None:
    """Attention that works puts a sequence in reverse order; without it that takes far longer."""
    torch.manual_seed(1)
    decoder = Decoder(10, 16, 32, attention="multiplicative", memory_size=16)
    source = torch.nn.Embedding(10, 16)
    reader = torch.nn.Linear(16 + 5, 16)
    optimizer = torch.optim.Adam([*decoder.parameters(), *source.parameters(), *reader.parameters()], lr=0.01)

    def batch() -> tuple[Tensor, DecoderState]:
        tokens = torch.randint(2, 10, (64, 5))
        places = torch.eye(5).expand(64, -1, -1)
        memory = decoder.remember(reader(torch.cat([source(tokens), places], -1)))
        return tokens.flip(1), decoder.initial_state(64, memory)

    for _ in range(150):
        target, state = batch()
        inputs = torch.cat([torch.ones(64, 1, dtype=torch.int64), target[:, :-1]], 1)
        loss = decoder.loss(decoder(inputs, state)[0], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    target, state = batch()
    found = search.greedy(decoder.eval().step, torch.ones(64, dtype=torch.int64), state, max_length=5)
    assert sum(h.tokens == row for h, row in zip(found, target.tolist(), strict=True)) >= 60


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: Decoder(V, E, H, attention="additive"), "memory_size: expected the memory's values a place"),
        (lambda: Decoder(V, E, H, attention="cosine", memory_size=M), "attention: expected one of"),
        (lambda: Decoder(V, E, H, copy=True), "attention: expected a kind where coverage or copy is on"),
        (lambda: Decoder(V, E, (H, H), 3), "hidden_size: expected one number or one for each of 3 layers"),
        (
            lambda: make().loss(
                make()(torch.ones(1, 2).long())[0], torch.ones(1, 2).long(), coverage_weight=1.0
            ),
            "coverage_weight: expected 0, as the decoder has no coverage",
        ),
        (lambda: make().remember(torch.zeros(1, 2, M)), "remember: expected a decoder with attention"),
        (
            lambda: make(attention="additive", memory_size=M)(torch.zeros(1, 2, dtype=torch.int64)),
            "state: expected",
        ),
        (
            lambda: make(attention="additive", memory_size=M, copy=True).remember(
                torch.zeros(1, 2, M).double()
            ),
            "tokens: expected",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
