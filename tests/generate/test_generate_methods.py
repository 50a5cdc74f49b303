"""Every way to decode: what transformers gives for the same weights, or what the paper says, the slow way."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import transformers
from every_text import Digits, every_text

from regard.errors import RegardError
from regard.generate import Rules, Search, Settings, generate
from regard.generate.ahead import follow
from regard.inputs.tokenizer import Tokenizer
from regard.models import gpt2
from regard.weights import table

PROMPTS = ["abc", "q", "the moon, 明月光", "床前", "zzzzzzzzzzz"]
GREEDY = Settings(temperature=0, max_tokens=17)
DRAWN = Settings(temperature=1.3, max_tokens=17, seed=3)
WAYS = {
    "bias": replace(GREEDY, rules=Rules(bias=(("e", 3.0), ("an", 5.0), ("明月", -4.0)))),
    "counted": replace(GREEDY, rules=Rules(frequency=1.5, presence=2.0)),
    "no-repeat": replace(GREEDY, rules=Rules(no_repeat=2)),
    "bad": replace(GREEDY, rules=Rules(bad=("a", "e", "th"))),
    "long": replace(GREEDY, rules=Rules(min_tokens=15)),
    "typical": replace(DRAWN, rules=Rules(typical_p=0.6)),
    "ruled beams": Settings(beams=3, samples=3, max_tokens=11, rules=Rules(repetition=1.3, no_repeat=2, bad=("e",))),
    "groups": Settings(beams=6, samples=6, max_tokens=9, search=Search(groups=3, diversity=0.7)),
    "forced": Settings(beams=4, samples=2, max_tokens=11, search=Search(forced=("moon", "z"))),
    "contrast": Settings(top_k=4, max_tokens=13, search=Search(contrast=0.6)),
    "best": replace(DRAWN, samples=2, search=Search(best_of=5)),
    "lookup": replace(GREEDY, search=Search(guesses=4, lookup=2)),
    "drawn lookup": replace(DRAWN, samples=2, search=Search(guesses=4, lookup=2)),
}


@pytest.fixture(params=list(WAYS))
def settings(request):
    return WAYS[request.param]


def said(texts):
    return [(each.text, each.tokens, each.reason, each.sample) for each in texts]


def test_batch_is_alone(any_bundle, settings):
    together = generate(any_bundle, PROMPTS, settings)
    for number, prompt in enumerate(PROMPTS):
        assert said(each for each in together if each.prompt == number) == said(
            generate(any_bundle, [prompt], settings)
        )


@pytest.mark.parametrize("cache", ["growing", "none"])
def test_cached_is_uncached(any_bundle, settings, cache):
    other = generate(any_bundle, PROMPTS[:3], replace(settings, cache=cache))
    assert said(generate(any_bundle, PROMPTS[:3], settings)) == said(other)


def test_pieces_joined_are_the_text(writer, settings):
    pieces = {}
    texts = generate(writer, PROMPTS[:2], settings, lambda p, s, piece: pieces.setdefault((p, s), []).append(piece))
    for each in texts:
        assert "".join(pieces.get((each.prompt, each.sample), [])) == each.text


@pytest.fixture(scope="module")
def twins(tiny):
    """The same random GPT-2 twice: ours, and transformers' with our weights."""
    bundle = tiny.bundle("gpt2", seed=7)
    ours = bundle.model.config
    sizes = {"n_embd": ours.dim, "n_layer": ours.depth, "n_head": ours.heads, "n_positions": ours.context}
    config = transformers.GPT2Config(vocab_size=tiny.size, n_inner=ours.hidden, **sizes)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    theirs.load_state_dict(table.write(gpt2.TABLE, bundle.model), strict=False)
    return bundle, theirs


def reference(twins, prompt: str, **asked) -> list[list[int]]:
    bundle, theirs = twins
    tokens = [bundle.tokenizer.bos, *bundle.tokenizer.encode(prompt, special=False)]
    ends = {"eos_token_id": bundle.tokenizer.eos, "pad_token_id": bundle.tokenizer.pad}
    found = theirs.generate(
        torch.tensor([tokens]), attention_mask=torch.ones(1, len(tokens), dtype=torch.long), **ends, **asked
    )[:, len(tokens) :]
    rows = found.tolist()
    return [row[: row.index(bundle.tokenizer.eos) + 1] if bundle.tokenizer.eos in row else row for row in rows]


def ids(twins, word: str) -> list[int]:
    return twins[0].tokenizer.encode(word, special=False)


RULES = {
    "none": (Rules(), lambda twins: {}),
    "repetition": (Rules(repetition=1.7), lambda twins: {"repetition_penalty": 1.7}),
    "no-repeat": (Rules(no_repeat=2), lambda twins: {"no_repeat_ngram_size": 2}),
    "no-repeat-3": (Rules(no_repeat=3), lambda twins: {"no_repeat_ngram_size": 3}),
    "long": (Rules(min_tokens=19), lambda twins: {"min_new_tokens": 19}),
    "bad": (
        Rules(bad=("a", "th", "e")),
        lambda twins: {"bad_words_ids": [ids(twins, word) for each in ("a", "th", "e") for word in (each, " " + each)]},
    ),
    "bias": (
        Rules(bias=(("e", 2.5), ("th", -3.0), ("zo", 6.0))),
        lambda twins: {"sequence_bias": [[ids(twins, w), v] for w, v in (("e", 2.5), ("th", -3.0), ("zo", 6.0))]},
    ),
    "all": (
        Rules(repetition=1.2, no_repeat=3, min_tokens=9, bad=("m",)),
        lambda twins: {
            "repetition_penalty": 1.2,
            "no_repeat_ngram_size": 3,
            "min_new_tokens": 9,
            "bad_words_ids": [ids(twins, "m"), ids(twins, " m")],
        },
    ),
}


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("beams", [1, 3])
def test_rules_like_transformers(twins, rule, beams):
    rules, asked = RULES[rule]
    settings = replace(GREEDY, max_tokens=23, beams=beams, rules=rules)
    for prompt in PROMPTS[:4]:
        [expected] = reference(twins, prompt, do_sample=False, num_beams=beams, max_new_tokens=23, **asked(twins))
        assert list(generate(twins[0], [prompt], settings)[0].tokens) == expected


@pytest.mark.parametrize("stopping", [("estimate", False), ("full", True), ("never", "never")])
@pytest.mark.parametrize("penalty", [0.5, 1.0, 2.0])
def test_early_stopping_like_transformers(twins, stopping, penalty):
    ours, theirs = stopping
    settings = Settings(beams=2, samples=2, max_tokens=15, search=Search(early_stopping=ours, length_penalty=penalty))
    asked = {"early_stopping": theirs, "length_penalty": penalty, "num_beams": 2, "num_return_sequences": 2}
    bundle, other = twins
    for prompt, end in (("abc", 21), ("q", 21), ("床前", 4), ("abc", 9)):  # tokens that end some beams early
        ending = SimpleNamespace(**{**vars(bundle), "tokenizer": copy.copy(bundle.tokenizer)})
        ending.tokenizer.eos = end
        expected = reference((ending, other), prompt, do_sample=False, max_new_tokens=15, **asked)
        assert [list(each.tokens) for each in generate(ending, [prompt], settings)] == expected


def logits_of(bundle, tokens):
    with torch.no_grad():
        return bundle.model(torch.tensor([tokens]))[0, -1, : bundle.tokenizer.size]


def start(bundle, prompt):
    return [bundle.tokenizer.bos, *bundle.tokenizer.encode(prompt, special=False)]


def test_least_length_is_exact(writer, tiny):
    """The end token is ruled out where the text would be one too short, and not where it is long enough."""
    [free] = generate(writer, ["abc"], GREEDY)
    bundle = tiny.bundle("qwen3")
    bundle.tokenizer.eos = free.tokens[2]
    assert free.tokens[2] not in free.tokens[:2]
    [enough] = generate(bundle, ["abc"], replace(GREEDY, rules=Rules(min_tokens=2)))
    [short] = generate(bundle, ["abc"], replace(GREEDY, rules=Rules(min_tokens=3)))
    assert enough.tokens == free.tokens[:3] and enough.reason == "eos"
    assert short.tokens[:2] == free.tokens[:2] and short.tokens[2] != free.tokens[2]


def test_frequency_and_presence_are_taken_for_what_was_written(writer):
    """By hand: nothing is taken for the prompt, and each time counts."""
    settings = replace(GREEDY, rules=Rules(frequency=0.6, presence=1.1))
    [text] = generate(writer, ["aabbcc"], settings)
    row, written = start(writer, "aabbcc"), []
    for token in text.tokens:
        logits = logits_of(writer, row + written)
        for each in set(written):
            logits[each] -= 1.1 + 0.6 * written.count(each)
        assert token == int(logits.argmax())
        written.append(token)
    assert list(text.tokens) != list(generate(writer, ["aabbcc"], GREEDY)[0].tokens)


def test_contrastive_search_by_hand(twins):
    """Equation 5 of Su et al. 2022, every candidate read by itself from its first token."""
    bundle = twins[0]
    settings = Settings(top_k=4, max_tokens=13, search=Search(contrast=0.6))
    for prompt in PROMPTS[:3]:
        row = start(bundle, prompt)
        [text] = generate(bundle, [prompt], settings)
        for token in text.tokens:
            best = logits_of(bundle, row).softmax(-1).topk(4)
            scores = []
            for probability, candidate in zip(best.values, best.indices.tolist(), strict=True):
                with torch.no_grad():
                    hidden = bundle.model.hidden(torch.tensor([[*row, candidate]]))[0]
                like = torch.cosine_similarity(hidden[-1:], hidden[:-1], dim=-1).max()
                scores.append(float(0.4 * probability - 0.6 * like))
            assert token == best.indices[max(range(4), key=scores.__getitem__)]
            row.append(token)
    assert text.tokens != generate(bundle, [prompt], replace(GREEDY, max_tokens=13))[0].tokens


def test_without_diversity_every_group_is_a_search_of_its_own(writer):
    groups = generate(writer, ["abc"], Settings(beams=6, samples=6, max_tokens=9, search=Search(groups=2)))
    alone = generate(writer, ["abc"], Settings(beams=3, samples=3, max_tokens=9))
    assert [each.tokens for each in groups] == [each.tokens for each in alone for _ in range(2)]


def test_groups_by_hand(writer):
    """Groups of one beam: each takes the most probable token less what the groups before it took there."""
    settings = Settings(beams=3, samples=3, max_tokens=7, search=Search(groups=3, diversity=2.0, length_penalty=0.0))
    texts = {each.tokens for each in generate(writer, ["abc"], settings)}
    rows, done = [start(writer, "abc") for _ in range(3)], set()
    for _ in range(7):
        chosen: list[int] = []
        for row in rows:
            scores = logits_of(writer, row).log_softmax(-1)
            for token in chosen:
                scores[token] -= 2.0
            token = int(scores.argmax())
            assert token != writer.tokenizer.eos
            chosen.append(token)
            row.append(token)
    done = {tuple(row[-7:]) for row in rows}
    assert texts == done and len(done) > 1


def test_forced_words_stand_in_every_text(any_bundle):
    settings = Settings(beams=5, samples=3, max_tokens=14, search=Search(forced=("moon", "明", "th")))
    for each in generate(any_bundle, PROMPTS, settings):
        assert all(word in each.text for word in ("moon", "明", "th"))


def test_wide_enough_beams_find_the_best_text_with_the_words(tiny):
    bundle = tiny.bundle("gpt2", seed=3, vocab=Digits.size)
    bundle.tokenizer = Digits()
    settings = Settings(beams=400, samples=5, max_tokens=4, search=Search(forced=("31",), length_penalty=0.0))
    found = [each.tokens for each in generate(bundle, ["23"], settings)]
    every = every_text(bundle.model, [1, 2, 3], Digits.eos, 4, Digits.size, 0.0)
    assert found == [tokens for _, tokens, _ in every if (3, 1) in itertools.pairwise(tokens)][:5]


def test_words_that_do_not_fit_are_named(writer):
    with pytest.raises(RegardError, match="forced words within 3 tokens"):
        generate(writer, ["a"], Settings(beams=2, max_tokens=3, search=Search(forced=("abcdef",))))


def test_the_best_of_several(writer):
    """The same texts as without, the best by log-probability a token first."""
    every = generate(writer, ["abc"], replace(DRAWN, samples=7))
    best = sorted(every, key=lambda each: -each.logprob / len(each.tokens))
    kept = generate(writer, ["abc"], replace(DRAWN, samples=3, search=Search(best_of=7)))
    assert [each.tokens for each in kept] == [each.tokens for each in best[:3]]


@pytest.mark.parametrize(
    "way", [GREEDY, replace(DRAWN, samples=3), replace(DRAWN, rules=Rules(repetition=1.4, typical_p=0.9))]
)
@pytest.mark.parametrize(("cache", "guesses"), [("preallocated", 4), ("growing", 1), ("none", 3)])
def test_guesses_change_nothing(any_bundle, way, cache, guesses):
    """Token for token, greedy and drawn: so the distribution is the same, for every draw is."""
    long = replace(way, max_tokens=40, cache=cache)
    plain = said(generate(any_bundle, PROMPTS[:3], long))
    ahead = replace(long, search=Search(guesses=guesses, lookup=2))
    assert said(generate(any_bundle, PROMPTS[:3], ahead)) == plain


@pytest.mark.parametrize("way", [GREEDY, replace(DRAWN, samples=2)])
@pytest.mark.parametrize("name", ["qwen3", "windowed", "vaswani"])
def test_a_draft_changes_nothing(tiny, bundles, name, way):
    """A draft that is nearly the model, so that some guesses are right and some are not."""
    bundle, draft = bundles[name], tiny.bundle(name, tokenizer=bundles[name].tokenizer)
    with torch.no_grad():
        for weight in draft.model.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    long = replace(way, max_tokens=40)
    reads = Reads(bundle.model)
    plain = said(generate(bundle, PROMPTS[:3], long))
    without, reads.count = reads.count, 0
    ahead = replace(long, search=Search(guesses=3))
    assert said(generate(bundle, PROMPTS[:3], ahead, draft=draft)) == plain
    reads.off()
    assert without > 0


class Reads:
    """Counts how often the model is called."""

    def __init__(self, model) -> None:
        self.count = 0
        self._hook = model.stack.register_forward_hook(self._one)

    def _one(self, *_: object) -> None:
        self.count += 1

    def off(self) -> None:
        self._hook.remove()


def test_a_draft_that_is_right_saves_reads(writer):
    """The model as its own draft: every guess is right, and a read gives `guesses` + 1 tokens."""
    settings = replace(GREEDY, max_tokens=40, search=Search(guesses=4))
    reads = Reads(writer.model)
    [text] = generate(writer, ["abc"], settings, draft=writer)
    reads.off()
    assert len(text.tokens) > 20
    own = 1 + math.ceil((len(text.tokens) - 1) / 5)
    drafted = 1 + math.ceil((len(text.tokens) - 1) / 5) * 4
    assert reads.count <= own + drafted + 1


def test_drawn_guesses_keep_the_distribution(tiny):
    """Exactly: all texts of two tokens, each drawn as often as its probability says, to the sampling error of 1,500."""
    bundle = tiny.bundle("gpt2", seed=2, vocab=Digits.size)
    bundle.tokenizer = Digits()
    draft = tiny.bundle("gpt2", seed=9, vocab=Digits.size)
    draft.tokenizer = bundle.tokenizer
    draws = 1500
    settings = Settings(samples=draws, max_tokens=2, search=Search(guesses=1))
    counts: dict[tuple[int, ...], int] = {}
    for each in generate(bundle, [[1, 2, 3]], settings, draft=draft):
        counts[each.tokens] = counts.get(each.tokens, 0) + 1
    every = {tokens: math.exp(logprob) for _, tokens, logprob in every_text(bundle.model, [1, 2, 3], 0, 2, 5, 0.0)}
    assert sum(every.values()) == pytest.approx(1, abs=1e-4)
    square = sum((counts.get(tokens, 0) - draws * p) ** 2 / (draws * p) for tokens, p in every.items())
    assert square < 42  # 20 degrees of freedom: exceeded by chance once in 400, and the seed is fixed


def test_what_followed_before():
    assert follow([1, 2, 3, 4, 1, 2], 2, 3) == [3, 4, 1]
    assert follow([1, 2, 3, 9, 2, 5, 1, 2], 2, 2) == [3, 9]  # the longer run first, though the shorter stood later
    assert follow([2, 5, 2, 7, 2], 3, 1) == [7]  # the latest place first
    assert follow([1, 2, 3], 2, 3) == []


def test_a_draft_with_other_tokens_is_refused(tiny):
    tokenizers = [Tokenizer.train("bpe", ["the moon and the frost", text], vocab=280) for text in ("abc", "xyz" * 9)]
    bundle, draft = (tiny.bundle("qwen3", vocab=t.size, tokenizer=t) for t in tokenizers)
    with pytest.raises(RegardError, match="same tokens"):
        generate(bundle, ["a"], replace(GREEDY, search=Search(guesses=2)), draft=draft)


def test_guesses_need_a_source_and_a_draft_needs_guesses(writer):
    with pytest.raises(RegardError, match="draft model"):
        generate(writer, ["a"], replace(GREEDY, search=Search(guesses=2)))
    with pytest.raises(RegardError, match="would not be asked"):
        generate(writer, ["a"], GREEDY, draft=writer)


def test_log_probabilities_are_the_models_own(any_bundle):
    """Of the token and of the best, before any rule; by a search as by a draw."""
    for settings in (replace(DRAWN, rules=Rules(repetition=1.5)), WAYS["groups"], WAYS["contrast"]):
        for each in generate(any_bundle, ["abc"], settings, told=3):
            assert each.logprob == pytest.approx(sum(step.logprob for step in each.steps))
            assert tuple(step.token for step in each.steps) == each.tokens
            for step in each.steps:
                assert len(step.best) == 3 and step.best == tuple(sorted(step.best, key=lambda pair: -pair[1]))
                found = dict(step.best)
                assert step.logprob <= step.best[0][1] and found.get(step.token, step.logprob) == step.logprob


def test_log_probabilities_by_hand(writer):
    [text] = generate(writer, ["abc"], GREEDY, told=4)
    expected = logits_of(writer, start(writer, "abc")).log_softmax(-1).topk(4)
    assert [token for token, _ in text.steps[0].best] == expected.indices.tolist()
    assert [value for _, value in text.steps[0].best] == pytest.approx(expected.values.tolist(), abs=1e-4)


def test_rules_that_leave_nothing_are_named(tiny):
    bundle = tiny.bundle("gpt2", vocab=Digits.size)
    bundle.tokenizer = Digits()
    with pytest.raises(RegardError, match="leave no token"):
        generate(bundle, [[1]], replace(GREEDY, rules=Rules(bad=tuple("1234"), min_tokens=1)))
