"""What a model and its reference are both given, by what the model reads, and what is then held side by side.

A new kind of input is one function in `_GIVEN`. What is drawn is drawn from a seed, and each example stands alone, so
that nothing depends on padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor

from regard import models
from regard.bundle import Bundle
from regard.errors import RegardError
from regard.heads.detect import Guesses
from regard.heads.outline import Outlines
from regard.heads.pairs import cosines
from regard.heads.unified import Segmented
from regard.layers import Context, Voice
from regard.models.questions import Questioned
from regard.models.towers import Matched, Tower, Towers
from regard.models.transformer import EncoderDecoder, Pyramid, about
from regard.ops.random import hidden_patches

TEXTS = (
    "The quick brown fox isn't tired: it runs 3.14 miles, then sleeps.",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "def f(x):\n    return x + 1  # naïve café",
)
LONGEST = 64  # tokens of a text
SIDES = (96, 128)  # of an image, for a model that takes any
FRAMES = (53, 31)  # that are heard at a time: where there is a choice, two lengths
SEED = 7
States = Mapping[str, Sequence[Tensor]]


@dataclass(frozen=True)
class Shown:
    """What one side gives: its outputs by name, and what goes into and comes out of the layers of each stack."""

    outputs: Mapping[str, Tensor]
    states: States = field(default_factory=dict)


def shown(found: Any) -> Shown:
    """What the reference's usual answer holds."""
    names = {"encoder": ("encoder_hidden_states",), "stack": ("decoder_hidden_states", "hidden_states")}
    states = {side: one for side, each in names.items() if (one := _first(found, each)) is not None}
    return Shown(_outputs(found), states)


def _first(found: Any, names: Sequence[str]) -> Any:
    return next((one for name in names if (one := getattr(found, name, None)) is not None), None)


def _outputs(found: Any) -> dict[str, Tensor]:
    if isinstance(found, Tensor):
        return {"output": found}
    if getattr(found, "pred_boxes", None) is not None:
        masks = getattr(found, "pred_masks", None)
        outlines = {} if masks is None else {"masks": masks}
        return outlines | {"output": found.logits, "boxes": found.pred_boxes}
    one = _first(
        found, ("logits", "prediction_logits", "reconstruction", "projected_states", "spectrogram", "pooler_output")
    )
    if one is None and getattr(found, "start_logits", None) is not None:
        one = torch.stack((found.start_logits, found.end_logits), -1)
    return {"states": found.last_hidden_state} if one is None else {"output": one}


def outputs(found: Any) -> dict[str, Tensor]:
    """What our model's answer holds, by the same names."""
    if isinstance(found, Guesses):
        return {"output": found.logits, "boxes": found.boxes}
    if isinstance(found, Outlines):
        return {"output": found.guesses.logits, "boxes": found.guesses.boxes, "masks": found.masks}
    if isinstance(found, Segmented):  # what stands aside the reference does not show
        return {"output": found.logits}
    return found if isinstance(found, dict) else {"output": found}


def _usual(theirs: Any, inputs: Mapping[str, Any]) -> Shown:
    return shown(theirs(**inputs, output_hidden_states=True))


@dataclass(frozen=True)
class Pair:
    """inputs: by the reference's names; run: our model on the same; ask: the reference, where it is asked otherwise."""

    inputs: Mapping[str, Any]
    run: Callable[[], Any]
    ask: Callable[[Any, Mapping[str, Any]], Shown] = _usual


def pairs(ours: Bundle) -> list[Pair]:
    """Raises RegardError for a model that reads what is not given here."""
    reads = models.reads(ours.family, ours.model.config)
    made = _both if isinstance(ours.model, Towers) else _GIVEN.get(reads)
    made = _matching if isinstance(ours.model, Matched) else made
    if made is None:
        raise RegardError("doctor.beside.reads", family=ours.family, reads=", ".join(reads))
    return list(made(ours, torch.Generator().manual_seed(SEED)))


def _rows(ours: Bundle) -> list[Tensor]:
    """The texts (1, T), as far as the model takes them."""
    vocab, longest = ours.model.config.vocab, min(LONGEST, ours.context)
    rows = [[one for one in ours.tokenizer.encode(text, context=longest) if one < vocab] or [0] for text in TEXTS]
    return [torch.tensor([row]) for row in rows]


def _text(ours: Bundle, generator: torch.Generator) -> Iterator[Pair]:
    """A decoder over an encoder is given the next text."""
    rows = _rows(ours)
    for place, tokens in enumerate(rows):
        inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        if isinstance(ours.model, EncoderDecoder) and ours.task in ("classification", "scoring"):
            yield _ended(ours, tokens)
        elif isinstance(ours.model, EncoderDecoder):
            target = rows[(place + 1) % len(rows)]
            yield Pair({**inputs, "decoder_input_ids": target}, lambda x=tokens, y=target: ours.model(x, y))
        elif ours.task == "choice":
            grouped = {name: one.unsqueeze(0) for name, one in inputs.items()}
            yield Pair(grouped, lambda x=tokens: ours.model(x, Context()))
        else:
            yield Pair(inputs, lambda x=tokens: ours.model(x, Context()))


def _ended(ours: Bundle, tokens: Tensor) -> Pair:
    """A text that is its own target, up to the end token: the reference looks for that, and finds one alone."""
    ends = [one for one in (*ours.marks.ends, ours.tokenizer.eos) if one is not None and one < ours.model.config.vocab]
    if not ends:
        raise RegardError("doctor.beside.no_end")
    others = tokens[~torch.isin(tokens, torch.tensor(ends))]
    tokens = torch.cat((others, torch.tensor(ends[:1]))).unsqueeze(0)
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    return Pair(inputs, lambda: about(ours.model, tokens, Context()))


def _pixels(config: Any, generator: torch.Generator, count: int = 2) -> list[Tensor]:
    """Of the size that the model was made for; of a usual one, where it takes any."""
    size = getattr(config, "image", SIDES)
    height, width = size if isinstance(size, tuple) else (size, size)
    return [torch.randn(1, config.channels, height, width, generator=generator) for _ in range(count)]


def _image(ours: Bundle, generator: torch.Generator) -> Iterator[Pair]:
    model = ours.model
    config: Any = model.config.image if isinstance(model, Tower) else model.config
    if not hasattr(config, "channels"):  # every pixel is the number of its colour
        length = min(LONGEST, config.context)
        for _ in range(2):
            tokens = torch.randint(config.vocab - 1, (1, length), generator=generator)
            yield Pair({"input_ids": tokens}, lambda x=tokens: model(x, Context()))
        return
    for pixels in _pixels(config, generator):
        if ours.family == "vit_mae":
            yield _hiding(ours, pixels, generator)
        else:
            yield Pair({"pixel_values": pixels}, lambda x=pixels: model(x, Context()))


def _hiding(ours: Bundle, pixels: Tensor, generator: torch.Generator) -> Pair:
    """A model that hides patches, by numbers that both are given; one without a head for them is shown all."""
    model, share = ours.model, ours.model.config.share
    count = model.embed.patch(pixels)[0, 0].numel()
    if ours.task != "masked-image":
        inputs = {"pixel_values": pixels, "noise": torch.arange(count).float().unsqueeze(0)}
        return Pair(inputs, lambda: model(pixels, Context()), _unhidden)
    noise = torch.rand(1, count, generator=generator).sort(1).values  # the reference orders the patches by them
    context = Context(masked=hidden_patches((1, count), share, noise))
    return Pair({"pixel_values": pixels, "noise": noise}, lambda: model(pixels, context))


def _unhidden(theirs: Any, inputs: Mapping[str, Any]) -> Shown:
    theirs.config.mask_ratio = 0.0
    return _usual(theirs, inputs)


def _both(ours: Bundle, generator: torch.Generator) -> Iterator[Pair]:
    """Each text beside two images, or whichever of the two the model takes."""
    model = ours.model
    images = None if model.image is None else torch.cat(_pixels(model.config.image, generator))
    texts: list[Any] = [None] if model.text is None else [model.rows([row[0].tolist()])[0] for row in _rows(ours)]
    for tokens in texts:
        inputs = {"input_ids": tokens, "pixel_values": images}
        inputs = {name: one for name, one in inputs.items() if one is not None}
        yield Pair(inputs, lambda x=tokens: _vectors(model, x, images), _towers)


def _vectors(model: Towers, tokens: Tensor | None, images: Tensor | None) -> dict[str, Tensor]:
    made = {} if tokens is None else {"text_embeds": model.texts(tokens)}
    made |= {} if images is None else {"image_embeds": model.images(images)}
    if model.head is None:
        return made
    unit = {name: torch.nn.functional.normalize(one, dim=-1) for name, one in made.items()}
    return {**unit, "output": model.head(*made.values())}


def _towers(theirs: Any, inputs: Mapping[str, Any]) -> Shown:
    found, states = theirs(**inputs), {}
    parts = {"text": ("text_model", "input_ids"), "image": ("vision_model", "pixel_values")}
    named = {}
    for side, (part, name) in parts.items():
        if name in inputs:
            states[side] = getattr(theirs, part, theirs)(inputs[name], output_hidden_states=True).hidden_states
            named[f"{side}_embeds"] = _first(found, (f"{side}_embeds", "pooler_output"))
    if len(named) == 2:
        named["output"] = found.logits_per_text
    return Shown(named, states)


def _matching(ours: Bundle, generator: torch.Generator) -> Iterator[Pair]:
    """Each text and image asked twice: whether it fits, and for the cosine of what has not looked."""
    model = ours.model
    for tokens, image in product(_rows(ours), _pixels(model.config.image, generator)):
        inputs = {"input_ids": tokens, "pixel_values": image}
        yield Pair(inputs, lambda x=tokens, y=image: model(x, y)[0], _looking)
        yield Pair(inputs, lambda x=tokens, y=image: cosines(model.texts(x), model.images(y)), _beside)


def _looking(theirs: Any, inputs: Mapping[str, Any]) -> Shown:
    return _fitting(theirs, inputs, looking=True)


def _beside(theirs: Any, inputs: Mapping[str, Any]) -> Shown:
    return _fitting(theirs, inputs, looking=False)


def _fitting(theirs: Any, inputs: Mapping[str, Any], *, looking: bool) -> Shown:
    """It shows no layers of what reads: that is asked by itself."""
    seen = theirs.vision_model(inputs["pixel_values"], output_hidden_states=True)
    memory = {"encoder_hidden_states": seen.last_hidden_state} if looking else {}
    read = theirs.text_encoder(inputs["input_ids"], **memory, output_hidden_states=True)
    output = theirs(**inputs, use_itm_head=looking).itm_score
    return Shown({"output": output}, {"text": read.hidden_states, "image": seen.hidden_states})


def _captioned(ours: Bundle, generator: torch.Generator) -> Iterator[Pair]:
    """Images, and texts that are written about them; perhaps after a question."""
    model, rows = ours.model, _rows(ours)
    blip = ours.family == "blip"
    sees = model.config.image if blip else model.config.encoder
    for place, (pixels, tokens) in enumerate(zip(_pixels(sees, generator, len(rows)), rows, strict=True)):
        inputs: dict[str, Any] = {"pixel_values": pixels}
        if isinstance(model, Questioned):
            asked = rows[(place + 1) % len(rows)]
            inputs |= {"input_ids": asked, "decoder_input_ids": tokens}
            yield Pair(inputs, lambda x=pixels, q=asked, y=tokens: model(x, q, y), _blip)
        elif blip:
            yield Pair({**inputs, "input_ids": tokens}, lambda x=pixels, y=tokens: model(x, y), _blip)
        else:
            yield Pair({**inputs, "decoder_input_ids": tokens}, lambda x=pixels, y=tokens: model(x, y))


def _blip(theirs: Any, inputs: Mapping[str, Any]) -> Shown:
    """It keeps an answer's logits to itself, and shows no layers of what writes: its parts are listened to."""
    told: list[Any] = []
    writer = theirs.text_decoder
    handle = writer.register_forward_hook(lambda _, given, more, out: told.append((given, more, out)), with_kwargs=True)
    theirs(**inputs)
    handle.remove()
    given, more, out = told[0]
    logits = out.logits if hasattr(out, "logits") else out[0]
    kept = ("input_ids", "attention_mask", "encoder_hidden_states")
    more = {name: one for name, one in more.items() if name in kept}
    states = {
        "encoder": theirs.vision_model(inputs["pixel_values"], output_hidden_states=True).hidden_states,
        "stack": writer(*given, **more, output_hidden_states=True).hidden_states,
    }
    return Shown({"output": logits}, states)


def _waveform(ours: Bundle, generator: torch.Generator) -> Iterator[Pair]:
    """Noise, so long that so many frames are left of it, and not padded; or spectrograms for a Whisper that writes
    nothing."""
    if not hasattr(ours.model.config, "first"):
        for _ in FRAMES:
            x = torch.randn(1, 2 * ours.model.config.frames, ours.model.config.mels, generator=generator)
            yield Pair({"input_features": x.transpose(1, 2)}, lambda x=x: ours.model(x, Context()))
        return
    for x in waveforms(ours.model.config.first, generator):
        yield Pair({"input_values": x}, lambda x=x: ours.model(x, Context()))


def waveforms(first: Any, generator: torch.Generator) -> list[Tensor]:
    """Waveforms (1, N) for the convolutions ``first``."""
    return [torch.randn(1, sum(first.kernels) + math.prod(first.strides) * count, generator=generator)
            for count in FRAMES]  # fmt: skip


def _written_sound(ours: Bundle, generator: torch.Generator) -> Iterator[Pair]:
    """Spectrograms and what is written of them. The reference of Whisper knows one length, and features before
    frames."""
    model, config = ours.model, ours.model.config
    whole = ours.family == "whisper"
    for place, tokens in enumerate(_rows(ours)):
        count = 2 * config.frames if whole else 4 * FRAMES[place % 2]
        x = torch.randn(1, count, config.mels, generator=generator)
        inputs = {"input_features": x.transpose(1, 2) if whole else x, "decoder_input_ids": tokens}
        yield Pair(inputs, lambda x=x, y=tokens: model(x, y))


def _spoken(ours: Bundle, generator: torch.Generator) -> Iterator[Pair]:
    """Texts and the frames that were said so far, in a voice."""
    model, config = ours.model, ours.model.config
    for tokens in _rows(ours):
        frames = torch.randn(1, FRAMES[1], config.mels, generator=generator)
        voice = torch.randn(1, config.speaker, generator=generator)
        inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "decoder_input_values": frames,
                  "speaker_embeddings": voice}  # fmt: skip
        context = Context(voice=Voice(vector=voice, key=None))
        yield Pair(inputs, lambda x=tokens, y=frames, told=context: model(x, y, None, told).fine, _sure)


def _sure(theirs: Any, inputs: Mapping[str, Any]) -> Shown:
    """Without the dropout that the reference has in evaluation too, and draws anew each time."""
    theirs.speecht5.decoder.prenet._consistent_dropout = lambda x, rate: x
    return _usual(theirs, inputs)


def _heard(ours: Bundle, generator: torch.Generator) -> Iterator[Pair]:
    """Spectrograms, of which a vocoder makes waveforms."""
    for count in FRAMES:
        x = torch.randn(1, count, ours.model.config.mels, generator=generator)
        yield Pair({"spectrogram": x}, lambda x=x: ours.model(x), lambda theirs, told: shown(theirs(**told)))


_GIVEN: dict[tuple[str, ...], Callable[[Bundle, torch.Generator], Iterator[Pair]]] = {
    ("text",): _text,
    ("image",): _image,
    ("image", "text"): _captioned,
    ("audio",): _waveform,
    ("audio", "text"): _written_sound,
    ("text", "spectrogram"): _spoken,
    ("spectrogram",): _heard,
}


def stacks(model: Any) -> Iterator[tuple[str, Any]]:
    """The stacks whose layers are compared one by one, by name."""
    if isinstance(model, Tower):
        yield "stack", model.image.stack
    elif isinstance(model, Towers):
        yield from ((side, one.stack) for side in ("text", "image") if (one := getattr(model, side)) is not None)
    elif not isinstance(model, Pyramid):  # of whose stages the reference shows what each makes
        for side in ("encoder", "stack"):
            stack = getattr(model, side, None)
            if stack is not None and hasattr(stack, "blocks"):
                yield side, stack
