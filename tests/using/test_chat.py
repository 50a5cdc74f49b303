"""Talking with a model: what it reads, what is kept, what is forgotten; and with the real SmolLM2."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext

import pytest
import torch

from regard import bundle, models
from regard.bundle import Bundle
from regard.cli.main import run
from regard.errors import BadFileError, RegardError
from regard.generate import Rules, Settings, generate
from regard.generate.conversation import Conversation, Interrupted
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Key

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"
)
TEXTS = ["[user]hello there\n[a]good day to you\n", "[system]be kind\n[user]why?\n[a]because it is so\n"] * 20


@pytest.fixture(scope="module")
def talker(tmp_path_factory) -> Bundle:
    tokenizer = Tokenizer.train("bpe", TEXTS, 320)
    sizes = {"vocab": tokenizer.size, "context": 96, "dim": 24, "depth": 1, "hidden": 32}
    config = models.config("qwen3", {**sizes, "attention": {"heads": 2, "kv_heads": 1, "head_dim": 12}})
    folder = tmp_path_factory.mktemp("talker")
    bundle.save(folder, Bundle(models.build(config, Key(1)).eval(), tokenizer, "qwen3", "causal-lm"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": TEMPLATE}))
    return bundle.load(folder)


def test_the_model_reads_the_template_and_goes_on_from_it(talker):
    settings = Settings(max_tokens=7, temperature=0)
    with Conversation(talker, "be kind", settings) as talk:
        pieces: list[str] = []
        answer = talk.ask("why?", pieces.append)
    text = "[system]be kind\n[user]why?\n[a]"
    tokens = [talker.tokenizer.bos, *talker.tokenizer.encode(text, special=False)]
    assert answer == "".join(pieces) == generate(talker, [tokens], settings)[0].text
    assert talk.messages == [{"role": "user", "content": "why?"}, {"role": "assistant", "content": answer}]


def test_later_answers_know_earlier_questions(talker):
    with Conversation(talker, settings=Settings(max_tokens=5, temperature=0)) as talk:
        first = talk.ask("hello")
        read = talker.tokenizer.decode(talk._tokens())
        talk.ask("why?")
    assert read.startswith(f"[user]hello\n[assistant]{first}\n") and len(talk.messages) == 4


def test_the_oldest_exchanges_are_forgotten_and_the_system_never(talker):
    with Conversation(talker, "be kind", Settings(max_tokens=8, temperature=0)) as talk:
        for number in range(12):
            talk.ask(f"hello there {number}")
            talk.messages[-1]["content"] = "good day"
        talk.messages.append({"role": "user", "content": "why?"})
        read = talker.tokenizer.decode(talk._tokens())
    assert talk.forgotten > 0 and "hello there 0\n" not in read
    assert read.startswith("[system]be kind\n") and read.endswith("[user]why?\n[a]")


def test_a_message_that_never_fits_is_refused_and_not_kept(talker):
    with Conversation(talker, settings=Settings(max_tokens=8)) as talk:
        with pytest.raises(RegardError, match="Shorten it"):
            talk.ask("hello " * 100)
        assert talk.messages == []


def test_an_answer_that_is_stopped_is_kept_as_far_as_it_came(talker):
    def stop(piece: str) -> None:
        raise Interrupted

    with Conversation(talker, settings=Settings(max_tokens=30, temperature=0)) as talk:
        tokens = talker.tokenizer.encode_parts([("[user]hello\n[a]", True)])
        whole = generate(talker, [tokens], talk.settings)[0]
        answer = talk.ask("hello", stop)
    assert talk.messages[-1]["content"] == answer and whole.text.startswith(answer) and len(answer) < len(whole.text)
    assert talk.undo() and not talk.undo() and talk.messages == []


def test_an_answer_can_be_had_again_otherwise(talker):
    with Conversation(talker, settings=Settings(max_tokens=9, temperature=1.5, seed=3)) as talk:
        assert talk.again() is None
        first = talk.ask("hello there")
        assert talk.again() == "hello there" and talk.messages == []
        assert talk.ask("hello there") != first and len(talk.messages) == 2


def test_special_tokens_in_a_message_stay_text(talker):
    with Conversation(talker, settings=Settings(max_tokens=2, temperature=0)) as talk:
        talk.messages.append({"role": "user", "content": "<|eos|>"})
        tokens = talk._tokens()
    assert talker.tokenizer.eos not in tokens


def test_without_a_template_it_says_so(talker, tmp_path):
    plain = Tokenizer.train("bpe", TEXTS, 320)
    bundle.save(tmp_path, Bundle(talker.model, plain, "qwen3", "causal-lm"))
    with pytest.raises(BadFileError, match="chat_template"):
        Conversation(bundle.load(tmp_path))


def test_prompts_may_be_tokens(talker):
    tokens = [talker.tokenizer.bos, *talker.tokenizer.encode("hello", special=False)]
    settings = Settings(max_tokens=6, temperature=0)
    assert generate(talker, [tokens], settings)[0].tokens == generate(talker, ["hello"], settings)[0].tokens


def test_the_verb_answers_in_json(talker, capsys):
    code = run(["chat", str(talker.folder), "--prompt", "hello", "--greedy", "--max-tokens", "4", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 0 and [one["role"] for one in document["messages"]] == ["user", "assistant"]


def test_answers_are_drawn_as_the_files_advise_and_the_likeliest_is_the_likeliest(talker, capsys, tmp_path):
    for file in talker.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    told = {"temperature": 0.4, "repetition_penalty": 3.0, "no_repeat_ngram_size": 1}
    (tmp_path / "generation_config.json").write_text(json.dumps(told))

    def said(folder, *options):
        code = run(["chat", str(folder), "--prompt", "hello", "--max-tokens", "9", "--lang", "en", "--json", *options])
        out, error = capsys.readouterr()
        assert code == 0
        return json.loads(out)["messages"][1]["content"], error

    rules = Rules(repetition=3.0, no_repeat=1)
    with Conversation(bundle.load(tmp_path), settings=Settings(temperature=0.4, max_tokens=9, rules=rules)) as talk:
        expected = talk.ask("hello")
    answer, error = said(tmp_path)
    assert answer == expected
    assert "--temperature 0.4" in error and "--repetition-penalty 3.0" in error and "--no-repeat 1" in error
    likeliest = said(talker.folder, "--greedy")
    assert said(tmp_path, "--greedy") == likeliest and likeliest[0] != expected


def test_commands_with_a_slash(talker, capsys, tmp_path):
    from regard.cli.chat import _commanded

    with Conversation(talker, settings=Settings(max_tokens=2, temperature=0)) as talk:
        talk.ask("hello")
        assert (
            _commanded(talk, f"/save {tmp_path / 'talk.json'}")
            and len(json.loads((tmp_path / "talk.json").read_text())) == 2
        )
        assert _commanded(talk, f"/save {tmp_path / 'talk.json'}")  # never over what is there
        assert "stays as it is" in " ".join(capsys.readouterr().err.split())
        assert _commanded(talk, "/system be brief") and talk.system == "be brief"
        assert _commanded(talk, "/undo") and talk.messages == []
        assert _commanded(talk, "/what") and "/help" in capsys.readouterr().err
        assert not _commanded(talk, "/quit")


def test_what_goes_wrong_with_a_question_does_not_end_the_talk(talker, capsys, monkeypatch):
    from regard.cli.chat import _talk

    typed = iter(["hello " * 100, "hello", KeyboardInterrupt, "/quit"])

    def line(prompt: str) -> str:
        said = next(typed)
        if said is KeyboardInterrupt:
            raise KeyboardInterrupt
        return said

    monkeypatch.setattr("builtins.input", line)
    with Conversation(talker, settings=Settings(max_tokens=2, temperature=0)) as talk:
        _talk(talk, "talker")
        assert [one["content"] for one in talk.messages][::2] == ["hello"] and talk.cut
    said = capsys.readouterr().err
    assert "Shorten it" in said and "2 tokens" in said and "Ctrl-D" in said and next(typed, None) is None


def test_greedy_keeps_the_penalty_that_is_given_and_refuses_what_only_a_draw_heeds(talker, capsys):
    def answer(*options: str) -> str:
        assert run(["chat", str(talker.folder), "--prompt", "hello", "--max-tokens", "12", "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)["messages"][1]["content"]

    settings = Settings(max_tokens=12, temperature=0, rules=Rules(repetition=9.0))
    with Conversation(talker, settings=settings) as talk:
        held = talk.ask("hello")
    assert answer("--greedy", "--repetition-penalty", "9") == held != answer("--greedy")
    assert run(["chat", str(talker.folder), "--prompt", "hello", "--greedy", "--top-p", "0.9"]) == 2
    assert "--top-p" in capsys.readouterr().err


def test_questions_through_a_pipe_are_utf8_or_refused(talker, capsys, monkeypatch):
    def piped(data: bytes) -> int:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        return run(["chat", str(talker.folder), "--greedy", "--max-tokens", "2", "--json"])

    assert piped("\ufeffhello\r\n\n".encode()) == 0
    assert json.loads(capsys.readouterr().out)["messages"][0]["content"] == "hello"
    assert piped(b"caf\xe9\n") == 1 and "UTF-8" in capsys.readouterr().err


@pytest.mark.slow
def test_smollm2_speaks_sense():
    """The real model, four bits a weight: its table, its ropes, its tokenizer and its template have all to be right."""
    loaded = bundle.load("smollm2")
    with Conversation(loaded, settings=Settings(max_tokens=16, temperature=0)) as talk:
        assert talk.ask("What is the capital of France?") == "The capital of France is Paris."
        assert "Rome" in talk.ask("And of Italy?")
    count = sum(parameter.numel() for parameter in loaded.model.parameters())
    assert count == 134_515_008 and torch.isfinite(loaded.model.embed.tokens.weight).all()


def test_a_terminal_shows_that_a_model_is_read(talker, monkeypatch, capsys):
    from regard.cli import fetching

    shown: list[str] = []
    monkeypatch.setattr(fetching, "notes", lambda: Watched(shown))
    for verb in ("chat", "generate"):
        assert run([verb, str(talker.folder), "--prompt", "hello", "--max-tokens", "2", "--lang", "en"]) == 0
    assert shown == [f"Reading {talker.folder} …"] * 2 and "Reading" not in capsys.readouterr().out


class Watched:
    """A console that keeps what it is doing."""

    def __init__(self, shown: list[str]) -> None:
        self.shown = shown

    def status(self, told: str) -> nullcontext:
        self.shown.append(told)
        return nullcontext()
