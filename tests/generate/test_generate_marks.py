"""What a model's own files say begins and ends its texts, and the languages of one that translates between several."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from published import CODES, EOS, FIRST, PROMPTS, TURN, translating, writing

from regard import bundle
from regard.cli.main import run
from regard.errors import BadFileError, RegardError
from regard.generate import Rules, Search, Settings, generate
from regard.inputs import languages, marks
from regard.inputs.marks import Marks
from regard.train import setup
from regard.train.recipe import DataConfig, Recipe


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """BART with a first token, two ends and runs that it never writes."""
    folder = tmp_path_factory.mktemp("marked")
    translating(folder)
    model = writing("BartForConditionalGeneration", folder)
    told = model.generation_config
    told.forced_bos_token_id, told.eos_token_id, told.bad_words_ids = FIRST, [EOS, TURN], [[15], [51, 28], [33]]
    model.save_pretrained(folder)
    return folder, model


@pytest.mark.parametrize("beams", [1, 2, 4])
@pytest.mark.parametrize("penalty", [0.0, 2.0])
def test_first_last_and_never_like_transformers(marked, beams, penalty):
    folder, theirs = marked
    search = Search(length_penalty=penalty) if beams > 1 else Search()
    settings = Settings(
        beams=beams, temperature=1.0 if beams > 1 else 0.0, max_tokens=15, search=search, rules=Rules(repetition=1.4)
    )
    found = generate(bundle.load(folder), PROMPTS, settings)
    endings = set()
    for prompt, one in zip(PROMPTS, found, strict=True):
        expected = theirs.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), num_beams=beams, max_new_tokens=15,
            do_sample=False, length_penalty=penalty, repetition_penalty=1.4,
        )[0, 1:].tolist()  # fmt: skip
        ends = [at for at, token in enumerate(expected) if token in (EOS, TURN)]
        assert list(one.tokens) == (expected[: ends[0] + 1] if ends else expected)
        assert one.tokens[0] == FIRST and not {15, 33} & set(one.tokens)
        endings.add(one.tokens[-1])
    assert TURN in endings or EOS in endings


def test_no_text_ends_early_at_either_end(marked):
    folder, _ = marked
    loaded = bundle.load(folder)
    assert loaded.marks == Marks(ends=(EOS, TURN), first=FIRST, never=((15,), (51, 28), (33,)))
    soon = generate(loaded, PROMPTS, Settings(temperature=0.0, max_tokens=20, rules=Rules(repetition=1.4)))
    assert any(one.tokens[-1] == TURN and len(one.tokens) < 12 for one in soon)
    rules = Rules(min_tokens=12, repetition=1.4)
    for one in generate(loaded, PROMPTS, Settings(temperature=0.0, max_tokens=20, rules=rules)):
        assert len(one.tokens) >= 12 and not {EOS, TURN} & set(one.tokens[:12])


def test_marks_come_back_and_the_reference_finds_them(marked, tmp_path):
    folder, _ = marked
    loaded = bundle.load(folder)
    bundle.save(tmp_path / "again", loaded)
    assert bundle.load(tmp_path / "again").marks == loaded.marks
    theirs = transformers.BartForConditionalGeneration.from_pretrained(tmp_path / "again").generation_config
    assert theirs.eos_token_id == [EOS, TURN] and theirs.forced_bos_token_id == FIRST
    assert theirs.bad_words_ids == [[15], [51, 28], [33]]


def test_older_folders_say_it_in_their_config(marked, tmp_path):
    folder, _ = marked
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "generation_config.json").unlink()
    data = json.loads((tmp_path / "config.json").read_text())
    told = {"forced_bos_token_id": 21, "eos_token_id": [EOS, 30]}
    (tmp_path / "config.json").write_text(json.dumps(data | told))
    assert bundle.load(tmp_path).marks == Marks(ends=(EOS, 30), first=21)


@pytest.mark.parametrize(
    "told",
    [
        {"eos_token_id": "</s>"}, {"eos_token_id": [2, True]}, {"eos_token_id": [2, -1]}, {"eos_token_id": {"a": 1}},
        {"forced_bos_token_id": 54}, {"forced_bos_token_id": "x"}, {"bad_words_ids": [7]}, {"bad_words_ids": [[]]},
        {"bad_words_ids": [["a"]]}, {"bad_words_ids": "aa"}, [], {"eos_token_id": [1] * 5000},
        {"decoder_start_token_id": 1000},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(tmp_path, told):
    (tmp_path / marks.FILE).write_text(json.dumps(told))
    with pytest.raises(BadFileError, match="generation_config"):
        marks.read(tmp_path, {}, 54, 2)


def test_a_form_begins_behind_the_language(marked):
    folder, _ = marked
    settings = Settings(temperature=0.0, max_tokens=15, rules=Rules(regex="[ab]{3}"))
    [one] = generate(bundle.load(folder), ["abc"], settings)
    assert one.tokens[0] == FIRST and one.tokens[-1] == EOS and set(one.text[1:]) <= {"a", "b"} and len(one.tokens) == 5


@pytest.fixture(scope="module")
def nllb(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nllb")
    translating(folder)
    return folder, writing("M2M100ForConditionalGeneration", folder)


@pytest.mark.parametrize("beams", [1, 3])
def test_languages_like_transformers(nllb, beams):
    folder, theirs = nllb
    loaded = bundle.load(folder).between("fra_Latn", "zho_Hans")
    known = languages.known(loaded.tokenizer)
    assert list(known) == list(CODES)
    tokens = loaded.tokenizer.encode("abc de")
    assert tokens[0] == known["fra_Latn"] and tokens[-1] == EOS
    settings = Settings(beams=beams, temperature=1.0 if beams > 1 else 0.0, max_tokens=9)
    [one] = generate(loaded, ["abc de"], settings)
    expected = theirs.generate(
        torch.tensor([tokens]), attention_mask=torch.ones(1, len(tokens)), num_beams=beams, max_new_tokens=9,
        do_sample=False, forced_bos_token_id=known["zho_Hans"],
    )[0, 1:].tolist()  # fmt: skip
    assert list(one.tokens) == (expected[: expected.index(EOS) + 1] if EOS in expected else expected)
    assert one.tokens[0] == known["zho_Hans"] and "zho" not in one.text


def test_older_models_start_with_the_language(nllb):
    loaded = bundle.load(nllb[0])
    known = languages.known(loaded.tokenizer)
    _, found = languages.between(loaded.tokenizer, Marks(start=known["eng_Latn"]), None, "fra_Latn")
    assert found == Marks(start=known["fra_Latn"])


def test_the_language_of_another_is_named(nllb, tmp_path):
    loaded = bundle.load(nllb[0])
    with pytest.raises(RegardError, match="zho_Hans, zho_Hant"):
        loaded.between(None, "zh")
    with pytest.raises(RegardError, match="eng_Latn"):
        loaded.between("xx", None)


@pytest.fixture
def called(capsys):
    def call(*arguments: object):
        code = run([*map(str, arguments), "--threads", "1", "--device", "cpu"])
        return code, *capsys.readouterr()

    return call


def test_the_language_is_asked_for(nllb, called):
    code, out, error = called("generate", nllb[0], "--prompt", "abc", "--max-tokens", 5)
    assert code and not out and "--target-language" in error and "zho_Hans" in error
    asked = ["--source-language", "fra_Latn", "--target-language", "zho_Hans"]
    [one] = generate(
        bundle.load(nllb[0]).between("fra_Latn", "zho_Hans"), ["abc"], Settings(temperature=0, max_tokens=5)
    )
    code, out, _ = called("generate", nllb[0], "--prompt", "abc", "--max-tokens", 5, *asked)
    assert (code, out.rstrip("\n")) == (0, one.text.rstrip("\n"))
    code, out, _ = called("predict", nllb[0], "abc", "--max-tokens", 5, *asked)
    assert code == 0 and json.loads(out)["target"] == one.text


def test_a_training_keeps_its_languages(nllb, tmp_path):
    """In the tokens it is given, in what it leaves behind, and when it goes on without its base."""
    (tmp_path / "pairs.jsonl").write_text('{"source": "abc", "target": "de"}\n{"source": "b", "target": "e"}\n')
    task = {"name": "seq2seq", "source_language": "fra_Latn", "target_language": "zho_Hant"}
    data = DataConfig(train=str(tmp_path / "pairs.jsonl"), share=0.0)
    made = setup.prepare(Recipe(base=str(nllb[0]), task=task, data=data))
    known = languages.known(made.tokenizer)
    [sample] = made.task.samples({"source": "abc", "target": "de"})
    assert sample.source[0] == known["fra_Latn"] and sample.tokens[:2].tolist() == [EOS, known["zho_Hant"]]
    kept = tmp_path / "tokenizer"
    made.tokenizer.save(kept)
    marks.save(kept, made.marks)
    again = setup.prepare(made.recipe, tokenizer=kept, with_base=False)
    assert again.marks == made.marks and again.tokenizer.template == made.tokenizer.template
    bundle.save(tmp_path / "model", made.bundle(made.build()[0]))
    loaded = bundle.load(tmp_path / "model")
    assert loaded.tokenizer.encode("abc")[0] == known["fra_Latn"]
    [one] = generate(loaded, ["abc"], Settings(temperature=0, max_tokens=5))
    assert one.tokens[0] == known["zho_Hant"]
