"""What attention knows of order. Absolute encodings, which are added to the input, live in ``embed``.

A position prepares once per forward pass for the places of queries and keys, and all layers that hold it share the
result: ``rotate`` turns q and new k, ``bias`` gives what is added to the scaled scores. Both do nothing unless said
otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers.places import Places
from regard.ops import rotary


class Prepared:
    """A position at given places."""

    def rotate(self, x: Tensor) -> Tensor:
        """x (B, H, T, K) at the queries' places -> the same shape."""
        return x

    def bias(self, q: Tensor, k: Tensor, own: Any) -> Tensor | None:
        """(B|1, H, T, S), added to the scaled scores. ``own``: the attention, for those that use its layers."""
        return None


class Position(nn.Module):
    """No position: attention sees a set."""

    def prepare(self, q: Places, k: Places) -> Prepared:
        return Prepared()


class Rotary(Position):
    """Rotary embedding (Su et al. 2021) of the first ``size`` features of each head.

    ``angles`` gives the angle per position of each pair, (size / 2,); see ``ops.rotary`` for the scalings. They are
    kept out of buffers: a model cast to bfloat16 must not round its angles. ``temperature`` multiplies cos and sin.
    """

    def __init__(self, angles: Tensor, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self._angles = {angles.device: angles}

    def prepare(self, q: Places, k: Places) -> Prepared:
        return _Turned(lambda: self.angles(q.positions.device), q, self.temperature)

    def angles(self, device: torch.device) -> Tensor:
        if device not in self._angles:
            self._angles[device] = next(iter(self._angles.values())).to(device)
        return self._angles[device]


class _Turned(Prepared):
    def __init__(self, angles: Callable[[], Tensor], q: Places, temperature: float) -> None:
        self.angles, self.q, self.temperature = angles, q, temperature

    @cached_property
    def turn(self) -> tuple[Tensor, Tensor]:
        """cos and sin, each (B|1, 1, T, size)."""
        turned = self.q.positions.clamp(min=0).float().unsqueeze(-1) * self.angles()  # (B|1, T, size / 2)
        both = torch.cat((turned, turned), -1).unsqueeze(1)
        return both.cos() * self.temperature, both.sin() * self.temperature

    def rotate(self, x: Tensor) -> Tensor:
        cos, sin = self.turn
        return rotary.rotate(x, cos.to(x.dtype), sin.to(x.dtype))


class LengthRotary(Rotary):
    """Angles by how long a text is, whatever stands beside it: beyond ``original`` tokens others than within.

    A text that a cache holds the beginning of cannot always grow past ``original``: its keys are turned already.
    """

    def __init__(self, angles: Tensor, original: int, *, temperature: float = 1.0) -> None:
        super().__init__(angles, temperature=temperature)
        self.original = original

    def of_length(self, reached: Tensor) -> Tensor:
        """The angles (B|1, T|1, size / 2) in texts of ``reached`` tokens, (B|1, T|1)."""
        raise NotImplementedError

    def settled(self, held: Tensor, reached: Tensor) -> Tensor:
        """Whether keys of a text that had ``held`` tokens are turned as one of ``reached`` wants them."""
        raise NotImplementedError

    def prepare(self, q: Places, k: Places) -> Prepared:
        return _Turned(lambda: self._angles_of(q, k), q, self.temperature)

    def _angles_of(self, q: Places, k: Places) -> Tensor:
        reached = _lengths(q) if q.length == k.length else k.positions.amax(-1, keepdim=True) + 1
        if q.length < k.length:
            held = q.positions.masked_fill(q.positions < 0, self.original + 1).amin(-1, keepdim=True)
            if not self.settled(held, reached).all():
                raise RegardError("core.long_rope", original=self.original)
        return self.of_length(reached)


class LongRotary(LengthRotary):
    """LongRoPE (Ding et al. 2024): texts of more than ``original`` tokens are turned by ``long`` angles, shorter
    ones by ``short`` ones. One that began beyond may go on."""

    def __init__(self, short: Tensor, long: Tensor, original: int, *, temperature: float) -> None:
        super().__init__(torch.stack((short, long)), original, temperature=temperature)

    def of_length(self, reached: Tensor) -> Tensor:
        short, long = self.angles(reached.device)
        return torch.where((reached > self.original).unsqueeze(-1), long, short)

    def settled(self, held: Tensor, reached: Tensor) -> Tensor:
        return (held > self.original) | (reached <= self.original)


class DynamicRotary(LengthRotary):
    """Dynamic NTK scaling: beyond ``original`` tokens the base grows with the text, as ``ops.rotary.ntk`` has it for a
    factor of ``factor`` times the stretch, less ``factor - 1``."""

    def __init__(self, size: int, base: float, factor: float, original: int) -> None:
        super().__init__(rotary.frequencies(size, base), original)
        self.size, self.base, self.factor = size, base, factor

    def of_length(self, reached: Tensor) -> Tensor:
        stretch = (self.factor * reached.float() / self.original - (self.factor - 1)).clamp(min=1.0)
        base = self.base * stretch.unsqueeze(-1) ** (self.size / (self.size - 2))
        pairs = torch.arange(0, self.size, 2, device=reached.device).float() / self.size
        return torch.where((reached > self.original).unsqueeze(-1), 1.0 / base**pairs, self.angles(reached.device))

    def settled(self, held: Tensor, reached: Tensor) -> Tensor:
        return reached <= self.original


def _lengths(places: Places) -> Tensor:
    """How long the text is that each token of a row stands in, (B|1, T); a text begins at position 0."""
    positions = places.positions
    text = (positions == 0).cumsum(-1)
    longest = torch.zeros(positions.shape[0], places.length + 1, dtype=torch.int64, device=positions.device)
    return longest.scatter_reduce(-1, text, positions + 1, "amax").gather(-1, text)


class Alibi(Position):
    """Attention with linear biases (Press et al. 2021): ``-slope * |distance|`` with one slope a head."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def slopes(self) -> list[float]:
        """Geometric from 2**(-8/n); for other head counts, every second slope of the next power of two is added."""
        power = 2 ** math.floor(math.log2(self.heads))
        slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
        return slopes + [2 ** (-4 * (2 * i + 1) / power) for i in range(self.heads - power)]

    def prepare(self, q: Places, k: Places) -> Prepared:
        return _Fixed(self._made, q, k)

    def _made(self, q: Places, k: Places) -> Tensor:
        slopes = torch.tensor(self.slopes(), device=q.positions.device).view(-1, 1, 1)
        return -slopes * _distances(q, k).abs().unsqueeze(1)


class _Fixed(Prepared):
    """A bias that depends on the places alone; made when first asked for, since a row of documents never asks."""

    def __init__(self, make: Callable[[Places, Places], Tensor], q: Places, k: Places) -> None:
        self.make, self.q, self.k = make, q, k

    @cached_property
    def made(self) -> Tensor:
        return self.make(self.q, self.k)

    def bias(self, q: Tensor, k: Tensor, own: Any) -> Tensor | None:
        return self.made.to(q.dtype)


class Buckets(Position):
    """One learned bias per head and bucket of distances, near ones exact, far ones logarithmic (T5, Raffel et al.
    2020). Held by all layers of a stack, so that they share it. weight (buckets, H).
    """

    def __init__(self, heads: int, *, buckets: int = 32, furthest: int = 128, both_sides: bool) -> None:
        super().__init__()
        self.buckets, self.furthest, self.both_sides = buckets, furthest, both_sides
        self.weight = nn.Parameter(torch.zeros(buckets, heads))

    def prepare(self, q: Places, k: Places) -> Prepared:
        return _Fixed(lambda q, k: self.weight[self.bucket(-_distances(q, k))].permute(0, 3, 1, 2), q, k)

    def bucket(self, ahead: Tensor) -> Tensor:
        """The bucket of a key that stands ``ahead`` positions after the query."""
        count, first = self.buckets, torch.zeros_like(ahead)
        if self.both_sides:
            count //= 2
            first = (ahead > 0).long() * count
            distance = ahead.abs()
        else:
            distance = (-ahead).clamp(min=0)
        exact = count // 2
        ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(self.furthest / exact)
        far = (exact + (ratio * (count - exact)).long()).clamp(max=count - 1)
        return first + torch.where(distance < exact, distance, far)


class ShawRelative(Position):
    """Relative key embeddings (Shaw et al. 2018, eq. 4): q . a[clip(j - i)], shared by the heads. keys (2 M + 1, K).

    behind: how far back keys are told apart, where that is another distance than ahead.
    """

    def __init__(self, head_dim: int, *, furthest: int, behind: int | None = None) -> None:
        super().__init__()
        self.furthest, self.behind = furthest, furthest if behind is None else behind
        self.keys = nn.Parameter(torch.zeros(self.furthest + self.behind + 1, head_dim))

    def prepare(self, q: Places, k: Places) -> Prepared:
        return _Looked(lambda q, own: (q @ self.keys.T) * own.scale, self._index, q, k)

    def _index(self, q: Places, k: Places) -> Tensor:
        return (-_distances(q, k)).clamp(-self.behind, self.furthest) + self.behind


class _Looked(Prepared):
    """Scores of each query for every distance, (B, H, T, R), picked by the distance of each key, (B|1, T, S)."""

    def __init__(
        self, scores: Callable[[Tensor, Any], Tensor], index: Callable[[Places, Places], Tensor], q: Places, k: Places
    ) -> None:
        self.scores, self.make, self.q, self.k = scores, index, q, k

    @cached_property
    def index(self) -> Tensor:
        return self.make(self.q, self.k).unsqueeze(1)

    def bias(self, q: Tensor, k: Tensor, own: Any) -> Tensor | None:
        scores = self.scores(q, own)
        return scores.gather(-1, self.index.expand(scores.shape[0], scores.shape[1], -1, -1))


class TransformerXLRelative(Position):
    """Transformer-XL's four terms (Dai et al. 2019, section 3.3) less the content term, which is q . k itself:
    content of the key against a learned u, sinusoid of the distance against q and against a learned v."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        if dim % 2:
            raise RegardError("core.even", dim=dim)
        self.dim, self.heads, self.head_dim = dim, heads, head_dim
        self.distance = nn.Linear(dim, heads * head_dim, bias=False)
        self.u = nn.Parameter(torch.zeros(heads, head_dim))
        self.v = nn.Parameter(torch.zeros(heads, head_dim))

    def prepare(self, q: Places, k: Places) -> Prepared:
        return _Distant(self, q, k)


class _Distant(Prepared):
    def __init__(self, position: TransformerXLRelative, q: Places, k: Places) -> None:
        self.position, self.q, self.k = position, q, k

    @cached_property
    def distances(self) -> tuple[Tensor, Tensor]:
        """Projected sinusoids of the distances that occur (H, K, R), and which of them each pair has (B|1, 1, T, S)."""
        own, distances = self.position, _distances(self.q, self.k)
        least, most = int(distances.min()), int(distances.max())
        seen = torch.arange(least, most + 1, device=distances.device).float()
        angles = seen.unsqueeze(-1) * rotary.frequencies(own.dim, 10_000.0).to(seen.device)
        sinusoids = torch.cat((angles.sin(), angles.cos()), -1)  # (R, D)
        r = own.distance(sinusoids).view(-1, own.heads, own.head_dim).permute(1, 2, 0)
        return r, (distances - least).unsqueeze(1)

    def bias(self, q: Tensor, k: Tensor, own: Any) -> Tensor | None:
        r, index = self.distances
        k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
        content = (k @ self.position.u.unsqueeze(-1)).transpose(-1, -2)  # (B, H, 1, S)
        distant = (q + self.position.v.unsqueeze(1)) @ r  # (B, H, T, R)
        return (content + distant.gather(-1, index.expand(*distant.shape[:2], -1, -1))) * own.scale


def _distances(q: Places, k: Places) -> Tensor:
    """(B|1, T, S): how far each key stands behind each query."""
    return q.positions.unsqueeze(-1) - k.positions.unsqueeze(-2)
