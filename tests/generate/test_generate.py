"""What a text is made of must depend on its prompt, the seed and the sample's number, and on nothing else."""

from __future__ import annotations

import copy
import dataclasses
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from regard.errors import ConfigError, RegardError
from regard.generate import Rules, Search, Settings, generate
from regard.layers import Context

PROMPTS = ["abc", "q", "the moon, 明月光", "床前", "zzzzzzzzzzz", "abc"]
GREEDY = Settings(temperature=0, max_tokens=13)
DRAWN = Settings(temperature=1.3, top_k=17, top_p=0.95, min_p=0.01, rules=Rules(repetition=1.1), max_tokens=13, seed=5)
BEAMS = Settings(beams=3, samples=2, max_tokens=11)
WAYS = {
    "greedy": GREEDY,
    "drawn": DRAWN,
    "beams": BEAMS,
    "penalised": dataclasses.replace(GREEDY, rules=Rules(repetition=1.5)),
}


def said(texts):
    return [(each.text, each.tokens, each.reason, each.prompt, each.sample) for each in texts]


def close(texts, others):
    assert said(texts) == said(others)
    ours, theirs = (torch.tensor([each.logprob for each in some]) for some in (texts, others))
    torch.testing.assert_close(ours, theirs)


@pytest.fixture(params=list(WAYS))
def settings(request):
    return WAYS[request.param]


def test_cached_is_uncached(any_bundle, settings):
    plain = generate(any_bundle, PROMPTS, dataclasses.replace(settings, cache="none"))
    for cache in ("growing", "preallocated"):
        close(generate(any_bundle, PROMPTS, dataclasses.replace(settings, cache=cache)), plain)


def test_batch_is_alone(any_bundle, settings):
    together = generate(any_bundle, PROMPTS, settings)
    for number, prompt in enumerate(PROMPTS):
        alone = generate(any_bundle, [prompt], settings)
        mine = [dataclasses.replace(each, prompt=0) for each in together if each.prompt == number]
        close(mine, alone)
    assert len({each.text for each in together}) > 3


def test_samples_are_drawn_apart_and_do_not_depend_on_how_many(any_bundle):
    five = generate(any_bundle, ["abc", "明"], dataclasses.replace(DRAWN, samples=5))
    two = generate(any_bundle, ["明"], dataclasses.replace(DRAWN, samples=2))
    assert [each.text for each in five if each.prompt == 1][:2] == [each.text for each in two]
    assert len({each.text for each in five}) == 10
    assert [(each.prompt, each.sample) for each in five] == [(p, s) for p in range(2) for s in range(5)]


def test_many_prompts_are_more_than_a_batch(writer):
    prompts = [letter * (1 + i % 7) for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz" * 2)]
    some = generate(writer, prompts, dataclasses.replace(GREEDY, max_tokens=3))
    assert [each.prompt for each in some] == list(range(52))
    for number in (0, 37, 51):
        assert (
            some[number].text == generate(writer, [prompts[number]], dataclasses.replace(GREEDY, max_tokens=3))[0].text
        )


def test_seed(writer):
    first, again, other = (
        generate(writer, ["明月"], dataclasses.replace(DRAWN, seed=seed))[0].text for seed in (1, 1, 2)
    )
    assert first == again != other


def test_nothing_else_is_random(writer):
    torch.manual_seed(0)
    first = generate(writer, ["明月"], DRAWN)
    torch.rand(7)
    assert said(generate(writer, ["明月"], DRAWN)) == said(first)


def test_greedy_takes_the_most_probable(writer):
    model, tokenizer = writer.model, writer.tokenizer
    [text] = generate(writer, ["abc"], GREEDY)
    row = [tokenizer.bos, *tokenizer.encode("abc", special=False)]
    logprob = 0.0
    for token in text.tokens:
        with torch.no_grad():
            scores = model(torch.tensor([row])).log_softmax(-1)[0, -1]
        assert token == int(scores.argmax())
        logprob += float(scores[token])
        row.append(token)
    assert text.logprob == pytest.approx(logprob, abs=1e-4)


def test_almost_no_temperature_is_greedy(writer):
    cold = dataclasses.replace(GREEDY, temperature=1e-4)
    assert said(generate(writer, PROMPTS, cold)) == said(generate(writer, PROMPTS, GREEDY))


def test_top_k_of_one_is_greedy(writer):
    one = dataclasses.replace(GREEDY, temperature=1.0, top_k=1)
    assert said(generate(writer, PROMPTS, one)) == said(generate(writer, PROMPTS, GREEDY))


def test_pieces_joined_are_the_text(any_bundle, settings):
    pieces = {}
    settings = dataclasses.replace(settings, stop=("e", "明"))
    texts = generate(any_bundle, PROMPTS, settings, lambda p, s, piece: pieces.setdefault((p, s), []).append(piece))
    for each in texts:
        assert "".join(pieces.get((each.prompt, each.sample), [])) == each.text


@pytest.mark.parametrize("way", ["greedy", "drawn"])
@given(data=st.data())
@budget(deadline=None, max_examples=13)
def test_stop_strings(bundles, way, data):
    """The text with stops is the text without, up to where letter by letter the first of them is complete."""
    writer, settings = bundles["qwen3"], WAYS[way]
    free = generate(writer, ["abc"], settings)[0]
    start = data.draw(st.integers(0, len(free.text) - 1))
    stops = tuple(data.draw(st.lists(st.text("abcxyz明", min_size=1, max_size=2), max_size=2)))
    stops += (free.text[start : start + data.draw(st.integers(1, 4))],)
    stopped = generate(writer, ["abc"], dataclasses.replace(settings, stop=stops))[0]
    end = min(free.text.index(stop) + len(stop) for stop in stops if stop in free.text)
    longest = max(len(stop) for stop in stops if free.text[:end].endswith(stop))
    assert (stopped.text, stopped.reason) == (free.text[: end - longest], "stop")
    assert free.tokens[: len(stopped.tokens)] == stopped.tokens


def test_stop_strings_end_beams(writer):
    [free] = generate(writer, ["abc"], Settings(beams=3, max_tokens=9))
    [stopped] = generate(writer, ["abc"], Settings(beams=3, max_tokens=9, stop=(free.text[2:4],)))
    assert free.text[2:4] not in stopped.text


def test_stop_strings_held_back_at_the_end_are_shown(writer):
    """What may begin a stop is text after all when nothing follows it."""
    [free] = generate(ending(writer, None), ["abc"], GREEDY)
    [held] = generate(ending(writer, None), ["abc"], dataclasses.replace(GREEDY, stop=(free.text[-2:] + "zz",)))
    assert held.text == free.text


def test_a_model_in_training_is_not_disturbed_and_drops_nothing(tiny):
    bundle = tiny.bundle("gpt2", dropout=0.5)
    calm = generate(bundle, PROMPTS, DRAWN)
    bundle.model.train()
    assert said(generate(bundle, PROMPTS, DRAWN)) == said(calm)
    assert bundle.model.training


def ending(bundle, eos):
    """The same bundle, another token being the end token."""
    tokenizer = copy.copy(bundle.tokenizer)
    tokenizer.eos = eos
    return SimpleNamespace(**{**vars(bundle), "tokenizer": tokenizer})


def test_a_text_ends_with_the_end_token(any_bundle, settings):
    free = generate(any_bundle, PROMPTS, settings)
    ended = ending(any_bundle, free[0].tokens[3])
    texts = generate(ended, PROMPTS, settings)
    assert "eos" in {each.reason for each in texts}
    for each in texts:
        count = each.tokens.count(ended.tokenizer.eos)
        assert count == (each.reason == "eos") and (not count or each.tokens[-1] == ended.tokenizer.eos)
        assert each.text == any_bundle.tokenizer.decode(
            [token for token in each.tokens if token != ended.tokenizer.eos]
        )
    for number, prompt in enumerate(PROMPTS):
        mine = [dataclasses.replace(each, prompt=0) for each in texts if each.prompt == number]
        close(mine, generate(ended, [prompt], settings))


def test_length(any_bundle, settings):
    for each in generate(ending(any_bundle, None), PROMPTS, settings):
        assert each.reason == "length" and len(each.tokens) == settings.max_tokens


@pytest.mark.parametrize("cache", ["growing", "preallocated", "none"])
def test_the_context_ends_a_text_and_says_so(writer, cache):
    """Beside a short prompt, a long one has the room that its own length leaves."""
    long = "a" * (writer.model.config.context - 5)  # and bos
    settings = dataclasses.replace(GREEDY, cache=cache)
    full, short = generate(writer, [long, "abc"], settings)
    assert (full.reason, len(full.tokens), short.reason) == ("context", 4, "length")
    assert said([short]) == [(*said(generate(writer, ["abc"], settings))[0][:3], 1, 0)]
    assert generate(writer, [long], dataclasses.replace(settings, max_tokens=4))[0].reason == "length"


def test_the_context_ends_beams_and_an_answer(bundles, tiny):
    long = "a" * (tiny.context - 5)
    best = generate(bundles["gpt2"], [long], BEAMS)[0]
    assert (best.reason, len(best.tokens)) == ("context", 4)
    answer = generate(bundles["vaswani"], ["abc"], Settings(temperature=0, max_tokens=100))[0]
    assert (answer.reason, len(answer.tokens)) == ("context", tiny.context - 1)


def test_a_prompt_without_room_is_refused(bundles, tiny):
    long = "a" * (tiny.context - 1)
    with pytest.raises(RegardError, match=f"Prompt 2 .*{tiny.context} tokens.* at most {tiny.context - 1}"):
        generate(bundles["qwen3"], ["a", long], GREEDY)
    with pytest.raises(RegardError, match=f"Text 1 has {tiny.context + 1} tokens"):
        generate(bundles["vaswani"], [long], GREEDY)


def test_an_empty_prompt_begins_with_the_beginning(writer):
    assert len(generate(writer, [""], GREEDY)[0].tokens) == GREEDY.max_tokens
    tokenizer = copy.copy(writer.tokenizer)
    tokenizer.bos = tokenizer.eos = None
    tokenizer.template = SimpleNamespace(before=(), after=())
    with pytest.raises(RegardError, match="Prompt 1 is empty"):
        generate(SimpleNamespace(**{**vars(writer), "tokenizer": tokenizer}), [""], GREEDY)


def test_no_prompts_no_texts(any_bundle, settings):
    assert generate(any_bundle, [], settings) == []


def test_one_text_is_no_list_of_prompts(writer):
    with pytest.raises(TypeError):
        generate(writer, "abc", GREEDY)


def test_a_classifier_writes_nothing(writer):
    with pytest.raises(RegardError, match="regard predict"):
        generate(SimpleNamespace(**{**vars(writer), "task": "classification"}), ["a"], GREEDY)


def test_an_answer_follows_its_source(bundles):
    """Encoder-decoder: another source, another answer; and the one that the whole model gives."""
    model, tokenizer = bundles["vaswani"].model, bundles["vaswani"].tokenizer
    texts = generate(bundles["vaswani"], ["abc", "明月光"], GREEDY)
    assert texts[0].text != texts[1].text
    source = torch.tensor([tokenizer.encode("明月光")])
    row = [model.config.start]
    assert row != [tokenizer.bos]  # BART's begins with eos, Marian's with pad
    with torch.no_grad():
        memory = model.encode(source, Context())
        for token in texts[1].tokens:
            hidden = model.hidden(torch.tensor([row]), Context(memory=memory))
            assert token == int(model.head(hidden)[0, -1].argmax())
            row.append(token)


@pytest.mark.parametrize("way", list(WAYS))
def test_weights_that_are_not_numbers_are_named(tiny, way):
    broken = tiny.bundle("qwen3")
    with torch.no_grad():
        broken.model.stack.blocks[0].feed_forward.down.weight[0, 0] = torch.nan
    with pytest.raises(RegardError, match="not a number"):
        generate(broken, ["abc"], WAYS[way])


def test_tokens_the_tokenizer_does_not_know_are_never_written(tiny):
    """A vocabulary padded to a round number has rows that mean nothing."""
    padded = tiny.bundle("gpt2", vocab=tiny.size + 50)
    texts = generate(padded, ["abc"], Settings(temperature=5.0, samples=29, max_tokens=23))
    assert max(token for each in texts for token in each.tokens) < tiny.size


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"search": Search(length_penalty=0.5)},
        {"search": Search(groups=3)},
        {"search": Search(forced=("a",))},
        {"search": Search(contrast=0.6, guesses=3), "top_k": 4},
        {"search": Search(guesses=3), "beams": 2},
        {"search": Search(best_of=3), "beams": 2},
        {"search": Search(groups=2, forced=("a",)), "beams": 4},
        {"beams": 4, "search": Search(groups=3)},
        {"samples": 3, "search": Search(best_of=2)},
        {"samples": 1, "temperature": 0, "search": Search(best_of=2)},
        {"top_k": 1, "search": Search(contrast=0.6)},
        {"top_p": 0.5, "top_k": 5, "search": Search(contrast=0.6)},
        {"max_tokens": 3, "rules": Rules(min_tokens=4)},
        {"rules": Rules(typical_p=0.5), "temperature": 0},
        {"samples": 0},
        {"beams": 0},
        {"stop": "end"},
        {"stop": ("end", "")},
        {"samples": 2, "temperature": 0},
        {"samples": 3, "beams": 2},
        {"top_k": 5, "beams": 2},
        {"temperature": 0.7, "beams": 2},
        {"top_k": 2, "temperature": 0},
    ],
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Settings(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"repetition": 0.0},
        {"frequency": float("nan")},
        {"presence": float("inf")},
        {"no_repeat": 0},
        {"min_tokens": -1},
        {"typical_p": 0.0},
        {"bad": "end"},
        {"bad": ("",)},
        {"bias": (("", 1.0),)},
        {"bias": (("a", float("nan")),)},
        {"regex": "a", "schema": "{}"},
    ],
)
def test_rules_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Rules(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"length_penalty": float("nan")},
        {"guesses": -1},
        {"groups": 0},
        {"diversity": 0.5},
        {"lookup": 2},
        {"contrast": 1.1},
        {"best_of": 0},
        {"forced": ("",)},
    ],
)
def test_searches_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Search(**wrong)
