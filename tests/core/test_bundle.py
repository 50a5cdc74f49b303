"""A bundle on disk is read by transformers as it is by us, and a folder that lies about itself is refused."""

from __future__ import annotations

import json
import sys
import time

import pytest
import torch
import transformers
from core_parts import FAMILIES, randomised, tiny
from torch.testing import assert_close

from regard import bundle, models
from regard.bundle import Bundle
from regard.errors import BadFileError, ConfigError, RegardError
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Context

TEXTS = ["the moon is bright", "明月几时有，把酒问青天", "a man is eating a piece of bread", "床前明月光"]
AUTO = {
    "bert": transformers.AutoModelForMaskedLM,
    "bert classify": transformers.AutoModelForSequenceClassification,
    "gpt2": transformers.AutoModelForCausalLM,
    "gpt2 classify": transformers.AutoModelForSequenceClassification,
    "qwen3": transformers.AutoModelForCausalLM,
    "qwen3 windowed": transformers.AutoModelForCausalLM,
    "qwen3 classify": transformers.AutoModelForSequenceClassification,
    "vaswani": transformers.AutoModelForSeq2SeqLM,
}
TASKS = {"vaswani": "seq2seq", "bert": "masked-lm"}


@pytest.fixture(scope="module")
def tokenizers():
    return {kind: Tokenizer.train(kind, TEXTS, 293) for kind in ("wordpiece", "characters")}


@pytest.fixture
def made(tokenizers):
    def make(name: str, **changes) -> Bundle:
        family, _ = FAMILIES[name]
        tokenizer = tokenizers["wordpiece" if family == "bert" else "characters"]
        ends = {"start": tokenizer.pad, "pad": tokenizer.pad} if family == "vaswani" else {}
        model = randomised(tiny(name, vocab=tokenizer.size, **ends, **changes), spread=0.2)
        task = TASKS.get(name, "classification" if "classify" in name else "causal-lm")
        return Bundle(model, tokenizer, family, task, getattr(model.config, "labels", ()))

    return make


@pytest.mark.parametrize("name", AUTO)
@torch.no_grad()
def test_a_bundle_comes_back_and_transformers_reads_it(name, made, tmp_path):
    ours = made(name)
    bundle.save(tmp_path, ours)
    again = bundle.load(tmp_path)
    assert (again.family, again.task, again.labels) == (ours.family, ours.task, ours.labels)
    assert again.model.config == ours.model.config and again.folder == tmp_path and again.context == 61
    theirs, report = AUTO[name].from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        ids = ours.tokenizer.encode(text)
        assert again.tokenizer.encode(text) == ids == tokenizer(text)["input_ids"]
        tokens = torch.tensor([ids])
        inputs = (tokens, tokens) if name == "vaswani" else (tokens,)
        more = {"decoder_input_ids": tokens} if name == "vaswani" else {}
        expected = theirs.eval()(input_ids=tokens, **more).logits
        assert torch.equal(again.model(*inputs), ours.model(*inputs))
        assert_close(again.model(*inputs), expected)


@torch.no_grad()
def test_a_pooler_is_read_as_a_bare_bert(made, tmp_path):
    ours = bundle.with_head(made("bert"), "pool")
    randomised(ours.model)
    bundle.save(tmp_path, ours)
    theirs = transformers.AutoModel.from_pretrained(tmp_path)
    tokens = torch.tensor([ours.tokenizer.encode(TEXTS[0])])
    again = bundle.load(tmp_path)
    assert again.task == "embedding"
    assert_close(again.model(tokens), theirs(tokens).pooler_output)
    assert_close(again.model.hidden(tokens), theirs(tokens).last_hidden_state)


@torch.no_grad()
def test_marian_writes_what_we_write(made, tmp_path):
    ours = made("vaswani")
    bundle.save(tmp_path, ours)
    theirs = transformers.MarianMTModel.from_pretrained(tmp_path).eval()
    source = torch.tensor([ours.tokenizer.encode(TEXTS[1])])
    written = theirs.generate(source, attention_mask=torch.ones_like(source), max_new_tokens=17, num_beams=1)
    memory, cache = ours.model.encode(source), ours.model.cache()
    tokens = [ours.model.config.start]
    while len(tokens) < written.shape[1]:
        hidden = ours.model.hidden(torch.tensor([tokens[-1:]]), Context(memory=memory, cache=cache))
        tokens.append(int(ours.model.head(hidden)[0, -1].argmax()))
    assert written[0, :-1].tolist() == tokens[:-1]  # the last is forced to be the end


def test_a_new_head_keeps_the_body_and_its_pooler(made):
    language = made("bert")
    pooled = bundle.with_head(language, "pool")
    randomised(pooled.model)
    classify = bundle.with_head(pooled, "classify", ("a", "b"))
    assert torch.equal(classify.model.head.pool.dense.weight, pooled.model.head.dense.weight)
    assert torch.equal(classify.model.embed.tokens.weight, pooled.model.embed.tokens.weight)
    assert classify.labels == ("a", "b") == classify.model.config.labels and classify.task == "classification"
    back = bundle.with_head(classify, "pool")
    assert torch.equal(back.model.head.dense.bias, pooled.model.head.dense.bias)
    assert bundle.with_head(back, "language").task == "masked-lm" and not back.model.training
    half = bundle.with_head(Bundle(language.model.to(torch.bfloat16), language.tokenizer, "bert", "masked-lm"), "pool")
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}
    with pytest.raises(RegardError, match="one head"):
        bundle.with_head(made("vaswani"), "classify", ("a", "b"))


def test_a_fresh_model_is_alike_in_shape_alone(made):
    ours = made("gpt2")
    other = bundle.fresh(ours)
    assert other.model.config == ours.model.config
    assert not torch.equal(other.model.embed.tokens.weight, ours.model.embed.tokens.weight)


def test_a_run_holds_its_model_in_a_folder_of_that_name(made, tmp_path):
    bundle.save(tmp_path / "model", made("gpt2"))
    assert bundle.find(tmp_path) == tmp_path / "model" == bundle.load(tmp_path).folder
    with pytest.raises(BadFileError, match="no finished model"):
        bundle.find(made_empty(tmp_path))
    with pytest.raises(BadFileError, match="does not exist"):
        bundle.load(tmp_path / "nowhere")


def made_empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def test_types_are_as_wished(made, tmp_path):
    ours = made("qwen3")
    bundle.save(tmp_path, Bundle(ours.model.to(torch.bfloat16), ours.tokenizer, ours.family, ours.task))
    assert json.loads((tmp_path / "config.json").read_text())["torch_dtype"] == "bfloat16"
    for dtype, expected in (("float32", torch.float32), (None, torch.bfloat16), (torch.float16, torch.float16)):
        assert {p.dtype for p in bundle.load(tmp_path, dtype=dtype).model.parameters()} == {expected}
    with pytest.raises(ConfigError, match=r"float3.*bfloat16"):
        bundle.load(tmp_path, dtype="float3")


LIES = {
    "n_layer": [10**6, 10**12, 999, 3],
    "n_embd": [10**9, 42, 10**15],
    "vocab_size": [10**12, 10**7, 96],
    "n_positions": [10**10, 62],
    "n_head": [0, 10**6, 5],
    "n_inner": [10**9, 18],
}


@pytest.mark.parametrize(("key", "lie"), [(key, lie) for key, lies in LIES.items() for lie in lies])
def test_sizes_that_lie_are_refused_before_anything_is_built(key, lie, made, tmp_path, monkeypatch):
    bundle.save(tmp_path, made("gpt2"))
    data = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(data | {key: lie}))
    allocated = []
    monkeypatch.setattr(bundle.table, "_fill", lambda *_: allocated.append(1))
    started = time.process_time()
    with pytest.raises((BadFileError, ConfigError)):
        bundle.load(tmp_path)
    assert not allocated and time.process_time() - started < 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "model type"),
        ("{}", "model type"),
        ('{"model_type": "mamba"}', "mamba"),
        ('{"model_type": ["gpt2"]}', "model type"),
        ('{"model_type": "gpt2", "model_type": "bert"}', "model_type"),
        ('{"model_type": "gpt2", "n_layer": NaN}', "NaN"),
        ('{"model_type": "gpt2", "n_layer": 1e999}', "1e999"),
        ("{", "config.json"),
        ("", "config.json"),
        ("[" * 100_000, "config.json"),
    ],
)
def test_a_config_that_is_none_is_refused(text, says, made, tmp_path):
    bundle.save(tmp_path, made("gpt2"))
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadFileError, match=says):
        bundle.load(tmp_path)


def test_an_unknown_architecture_is_refused(made, tmp_path):
    bundle.save(tmp_path, made("gpt2"))
    data = json.loads((tmp_path / "config.json").read_text())
    for named in (["GPT2DoubleHeadsModel"], [["x"]], [3], "x"):
        (tmp_path / "config.json").write_text(json.dumps(data | {"architectures": named}))
        with pytest.raises(BadFileError, match="architecture"):
            bundle.load(tmp_path)


def test_code_beside_a_model_is_never_run(made, tmp_path):
    bundle.save(tmp_path, made("gpt2"))
    canary = tmp_path / "canary"
    for name in ("modeling_x.py", "sitecustomize.py", "tokenizer.py", "configuration_x.py", "__init__.py"):
        (tmp_path / name).write_text(f"open({str(canary)!r}, 'w').close()")
    data = json.loads((tmp_path / "config.json").read_text())
    ran = []
    sys.addaudithook(lambda event, args: ran.append(args) if canary_near(event, args, tmp_path) else None)
    bundle.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(data | {"auto_map": {"AutoModel": "modeling_x.X"}}))
    with pytest.raises(BadFileError, match="auto_map"):
        bundle.load(tmp_path)
    assert not canary.exists() and not ran


def canary_near(event, args, folder) -> bool:
    if event == "open":
        return isinstance(args[0], str) and args[0].endswith(".py") and str(folder) in args[0]
    return event in ("exec", "import", "pickle.find_class") and str(folder) in repr(args)


def test_a_tokenizer_of_another_model_is_refused(made, tmp_path, tokenizers):
    ours = made("gpt2")
    bundle.save(tmp_path, ours)
    Tokenizer.train("characters", [*TEXTS, "天地玄黄宇宙洪荒日月盈昃辰宿列张"], 401).save(tmp_path)
    with pytest.raises(BadFileError, match="belong together"):
        bundle.load(tmp_path)


def test_what_a_model_is_for_is_read_off_the_model():
    tasks = {name: bundle._usual(models.empty(models.family(name).Config())) for name in models.families()}
    assert {"bert", "roberta", "modernbert"} <= {name for name, task in tasks.items() if task == "masked-lm"}
    assert {"bart", "t5", "vaswani"} <= {name for name, task in tasks.items() if task == "seq2seq"}
    assert {"gpt2", "qwen3"} <= {name for name, task in tasks.items() if task == "causal-lm"}
