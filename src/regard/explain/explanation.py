"""One text explained: everything that this room can see, gathered, and as a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.explain import ablation, attention, question, rollout
from regard.explain import lens as lenses
from regard.explain import saliency as saliences
from regard.explain.patterns import PATTERNS, Measured, measure
from regard.explain.question import Question
from regard.explain.sites import Site, sites
from regard.report.sections import Attention, Head, Lens, Message, Method, Report, Saliency, message
from regard.tasks.base import probabilities

if TYPE_CHECKING:
    from regard.bundle import Bundle

MAP_NUMBERS = 2_000_000  # weights kept as maps, those of the heads that matter most first: a page of some 11 MB

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """One answer: given at the token `after` (none for a label), its probability, its place among all (1 = the model's
    own), and the `best` answers there with their probabilities, best first."""

    after: str | None
    answer: str
    probability: float
    rank: int
    best: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """What `explain` found. `attention` holds one section for each kind of attention, `saliency` one for each input
    text; `complete` says whether every layer and head was looked at."""

    family: str
    task: str
    parameters: int
    text: str
    target: str | None
    remark: Message | None
    tokens: tuple[str, ...]
    source: tuple[str, ...] | None
    answers: tuple[Answer, ...]
    attention: dict[str, Attention]
    lens: Lens
    saliency: tuple[Saliency, ...]
    complete: bool

    def report(self) -> Report:
        """The explanation as a report, to be written by `report.html`, `report.png` or `report.terminal`."""
        from regard.explain.page import report

        return report(self)

    def summary(self) -> Report:
        """The report in as few lines as a terminal has."""
        from regard.explain.page import summary

        return summary(self)

    def document(self) -> dict[str, Any]:
        """The explanation as plain values for JSON; with the weights where layers were chosen."""
        from regard.explain.page import document

        return document(self)


def explain(
    bundle: Bundle,
    text: str,
    target: str | None = None,
    *,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    progress: Progress = lambda done, of: None,
) -> Explanation:
    """Explain the model's answer to `text`, or how it stands to the answer `target`: see `question.ask`.

    `layers` and `heads`, counted from 0, limit the attention that is looked at, and its cost; without rollout then.
    `progress(done, of)` counts the heads switched off. The model is left as it was. Raises RegardError where the model
    cannot be asked so, or the text is too long for it.
    """
    with _at_rest(bundle.model):
        asked = question.ask(bundle, text, target)
        names = _Names(bundle)
        places = sites(bundle.model, layers)
        found = _attention(bundle, asked, names, places, heads, progress, whole=layers is None)
        reading = lenses.lens(bundle.model, asked)
        salient, rise = saliences.saliency(bundle.model, asked)
        answers = tuple(_answers(bundle, asked, names))
    return Explanation(
        family=bundle.family,
        task=bundle.task,
        parameters=sum(each.numel() for each in bundle.model.parameters()),
        text=text,
        target=target,
        remark=asked.remark,
        tokens=names.text(asked.tokens),
        source=None if asked.source is None else names.text(asked.source),
        answers=answers,
        attention=found,
        lens=_lens(asked, names, reading),
        saliency=tuple(_saliency(asked, names, salient, rise)),
        complete=layers is None and heads is None,
    )


@contextmanager
def _at_rest(model: nn.Module) -> Iterator[None]:
    """The model without dropout; afterwards every part is back in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class _Names:
    """What to call tokens and answers."""

    def __init__(self, bundle: Bundle) -> None:
        self.tokenizer = bundle.tokenizer
        self.labels = tuple(bundle.labels or ()) if bundle.task == "classification" else None
        self._known: dict[int, str] = {}

    def text(self, tokens: Tensor) -> tuple[str, ...]:
        """The tokens of a text; "" for those that only continue the character before them."""
        return tuple(self.tokenizer.pieces(tokens.tolist()))

    def answer(self, number: int) -> str:
        if self.labels is not None:
            return self.labels[number]
        if number not in self._known:
            spelled = number < self.tokenizer.size  # a table may have rows that no token stands for
            self._known[number] = self.tokenizer.pieces([number])[0] if spelled else f"#{number}"
        return self._known[number]

    def answers(self, numbers: Tensor) -> Any:
        return [self.answers(each) for each in numbers] if numbers.dim() else self.answer(int(numbers))

    def separators(self, tokens: Tensor) -> list[int]:
        """Positions of special tokens, and of tokens without any letter, digit or other symbol."""
        pieces = self.text(tokens)
        marks = [bool(piece.strip()) and not any(one.isalnum() for one in piece) for piece in pieces]
        return [at for at, token in enumerate(tokens.tolist()) if token in self.tokenizer.specials or marks[at]]


def _answers(bundle: Bundle, asked: Question, names: _Names) -> Iterator[Answer]:
    with torch.no_grad():
        shares = probabilities(question.logits(bundle.model, asked)[0])
    best, order = shares.topk(min(10, shares.shape[-1]))
    text = names.text(asked.tokens)
    for at, number in enumerate(asked.answers):
        share = shares[at, number]
        yield Answer(
            after=text[asked.rows[at]] if asked.rows else None,
            answer=names.answer(number),
            probability=float(share),
            rank=1 + int((shares[at] > share).sum()),
            best=tuple(zip(names.answers(order[at]), best[at].tolist(), strict=True)),
        )


# ---- attention ------------------------------------------------------------------------------------------------------


def _attention(
    bundle: Bundle,
    asked: Question,
    names: _Names,
    places: Sequence[Site],
    heads: Sequence[int] | None,
    progress: Progress,
    *,
    whole: bool,
) -> dict[str, Attention]:
    shown = {place: _chosen_heads(place, heads) for place in places}
    measured, means = _measured(bundle.model, asked, names, places)
    total, done = sum(map(len, shown.values())), 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(done, total)

    effects = ablation.effects(bundle.model, asked, shown, count)
    maps = _maps(bundle.model, asked, effects)
    found = {}
    for kind in dict.fromkeys(place.kind for place in places):
        mine = [place for place in places if place.kind == kind]
        queries, keys = _texts(kind, asked)
        rolled = rollout.rollout(means[place] for place in mine) if whole and kind != "cross" else None
        found[kind] = Attention(
            title=_TITLES[kind],
            queries=names.text(queries),
            keys=names.text(keys),
            heads=[
                Head(
                    layer=place.layer,
                    head=head,
                    weights=maps.get((place, head)),
                    scores=measured[place][head].scores,
                    pattern=measured[place][head].pattern,
                    effect=effects[place][head],
                )
                for place in mine
                for head in shown[place]
            ],
            patterns=PATTERNS,
            effect=message("explain.effect"),
            rollout=rolled,
        )
    return found


_TITLES = {
    "self": message("explain.kind.self"),
    "encoder": message("explain.kind.encoder"),
    "decoder": message("explain.kind.decoder"),
    "cross": message("explain.kind.cross"),
}


def _chosen_heads(place: Site, heads: Sequence[int] | None) -> list[int]:
    for head in heads or ():
        if not 0 <= head < place.heads:
            raise RegardError("explain.no_head", head=head, last=place.heads - 1)
    return list(range(place.heads)) if heads is None else list(heads)


def _texts(kind: str, asked: Question) -> tuple[Tensor, Tensor]:
    """Whose tokens attend to whose."""
    source = asked.tokens if asked.source is None else asked.source
    return {"encoder": (source, source), "cross": (asked.tokens, source)}.get(kind, (asked.tokens, asked.tokens))


def _measured(
    model: Any, asked: Question, names: _Names, places: Sequence[Site]
) -> tuple[dict[Site, list[Measured]], dict[Site, np.ndarray]]:
    """What each head does, and each place's mean map (1, T, S); no other map is kept."""
    measured, means = {}, {}

    def see(place: Site, weights: Tensor) -> None:
        queries, keys = _texts(place.kind, asked)
        array = weights[0].double().cpu().numpy()
        measured[place] = measure(
            array, queries.tolist(), keys.tolist(), names.separators(keys), crosses=place.kind == "cross"
        )
        means[place] = array.mean(0, keepdims=True)

    with attention.watched(places, see), torch.no_grad():
        question.logits(model, asked)
    return measured, means


def _maps(model: Any, asked: Question, effects: dict[Site, dict[int, float]]) -> dict[tuple[Site, int], np.ndarray]:
    """The weights (T, S) of the heads whose switching off changes most, as many as `MAP_NUMBERS` allows."""
    heads = [(place, head) for place in effects for head in effects[place]]
    ranked = sorted(heads, key=lambda one: -abs(effects[one[0]][one[1]]))
    room, wanted = MAP_NUMBERS, list[tuple[Site, int]]()
    for place, head in ranked:
        queries, keys = _texts(place.kind, asked)
        room -= len(queries) * len(keys)
        if room < 0:
            break
        wanted.append((place, head))
    kept = {}

    def see(place: Site, weights: Tensor) -> None:
        for head in effects[place]:
            if (place, head) in wanted:
                kept[place, head] = weights[0, head].float().cpu().numpy()

    with attention.watched(list(dict.fromkeys(place for place, _ in wanted)), see), torch.no_grad():
        question.logits(model, asked)
    return kept


# ---- lens and saliency ----------------------------------------------------------------------------------------------


def _lens(asked: Question, names: _Names, reading: lenses.Reading) -> Lens:
    layers = [message("explain.after_embedding")]
    layers += [message("explain.after_layer", layer=layer) for layer in range(len(reading.answers) - 1)]
    return Lens(
        title=message("explain.lens.title"),
        tokens=names.text(asked.tokens) if asked.rows else (message("explain.whole_text"),),
        layers=layers,
        best=names.answers(reading.answers),
        probabilities=reading.probabilities.cpu().numpy(),
        chosen=asked.rows[0] if asked.rows else 0,
        note=message("explain.lens.note"),
    )


def _saliency(asked: Question, names: _Names, salient: Sequence[saliences.Salience], rise: float) -> Iterator[Saliency]:
    total = sum(float(each.integrated_gradients.sum()) for each in salient)
    inputs = [asked.tokens] if asked.source is None else [asked.source, asked.tokens]
    titles = [message("explain.saliency.source"), message("explain.saliency.written")]
    check = message("explain.saliency.check", total=f"{total:.4f}", rise=f"{rise:.4f}", steps=saliences.STEPS)
    for title, tokens, each in zip(
        titles if len(inputs) > 1 else [message("explain.saliency.title")], inputs, salient, strict=True
    ):
        yield Saliency(
            title=title,
            tokens=names.text(tokens),
            methods=[
                Method(
                    name=message("explain.saliency.integrated"),
                    values=each.integrated_gradients.cpu().numpy(),
                    about=message("explain.saliency.integrated_about"),
                    check=check,
                ),
                Method(
                    name=message("explain.saliency.product"),
                    values=each.gradient_x_input.cpu().numpy(),
                    about=message("explain.saliency.product_about"),
                ),
                Method(
                    name=message("explain.saliency.norm"),
                    values=each.gradient_norm.cpu().numpy(),
                    about=message("explain.saliency.norm_about"),
                ),
            ],
        )
