"""The decoder that tasks share: predicts one token after another, with or without attention to a memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from longspan import errors
from longspan.kernels.single_step import TokenStep
from longspan.nn.dropout import Dropout, dropout_mask
from longspan.nn.embedding import Embedding
from longspan.nn.linear import Linear
from longspan.nn.memory_attention import Memory, MemoryAttention
from longspan.nn.output import linear_cross_entropy

from .bridge import Bridge
from .encoder import recurrent
from .pointer import pointer_log_probs, pointer_losses

_INIT = 0.1  # initial embeddings are uniform in [-_INIT, _INIT], as in Merity et al. 2017, arXiv 1708.02182


class DecoderState(NamedTuple):
    """The state of a decoder after the tokens so far: R rows, in beam search the R / B beams of B sequences.

    layers: for each layer the states of its cell, (R, H) each.
    memory: of the B sequences; their beams share it. None without attention.
    coverage: (R, S), the sum of the attention so far; None without coverage.
    """

    layers: tuple[tuple[Tensor, ...], ...]
    memory: Memory | None = None
    coverage: Tensor | None = None

    def select(self, rows: Tensor) -> DecoderState:
        """The state of the rows of these numbers (R',); beams of one sequence still share its memory."""
        layers = tuple(tuple(s.index_select(0, rows) for s in layer) for layer in self.layers)
        coverage = None if self.coverage is None else self.coverage.index_select(0, rows)
        memory = self.memory
        if memory is None:
            return DecoderState(layers, None, coverage)
        sequences = rows // (self.layers[0][0].shape[0] // memory.keys.shape[0])
        kept = torch.unique_consecutive(sequences)
        beams = len(rows) // max(1, len(kept))
        if not torch.equal(kept.repeat_interleave(beams), sequences):
            kept = sequences
        if not torch.equal(kept, torch.arange(memory.keys.shape[0], device=kept.device)):
            memory = memory.mapped(lambda part: part.index_select(0, kept))
        return DecoderState(layers, memory, coverage)


class DecoderOutput(NamedTuple):
    """The outputs of a decoder for tokens (B, T).

    hidden: (B, T, E) or (B, T, H), the input of the output layer.
    attention: (B, T, S), the weights of the memory's positions; None without attention.
    generate: (B, T), the probability that a token is taken from the vocabulary and not copied; None without
        copying.
    overlap: (B, T), the sum of the smaller of attention and coverage at each position (See et al. 2017,
        equation 12); None without coverage.
    memory: the memory that was read; None without attention.
    """

    hidden: Tensor
    attention: Tensor | None = None
    generate: Tensor | None = None
    overlap: Tensor | None = None
    memory: Memory | None = None


class Decoder(nn.Module):
    """An autoregressive recurrent network over tokens: a language model, or with attention a seq2seq decoder.

    Such a decoder attends to a memory, the encoder's outputs.

    The first layer's output is the query of the attention. The context vector is an input of the layers above
    and of the output layer. It is no input of the first layer (input feeding, Luong et al. 2015), so that the
    recurrent kernels run over all steps of a target at once.

    Args:
        vocabulary: V, the number of tokens.
        embedding_size: E, the size of a token's vector.
        hidden_size: H, units of every layer; or a sequence with one number for each layer.
        num_layers: the number of layers.
        cell: a name as for `longspan.networks.encoder.recurrent`.
        attention: None, "additive" or "multiplicative", see `longspan.nn.memory_attention.MemoryAttention`.
        memory_size: M, the size of a memory's vector at each position.
        summary_size: size of the vector from which the initial state is made, None for memory_size. Without
            both the initial state is the cell's constants.
        tied: whether the output layer's weight is the embedding's (Press and Wolf 2016, arXiv 1608.05859).
        dropout: rate on embeddings, between layers and on what the output layer reads.
        variational: whether the same values are dropped at all steps (Gal and Ghahramani 2016, arXiv
            1512.05287).
        embedding_dropout: rate of tokens whose whole vector is dropped, the same tokens in all of a batch.
        recurrent_dropout, zoneout, weight_dropout, layer_norm, forget_bias: as for `longspan.nn.LSTM`.
        coverage: whether the attention scores see the sum of the attention so far (arXiv 1704.04368).
        copy: whether tokens of the memory may be copied (pointer-generator, arXiv 1704.04368).
        unknown: the token as which a copied token is read if the vocabulary does not have it.

    >>> decoder = Decoder(20, 8, 16, attention="additive", memory_size=6)
    >>> memory = decoder.remember(torch.randn(2, 5, 6), lengths=torch.tensor([5, 3]))
    >>> output, state = decoder(torch.randint(20, (2, 7)), decoder.initial_state(2, memory))
    >>> decoder.logits(output).shape, output.attention.shape
    (torch.Size([2, 7, 20]), torch.Size([2, 7, 5]))
    """

    def __init__(
        self,
        vocabulary: int,
        embedding_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 2,
        *,
        cell: str = "LSTM",
        attention: str | None = None,
        memory_size: int | None = None,
        summary_size: int | None = None,
        tied: bool = True,
        dropout: float = 0.0,
        variational: bool = False,
        embedding_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        weight_dropout: float = 0.0,
        layer_norm: bool = False,
        forget_bias: float | None = None,
        coverage: bool = False,
        copy: bool = False,
        unknown: int = 1,
    ) -> None:
        super().__init__()
        sizes = _sizes(hidden_size, num_layers)
        _check_memory(attention, memory_size, coverage=coverage, copy=copy)
        self.vocabulary = errors.check_int("vocabulary", vocabulary, 1, "give the number of tokens")
        self.unknown = unknown
        self.embedding_dropout = errors.check_fraction("embedding_dropout", embedding_dropout, below_one=True)
        self.embedding = Embedding(vocabulary, embedding_size)
        nn.init.uniform_(self.embedding.weight, -_INIT, _INIT)
        read = (memory_size or 0) if attention else 0
        inputs = [embedding_size, *(size + read for size in sizes[:-1])]
        self.layers = nn.ModuleList(
            recurrent(
                cell, width, size, recurrent_dropout=recurrent_dropout, zoneout=zoneout,
                weight_dropout=weight_dropout, layer_norm=layer_norm, forget_bias=forget_bias,
            )
            for width, size in zip(inputs, sizes, strict=True)
        )  # fmt: skip
        self.attention = None
        if attention is not None and memory_size is not None:
            self.attention = MemoryAttention(sizes[0], memory_size, kind=attention, coverage=coverage)
        self.output_size = embedding_size if tied else sizes[-1]
        self.combine = _combine(sizes[-1], read, self.output_size)
        self.output = Linear(self.output_size, vocabulary)
        if tied:
            self.output.weight = self.embedding.weight
        nn.init.zeros_(self.output.bias)
        self.generate = Linear(sizes[-1] + read + embedding_size, 1) if copy else None
        summary = summary_size or memory_size
        self.bridge = None if summary is None else Bridge(summary, sizes, self._stack[0].cell.states)
        self.drop = _SequenceDropout(dropout, variational=variational)
        self._tokens: TokenStep | None = None  # of the layers that `_token_call` met last

    @property
    def _stack(self) -> list[Any]:
        """The layers, each with its cell, its step and its hidden_size."""
        return list(self.layers)

    def remember(
        self,
        memory: Tensor,
        lengths: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        tokens: Tensor | None = None,
        extra: int = 0,
    ) -> Memory:
        """A memory (B, S, M) with its attention keys, computed once for all steps of this decoder.

        Args:
            lengths: (B,), the number of positions that are not padding; mask: (B, S) bool, False at padding.
            tokens: (B, S) int64, for copying: the token at each position. Those that the vocabulary does not
                have are numbered V to V + extra - 1, in the targets too.
            extra: how many numbers beyond the vocabulary there are.
        """
        if self.attention is None:
            raise errors.value_error(
                "remember", "a decoder with attention", "none", "make it with attention= and memory_size="
            )
        if self.generate is not None and tokens is None:
            raise errors.value_error(
                "tokens", "(B, S) tokens of the memory, to be copied", None, "pass them, or leave copy=False"
            )
        return self.attention.remember(memory, lengths, mask, tokens, extra)

    def initial_state(
        self, rows: int, memory: Memory | None = None, *, summary: Tensor | None = None
    ) -> DecoderState:
        """The state before the first token.

        Args:
            rows: B, or the number of all beams.
            memory: as `remember` returned it.
            summary: (B, summary_size), the vector from which the state is made. None for the mean of the
                memory over unmasked positions, or without a memory for the cell's constants.
        """
        layers = tuple(_constants(layer, rows, self.embedding.weight) for layer in self._stack)
        if summary is None and memory is not None:
            summary = memory.mean()
        if summary is not None and self.bridge is not None:
            layers = self.bridge(summary, layers)
        covered = memory is not None and self.attention is not None and self.attention.covered is not None
        coverage = memory.keys.new_zeros(memory.keys.shape[:2]) if memory is not None and covered else None
        return DecoderState(layers, memory, coverage)

    def forward(
        self,
        tokens: Tensor,
        state: Any = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[DecoderOutput, DecoderState]:
        """Read the tokens (B, T) of sequences, and predict the next token after each.

        Args:
            tokens: int64; copied ones, numbered from V on, are read as `unknown`.
            state: as `initial_state`, a call or a step returned it; None for `initial_state(B)`.
            lengths: (B,), the number of tokens that are not padding.
            reset: (B, T) bool, True where a row starts from the initial state before the token.

        Returns:
            The outputs, of which `logits` and `loss` take what they need, and the state after the tokens.
        """
        state = _checked_state(self, state, tokens.shape[0])
        x = vectors = self._vectors(tokens)
        finals, reading = [], None
        for index, layer in enumerate(self._stack):
            before = _layer_state(state.layers[index], layer.cell.states)
            x, final = layer(x, before, lengths=lengths, reset=reset)
            finals.append(_rows_first(final))
            if index == 0 and self.attention is not None:
                reading = self.attention(x, _needed(state.memory), state.coverage)
            if index < len(self.layers) - 1:
                x = self.drop(x)
                x = x if reading is None else torch.cat([x, self.drop(reading.context)], -1)
        coverage = None
        if reading is not None and reading.coverage is not None:
            coverage = _coverage_after(reading.coverage, reading.attention, lengths)
        after = DecoderState(tuple(finals), state.memory, coverage)
        return self._outputs(x, vectors, reading, state.memory), after

    def logits(self, output: DecoderOutput) -> Tensor:
        """(B, T, V) of the next tokens; with copying their log-probabilities, (B, T, V + extra)."""
        logits = self.output(output.hidden)
        if output.generate is None:
            return logits
        return pointer_log_probs(logits, output.generate, _needed(output.attention), _needed(output.memory))

    def loss(
        self,
        output: DecoderOutput,
        target: Tensor,
        *,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        coverage_weight: float = 0.0,
        reduction: str = "mean",
    ) -> Tensor:
        """Cross entropy of the next tokens, without all their logits in memory at once.

        Args:
            output: of a call on tokens (B, T); target: (B, T) int64, ignore_index where none counts.
            label_smoothing: see `longspan.nn.linear_cross_entropy`; with copying it spreads a share of the
                target's probability over the tokens that are written, not over those that are copied.
            coverage_weight: of the overlap between a step's attention and what was read before it.
            reduction: "mean" over the tokens that count, "sum", or "none" for (B, T).
        """
        weight, bias = self.output.weight, self.output.bias
        if coverage_weight and output.overlap is None:
            way_out = "make it with coverage=True"
            raise errors.value_error(
                "coverage_weight", "0, as the decoder has no coverage", coverage_weight, way_out
            )
        if output.generate is None:
            losses = linear_cross_entropy(
                output.hidden, weight, target, linear_bias=bias,
                reduction="none" if coverage_weight else reduction,
                ignore_index=ignore_index, label_smoothing=label_smoothing,
            )  # fmt: skip
            if not coverage_weight:
                return losses
        else:
            losses = _pointer_losses(self.output, output, target, self.unknown, ignore_index, label_smoothing)
        counts = target != ignore_index
        if coverage_weight:
            losses = losses + coverage_weight * _needed(output.overlap)
        losses = losses.masked_fill(~counts, 0.0)
        if reduction == "none":
            return losses
        return losses.sum() / counts.sum() if reduction == "mean" else losses.sum()

    def step(self, tokens: Tensor, state: Any) -> tuple[Any, ...]:
        """Read one more token of each row, as `longspan.search` calls it.

        Args:
            tokens: (R,) int64; state: as `initial_state`, a call or a step returned it.

        Returns:
            Logits (R, V) as `logits` returns them, the state after the tokens, and with attention its weights
            (R, S).
        """
        state = _checked_state(self, state, tokens.shape[0])
        if self.attention is None and not self.training:
            return self._plain_step(tokens, state)
        x = vectors = self._vectors(tokens)
        finals, reading = [], None
        for index, layer in enumerate(self._stack):
            x, final = layer.step(x, _layer_state(state.layers[index], layer.cell.states))
            finals.append(_rows_first(final))
            if index == 0 and self.attention is not None:
                reading = self.attention.answer(x, _needed(state.memory), state.coverage)
            if index < len(self.layers) - 1:
                x = self.drop(x)
                x = x if reading is None else torch.cat([x, self.drop(reading.context.squeeze(1))], -1)
        if reading is None:
            return self.output(self.drop(self.combine(x))), DecoderState(tuple(finals), state.memory)
        attention = reading.attention.squeeze(1)
        coverage = None if state.coverage is None else state.coverage + attention
        output = self._outputs(x.unsqueeze(1), vectors.unsqueeze(1), reading, state.memory)
        return self.logits(output).squeeze(1), DecoderState(tuple(finals), state.memory, coverage), attention

    def _plain_step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """`step` without attention in evaluation, when a step takes no longer than a few calls of Python."""
        result = self._compiled_step(tokens, state)
        if result is not None:
            return result[0], DecoderState(result[1], state.memory)
        x, finals = self.embedding(tokens), []
        for layer, (h, *rest) in zip(self._stack, state.layers, strict=True):
            before = (h.unsqueeze(0), *[s.unsqueeze(0) for s in rest]) if rest else h.unsqueeze(0)
            x, final = layer.step(x, before)
            finals.append((x, *[s.squeeze(0) for s in final[1:]]) if rest else (x,))
        x = x if type(self.combine) is nn.Identity else self.combine(x)
        return self.output(x), DecoderState(tuple(finals), state.memory)

    def _compiled_step(self, tokens: Tensor, state: DecoderState) -> Any:
        """Logits (R, V) and the layers' states in one call of C++; None where only modules give them."""
        compiled = self._token_call()
        return None if compiled is None else compiled(tokens, state.layers)

    def stepper(self) -> Callable[[Tensor, Any], tuple[Any, ...]]:
        """`step` for many tokens in a row; hooks and weights that are replaced later may be passed over."""
        compiled = None if self.training or self.attention is not None else self._token_call()
        if compiled is None:
            return self.step

        def step(tokens: Tensor, state: DecoderState) -> tuple[Any, ...]:
            result = compiled(tokens, state.layers)
            if result is None:
                return self.step(tokens, state)
            return result[0], DecoderState(result[1], state.memory)

        return step

    def _token_call(self) -> Callable[[Tensor, Any], Any] | None:
        """Tokens (R,) and the layers' states -> logits (R, V) and new states, in one call of C++, or None.

        None as a whole where only modules give them, and as an answer where these tensors need the modules.
        """
        stack, combine = self._stack, self.combine
        linears = [self.output] if type(combine) is nn.Identity else [combine, self.output]
        steps = [layer.token_step() for layer in stack]
        if None in steps or is_compiling() or _replaced_or_hooked(self.embedding, linears):
            return None
        if self._tokens is None or self._tokens.steps != steps:
            self._tokens = TokenStep(steps)
        return partial(
            self._tokens.step,
            parameters=tuple([layer._parameters for layer in stack]),
            table=self.embedding._parameters.get("weight"),
            linears=tuple(
                [(each._parameters.get("weight"), each._parameters.get("bias")) for each in linears]
            ),
        )

    @staticmethod
    def reorder(state: DecoderState, rows: Tensor) -> DecoderState:
        """The state of these rows, as `longspan.search.beam` calls it after choosing beams."""
        return state.select(rows)

    def _vectors(self, tokens: Tensor) -> Tensor:
        """The vectors (..., E) of tokens (...), after dropout."""
        if self.generate is not None:
            tokens = tokens.masked_fill(tokens >= self.vocabulary, self.unknown)
        vectors = self.embedding(tokens)
        if self.training and self.embedding_dropout:
            kept = dropout_mask((self.vocabulary,), self.embedding_dropout, vectors)
            vectors = vectors * kept[tokens].unsqueeze(-1)
        return self.drop(vectors)

    def _outputs(self, x: Tensor, vectors: Tensor, reading: Any, memory: Memory | None) -> DecoderOutput:
        """The decoder's outputs from the last layer's output x (B, T, H)."""
        with_context = x if reading is None else torch.cat([x, reading.context], -1)
        generate = None
        if self.generate is not None:
            generate = self.generate(torch.cat([with_context, vectors], -1)).squeeze(-1).sigmoid()
        hidden = self.drop(self.combine(with_context))
        if reading is None:
            return DecoderOutput(hidden, generate=generate)
        overlap = None
        if reading.coverage is not None:
            overlap = torch.minimum(reading.attention, reading.coverage).sum(-1)
        return DecoderOutput(hidden, reading.attention, generate, overlap, memory)


def _replaced_or_hooked(embedding: nn.Module, linears: Sequence[nn.Module]) -> bool:
    """Whether calling these modules is more than a lookup and products with their weights."""
    return (
        type(embedding) is not Embedding
        or any(type(module) is not Linear for module in linears)
        or any(module._forward_hooks or module._forward_pre_hooks for module in (embedding, *linears))
    )


def _checked_state(decoder: Decoder, state: Any, rows: int) -> DecoderState:
    """The state as a DecoderState; training loops pass it on as plain tuples."""
    if state is None:
        if decoder.attention is not None:
            raise errors.value_error(
                "state", "initial_state(rows, memory) of a decoder with attention", None, "pass a memory"
            )
        return decoder.initial_state(rows)
    state = DecoderState(*state)
    return state if state.memory is None else state._replace(memory=Memory(*state.memory))


def _pointer_losses(
    layer: nn.Linear, output: DecoderOutput, target: Tensor, unknown: int, ignore_index: int, smoothing: float
) -> Tensor:
    """(B, T) losses of tokens that may be copied; what those to be ignored have is not used.

    The mean loss of all V tokens, which smoothing adds, follows from the loss of one of them, as both
    have the same normaliser: mean loss = loss + its logit - mean logit, where the mean logit is that of
    the mean weight.

    Args:
        layer: the output layer; unknown: as `Decoder` takes it.
    """
    weight, bias, hidden = layer.weight, layer.bias, output.hidden
    known = (target != ignore_index) & (target < len(weight))
    numbers = target.masked_fill((target != ignore_index) & ~known, unknown)
    written = linear_cross_entropy(
        hidden, weight, numbers, linear_bias=bias, reduction="none", ignore_index=ignore_index
    )
    losses = pointer_losses(
        written, target, known, _needed(output.generate), _needed(output.attention),
        _needed(output.memory),
    )  # fmt: skip
    if not smoothing:
        return losses
    tokens = numbers.masked_fill(~known, unknown)
    logits = (hidden * weight[tokens]).sum(-1) + bias[tokens] - hidden @ weight.mean(0) - bias.mean()
    tiny = torch.finfo(hidden.dtype).tiny
    spread = written + logits - _needed(output.generate).clamp_min(tiny).log()
    return (1.0 - smoothing) * losses + smoothing * spread


class _SequenceDropout(Dropout):
    """Dropout of sequences (B, T, W), or of one step (R, W); variational: the same values at all steps."""

    def __init__(self, rate: float, *, variational: bool) -> None:
        super().__init__(errors.check_fraction("dropout", rate, below_one=True))
        self.variational = errors.check_bool("variational", variational)

    def forward(self, input: Tensor) -> Tensor:
        """(B, T, W) or (R, W), unchanged in evaluation."""
        if not self.training or not self.p:
            return input
        if not self.variational:
            return super().forward(input)
        shape = (input.shape[0], *(1,) * (input.dim() - 2), input.shape[-1])
        return input * dropout_mask(shape, self.p, input)


def _sizes(hidden_size: int | Sequence[int], num_layers: int) -> list[int]:
    errors.check_int("num_layers", num_layers, 1, "give the number of layers")
    sizes = list(hidden_size) if isinstance(hidden_size, Sequence) else [hidden_size] * num_layers
    if len(sizes) != num_layers:
        raise errors.value_error(
            "hidden_size", f"one number or one for each of {num_layers} layers", sizes, "change num_layers"
        )
    return sizes


def _check_memory(attention: str | None, memory_size: int | None, *, coverage: bool, copy: bool) -> None:
    if attention is not None and memory_size is None:
        raise errors.value_error(
            "memory_size", "the memory's values a place", None, "pass it beside attention"
        )
    if attention is None and (coverage or copy):
        raise errors.value_error(
            "attention", "a kind where coverage or copy is on", None, "pass attention='additive'"
        )


def _combine(size: int, read: int, output: int) -> nn.Module:
    """Maps the last layer's output and the context to the output layer's input (Luong et al. 2015, eq. 5)."""
    if read:
        return nn.Sequential(Linear(size + read, output), nn.Tanh())
    return nn.Identity() if size == output else Linear(size, output)


def _constants(layer: Any, rows: int, like: Tensor) -> tuple[Tensor, ...]:
    """The states (R, H) that the layer's cell begins with."""
    initial = layer.cell.initial
    return tuple(like.new_full((rows, layer.hidden_size), initial.get(k, 0.0)) for k in layer.cell.states)


def _layer_state(states: tuple[Tensor, ...], letters: str) -> Any:
    """States (R, H) of a layer as the layer takes them, (1, R, H)."""
    stacked = tuple([s.unsqueeze(0) for s in states])
    return stacked[0] if len(letters) == 1 else stacked


def _rows_first(state: Any) -> tuple[Tensor, ...]:
    return tuple([s.squeeze(0) for s in state]) if isinstance(state, tuple) else (state.squeeze(0),)


def _needed(value: Any) -> Any:
    """The value itself; an error if a caller's state lacks the memory that attention reads."""
    if value is None:
        raise errors.value_error(
            "state", "a memory, as the decoder has attention", None, "begin with initial_state(rows, memory)"
        )
    return value


def _coverage_after(before: Tensor, attention: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, S) the sum of the attention up to each row's last token, from (B, T, S) both."""
    total = before + attention
    if lengths is None:
        return total[:, -1]
    last = (lengths.to(total.device) - 1).clamp_min(0).view(-1, 1, 1).expand(-1, 1, total.shape[-1])
    at_last_token = total.gather(1, last).squeeze(1)
    return torch.where((lengths.to(total.device) > 0).unsqueeze(1), at_last_token, before[:, 0])
