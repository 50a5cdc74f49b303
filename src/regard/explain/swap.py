"""Another attention under weights that were trained with the exact one: what it changes, what it costs.

Nothing is flagged in a model: the cores are exchanged from outside for one pass, and put back.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.explain.sites import Site, around, sites
from regard.layers import Attention, Context, Key
from regard.ops import kernels
from regard.ops.attention import Core
from regard.ops.block_sparse import blocks
from regard.ops.clusters import hashing
from regard.ops.windowed import window
from regard.report.sections import Message, message
from regard.train import gauge

EXACT = "exact"
METHODS = (EXACT, "window", "blocks", "lsh", "favor")
_ENOUGH = 0.3  # seconds; what takes less is measured three times
_LAST = 3  # lengths by which growth is judged
_MASKED = 7  # every so manieth token is hidden from a model that fills gaps


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the approximations look at. With these, each query meets about as many keys (FAVOR+: features).

    window    keys, the newest or the nearest
    block     tokens of a block; each sees the first, its own and those beside it, and ``random`` others
    cluster   tokens that a hash brings together, ``rounds`` times
    features  directions of FAVOR+
    """

    window: int = 256
    block: int = 64
    random: int = 2
    cluster: int = 128
    rounds: int = 2
    features: int = 256
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Spent:
    """One measurement: seconds and bytes (None: not measured), or why there is none. loss: nats per token, where the
    model has one."""

    method: str
    length: int
    seconds: float | None = None
    peak: int | None = None
    loss: float | None = None
    skipped: Message | None = None


@dataclass(kw_only=True)
class Comparison:
    """whole and layer: measurements of the model and of its first attention; errors: of each method in each swapped
    layer, the size of the difference over the size of the exact output, at ``error_length`` tokens."""

    settings: Settings
    swapped: int
    layers: int
    whole: list[Spent] = field(default_factory=list)
    layer: list[Spent] = field(default_factory=list)
    errors: dict[str, list[float]] = field(default_factory=dict)
    error_length: int = 0
    cannot: dict[str, Message] = field(default_factory=dict)

    def growth(self, spent: Sequence[Spent], method: str, what: str) -> float | None:
        """The exponent p of cost ~ length^p over the last lengths that were measured; None where there are not two."""
        known = [(one.length, getattr(one, what)) for one in spent if one.method == method and one.seconds is not None]
        return exponent([(length, value) for length, value in known if value])


def cores(settings: Settings, head_dim: int) -> dict[str, Core]:
    """The approximate cores by the names of METHODS."""
    key = Key(settings.seed)
    directions = kernels.directions(key.at(0), settings.features, head_dim)
    return {
        "window": window(settings.window),
        "blocks": blocks(settings.block, settings.random, key.at(1)),
        "lsh": hashing(settings.cluster, settings.rounds, key.at(2)),
        "favor": lambda q, *rest: kernels.favor(directions.to(q.device))(q, *rest),
    }


def swappable(model: nn.Module) -> list[Site]:
    """The attentions that see the whole text through a core alone. Raises RegardError where there is none."""
    found = [one for one in sites(model) if one.kind == "self"]
    kept = [one for one in found if type(one.attention) is Attention and one.attention.mask is None]
    if not kept:
        raise RegardError(
            "swap.nothing", kinds=", ".join(sorted({type(one.attention).__name__ for one in found})) or "-"
        )
    return kept


@torch.no_grad()
def compare(
    bundle: Any,
    tokens: Sequence[int],
    *,
    methods: Sequence[str] = METHODS,
    settings: Settings | None = None,
    lengths: Sequence[int] = (),
    layer_lengths: Sequence[int] = (),
    beyond: bool = False,
    most: float = 10.0,
    progress: Callable[[Message], None] = lambda what: None,
) -> Comparison:
    """Each method on the same weights: the whole model at ``lengths``, its first attention at ``layer_lengths``.

    tokens: a text, of which the model reads the first so many. beyond: lengths past the model's context are tried. A
    length that would take more than ``most`` seconds by its growth so far, or more memory than there is, is left out.
    """
    settings, model = settings or Settings(), bundle.model
    places = swappable(model)
    new = cores(settings, places[0].attention.projection.head_dim)
    wanted = {name: new.get(name) for name in METHODS if name in methods}
    found = Comparison(settings=settings, swapped=len(places), layers=len({one.layer for one in sites(model)}))
    text = torch.tensor(list(tokens), device=next(model.parameters()).device)
    _errors(found, bundle, places, {name: core for name, core in wanted.items() if core}, text, lengths, progress)
    for name, core in wanted.items():
        if name in found.cannot:
            continue
        progress(message("swap.measuring", method=_named(name)))
        for length in sorted(lengths):
            why = _kept_from(found.whole, name, length, most) or _unreadable(bundle, text, length, beyond)
            found.whole.append(
                _measured(name, length, why, lambda n=length, c=core: _read(bundle, places, c, text[:n]))
            )
        for length in sorted(layer_lengths):
            why = _kept_from(found.layer, name, length, most)
            found.layer.append(
                _measured(name, length, why, lambda n=length, c=core: _one(model, places[0], c, text, n))
            )
    return found


def exponent(points: Sequence[tuple[int, float]]) -> float | None:
    """The slope of a line through the last few points, both axes logarithmic; None for fewer than two."""
    if len(points) < 2:
        return None
    x, y = torch.tensor(points[-_LAST:], dtype=torch.float64).log().unbind(-1)
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / x.square().sum())


@contextlib.contextmanager
def swapped(places: Sequence[Site], core: Core | None) -> Iterator[None]:
    """Within, the attentions compute with ``core``; None: with their own."""
    with around(places, lambda place, own: own if core is None else core):
        yield


def _named(method: str) -> Message:
    return message(f"swap.method.{method}")


def _errors(
    found: Comparison, bundle: Any, places: Sequence[Site], new: Mapping[str, Core], text: Tensor,
    lengths: Sequence[int], progress: Callable[[Message], None],
) -> None:  # fmt: skip
    """How far each method's output is from the exact one in each layer, given the same q, k and v."""
    length = min(max(lengths, default=0), len(text), bundle.context, 1024)
    errors: dict[str, list[float]] = {name: [] for name in new}

    def wrap(place: Site, core: Core) -> Core:
        def compared(*arguments: Any) -> Tensor:
            exact = core(*arguments)
            for name, other in new.items():
                if name in found.cannot:
                    continue
                try:
                    tried = other(*arguments)
                except RegardError as error:
                    found.cannot[name] = message("swap.refused", why=str(error))
                else:
                    errors[name].append(float((tried - exact).norm() / exact.norm()))
            return exact

        return compared

    if not length or not new:
        return
    progress(message("swap.erring", length=length))
    with around(places, wrap):
        bundle.model.hidden(text[None, :length])
    found.errors = {name: each for name, each in errors.items() if name not in found.cannot}
    found.error_length = length


def _unreadable(bundle: Any, text: Tensor, length: int, beyond: bool) -> Message | None:
    if length > len(text):
        return message("swap.short", length=len(text))
    if length > bundle.context and not beyond:
        return message("swap.beyond", context=bundle.context)
    return None


def _kept_from(before: Sequence[Spent], method: str, length: int, most: float) -> Message | None:
    """Why a length is not tried after what was measured so far."""
    own = [one for one in before if one.method == method]
    measured = [one for one in own if one.seconds is not None]
    if not measured:
        return None
    last = measured[-1]
    for what, limit, key in (("seconds", most, "swap.slow"), ("peak", _room(), "swap.memory")):
        points = [(one.length, getattr(one, what)) for one in measured if getattr(one, what)]
        if not points or limit is None:
            continue
        # Growth below one is of small lengths, where other things weigh more; growth above two is no method's.
        power = min(max(exponent(points) or (2.0 if method == EXACT else 1.0), 1.0), 2.0)
        expected = getattr(last, what) * (length / last.length) ** power
        if expected > limit:
            value = round(expected) if what == "seconds" else round(expected / 1e6)
            return message(key, value=value, limit=round(limit) if what == "seconds" else round(limit / 1e6))
    return None


def _room() -> int | None:
    free = gauge.available()
    return None if free is None else round(0.8 * (free - (gauge.resident() or 0)))


def _measured(method: str, length: int, why: Message | None, run: Callable[[], Cost]) -> Spent:
    if why is not None:
        return Spent(method=method, length=length, skipped=why)
    try:
        cost = run()
    except RegardError as error:
        return Spent(method=method, length=length, skipped=message("swap.refused", why=str(error)))
    return Spent(method=method, length=length, seconds=cost.seconds, peak=cost.peak, loss=cost.loss)


@dataclass(frozen=True)
class Cost:
    seconds: float
    peak: int | None
    loss: float | None = None


def _read(bundle: Any, places: Sequence[Site], core: Core | None, tokens: Tensor) -> Cost:
    """What the whole model costs on one text, its head left out; and its loss there."""
    shown, rows, wanted = _asked(bundle, tokens)
    with swapped(places, core):
        hidden, seconds, peak = _clocked(lambda: bundle.model.hidden(shown[None]), tokens.device)
    if not len(wanted):
        return Cost(seconds, peak)
    return Cost(seconds, peak, float(bundle.model.head.loss(hidden[0, rows], wanted)) / len(wanted))


def _asked(bundle: Any, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the model reads, the rows that it answers, and the answers; none where its head speaks of no tokens."""
    at = torch.arange(len(tokens), device=tokens.device)
    if bundle.task == "causal-lm":
        return tokens, at[:-1], tokens[1:]
    if bundle.task == "masked-lm" and bundle.tokenizer.mask is not None:
        hidden = at % _MASKED == _MASKED // 2
        return tokens.masked_fill(hidden, bundle.tokenizer.mask), at[hidden], tokens[hidden]
    return tokens, at[:0], tokens[:0]


def _one(model: Any, place: Site, core: Core | None, text: Tensor, length: int) -> Cost:
    """What the first attention costs on what it is given, its projections included."""
    tokens = text.repeat(-(-length // len(text)))[:length]
    x, context = _given(model, place.attention, tokens)
    with swapped([place], core):
        _, seconds, peak = _clocked(lambda: place.attention(x, context), x.device)
    return Cost(seconds, peak)


class _Reached(Exception):
    """No error: it ends a pass that has come far enough."""


def _given(model: Any, attention: Attention, tokens: Tensor) -> tuple[Tensor, Context]:
    """What an attention is called with when the model reads these tokens; what comes after is not computed."""
    seen: list[Any] = []

    def stop(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        seen.extend(arguments)
        raise _Reached

    handle = attention.register_forward_pre_hook(stop)
    try:
        with contextlib.suppress(_Reached):
            model.hidden(tokens[None])
    finally:
        handle.remove()
    return seen[0], seen[1]


def _clocked(work: Callable[[], Tensor], device: torch.device) -> tuple[Tensor, float, int | None]:
    """The result, the seconds of the quickest of a few runs, and the most memory in use beyond what was before."""
    found, best, peak = None, float("inf"), None
    for _ in range(3):
        found = None  # so that the last run's is not counted
        settle, before = _memory(device)
        start = time.perf_counter()
        found = work()
        used = settle()
        best = min(best, time.perf_counter() - start)
        peak = None if used is None or before is None else max(peak or 0, used - before)
        if best > _ENOUGH:
            break
    assert found is not None
    return found, best, peak


def _memory(device: torch.device) -> tuple[Callable[[], int | None], int | None]:
    """A function that waits for the device and tells the most memory since now, and what is in use now."""
    if device.type != "cuda":
        gauge.release()
        gauge.forget()
        return gauge.most, gauge.resident()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)

    def most() -> int:
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)

    return most, torch.cuda.memory_allocated(device)
