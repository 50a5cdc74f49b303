"""Weight files: every fault listed in one error, nothing read from where it should not be, ties kept."""

from __future__ import annotations

import json
import struct

import pytest
import torch
from core_parts import FAMILIES, randomised, tiny
from safetensors.torch import save_file
from torch.testing import assert_close

from regard import models
from regard.errors import BadFileError
from regard.weights import folder as files
from regard.weights import table
from regard.weights.table import Row


def saved(model, where, **how):
    where.mkdir(exist_ok=True)
    module = models.family(models.name_of(model.config))
    files.write(where, table.write(module.TABLE, model), **how)
    return where


def read(model, where):
    module = models.family(models.name_of(model.config))
    again = models.empty(model.config)
    table.read(module.TABLE, files.Folder(where), again, "here")
    return again.eval()


def same(one, other) -> bool:
    first, second = dict(one.named_parameters()), dict(other.named_parameters())
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("shard", [1 << 30, 3_000, 1])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_written_is_read_bit_by_bit(name, shard, tmp_path):
    model = tiny(name)
    saved(model, tmp_path, shard=shard)
    assert (tmp_path / files.FILE).exists() == (shard > 1 << 20)
    again = read(model, tmp_path)
    assert same(model, again) and not any(p.is_meta for p in again.parameters())
    for ours, other in zip(model.modules(), again.modules(), strict=True):
        assert list(dict(ours.named_buffers())) == list(dict(other.named_buffers()))


@pytest.mark.parametrize("name", ["bert", "gpt2", "vaswani"])
def test_tied_weights_stay_tied(name, tmp_path):
    again = read(tiny(name), saved(tiny(name), tmp_path))
    embedding = again.source_embed.tokens if name == "vaswani" else again.embed.tokens
    assert again.head.weight is embedding.weight
    with torch.no_grad():
        embedding.weight[5] += 1.0
    assert torch.equal(again.head.weight[5], embedding.weight[5])


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_is_filled_by_one_row(name):
    model = tiny(name)
    parameters = dict(model.named_parameters())
    rows = list(table._expanded(models.family(models.name_of(model.config)).TABLE, model, ""))
    filled = [ours for one in rows if isinstance(one, Row) for ours in one.ours]
    used = [theirs for one in rows if isinstance(one, Row) for theirs in one.theirs]
    assert sorted(filled) == sorted(parameters) and len(used) == len(set(used))


def test_a_copy_of_a_tied_matrix_is_checked_and_left_out(tmp_path):
    model = tiny("gpt2")
    tensors = table.write(models.family("gpt2").TABLE, model)
    assert "lm_head.weight" not in tensors
    copy = tensors["transformer.wte.weight"].clone()
    save_file(tensors | {"lm_head.weight": copy}, tmp_path / files.FILE)
    assert same(read(model, tmp_path), model)
    copy[3, 5] += 0.01
    for other in (copy, copy.half(), copy[:7]):
        save_file(tensors | {"lm_head.weight": other}, tmp_path / files.FILE)
        with pytest.raises(BadFileError, match=r"should equal the embedding.*lm_head\.weight"):
            read(model, tmp_path)


def test_names_may_lack_the_prefix(tmp_path):
    model = tiny("bert")
    tensors = table.write(models.family("bert").TABLE, model)
    short = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
    save_file(short, tmp_path / files.FILE)
    assert same(read(model, tmp_path), model)


def test_all_faults_are_in_one_error(tmp_path):
    model = tiny("gpt2")
    tensors = table.write(models.family("gpt2").TABLE, model)
    names = sorted(tensors)
    del tensors["transformer.h.0.ln_1.bias"]
    tensors["transformer.h.7.ln_1.bias"] = torch.zeros(21)
    tensors["transformer.wpe.weight"] = torch.zeros(61, 22)
    tensors["transformer.ln_f.weight"] = torch.zeros(21, dtype=torch.int64)
    first = {name: tensor for name, tensor in tensors.items() if name < names[9]}
    second = {name: tensor for name, tensor in tensors.items() if name >= names[9]}
    again = next(iter(second))
    save_file(first | {again: second[again].clone()}, tmp_path / "a.safetensors")
    save_file(second, tmp_path / "b.safetensors")
    index = {"weight_map": dict.fromkeys(first, "a.safetensors") | dict.fromkeys(second, "b.safetensors")}
    (tmp_path / files.INDEX).write_text(json.dumps(index))
    with pytest.raises(BadFileError) as caught:
        read(model, tmp_path)
    message = str(caught.value)
    assert "(5 problems)" in message
    for part in (
        f"in more than one file: {again}",
        "missing: transformer.h.0.ln_1.bias",
        "unknown: transformer.h.7.ln_1.bias",
        "wrong shape: transformer.wpe.weight (61, 22) != (61, 21)",
        "no floating-point numbers: transformer.ln_f.weight I64",
    ):
        assert part in message


def test_a_long_list_of_faults_is_cut_short_but_counted(tmp_path):
    model = tiny("gpt2")
    save_file({"other": torch.zeros(3)}, tmp_path / files.FILE)
    with pytest.raises(BadFileError, match=r"\+\d+") as caught:
        read(model, tmp_path)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("name", ["../a.safetensors", "/etc/passwd", "a/../../b.safetensors", "C:\\x", "a\0b", "", "."])
def test_an_index_cannot_lead_out_of_its_folder(name, tmp_path):
    inner = saved(tiny("gpt2"), tmp_path / "inner")
    (inner / files.FILE).rename(tmp_path / "a.safetensors")
    (inner / files.INDEX).write_text(json.dumps({"weight_map": {"x": name}}))
    with pytest.raises(BadFileError):
        files.Folder(inner)


def test_links_lead_out_only_into_the_hubs_own_store(tmp_path):
    model = tiny("gpt2")
    outside = saved(model, tmp_path / "outside")
    index = json.dumps({"weight_map": dict.fromkeys(table.write(models.family("gpt2").TABLE, model), "x.safetensors")})
    snapshot, blobs, stray = tmp_path / "hub" / "snapshots" / "abc", tmp_path / "hub" / "blobs", tmp_path / "stray"
    for folder in (snapshot, blobs, stray):
        folder.mkdir(parents=True)
    (outside / files.FILE).rename(blobs / "0123")
    for folder in (snapshot, stray):
        (folder / files.INDEX).write_text(index)
        (folder / "x.safetensors").symlink_to(blobs / "0123")
    assert same(read(model, snapshot), model)
    with pytest.raises(BadFileError):
        read(model, stray)
    (snapshot / files.FILE).symlink_to(blobs / "0123")
    assert same(read(model, snapshot), model)


@pytest.mark.parametrize(
    "index", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "gone"}}', "{", ""]
)
def test_a_bad_index_is_refused(index, tmp_path):
    (tmp_path / files.INDEX).write_text(index)
    with pytest.raises(BadFileError):
        files.Folder(tmp_path)


def header(text: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + data


TENSOR = b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
OTHER = b'"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}'
BAD = {
    "empty": b"",
    "short": b"\x07\x00",
    "no header": header(b""),
    "a header longer than the file": struct.pack("<Q", 1 << 40) + b"{}",
    "not json": header(b"{nonsense", bytes(8)),
    "a list": header(b"[]"),
    "truncated": header(b"{" + TENSOR + b"}", bytes(7)),
    "trailing": header(b"{" + TENSOR + b"}", bytes(9)),
    "twice": header(b"{" + TENSOR + b"," + TENSOR + b"}", bytes(8)),
    "twice, of another shape": header(b"{" + TENSOR + b"," + TENSOR.replace(b"[2]", b"[1,2]") + b"}", bytes(8)),
    "overlap": header(b"{" + TENSOR + b"," + OTHER + b"}", bytes(12)),
    "unknown type": header(b"{" + TENSOR.replace(b"F32", b"F99") + b"}", bytes(8)),
    "negative": header(b"{" + TENSOR.replace(b"[2]", b"[-2]") + b"}", bytes(8)),
    "overflow": header(b"{" + TENSOR.replace(b"[2]", b"[4294967296,4294967296,8]") + b"}", bytes(8)),
    "pickle": b"\x80\x02}q\x00.",
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_files_are_refused(name, tmp_path):
    (tmp_path / files.FILE).write_bytes(BAD[name])
    with pytest.raises(BadFileError, match=r"model\.safetensors"):
        files.Folder(tmp_path)


def test_every_cut_of_a_file_is_refused(tmp_path):
    whole = (saved(tiny("gpt2"), tmp_path) / files.FILE).read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 9, 8, 7):
        (tmp_path / files.FILE).write_bytes(whole[:length])
        with pytest.raises(BadFileError):
            files.Folder(tmp_path)


def test_a_folder_without_weights_says_what_is_read(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(BadFileError, match="safetensors"):
        files.Folder(tmp_path)


def test_old_shards_do_not_outlive_a_new_file_nor_an_old_file_new_shards(tmp_path):
    first, second = tiny("gpt2"), randomised(tiny("gpt2"), seed=5)
    saved(first, tmp_path)
    saved(second, tmp_path, shard=3_000)
    assert same(read(second, tmp_path), second)
    saved(first, tmp_path)
    assert same(read(first, tmp_path), first) and [p.name for p in tmp_path.iterdir()] == [files.FILE]
    saved(first, tmp_path, shard=3_000)
    saved(second, tmp_path, shard=20_000)
    assert same(read(second, tmp_path), second)


def test_a_type_may_be_wished_for(tmp_path):
    model = tiny("qwen3").to(torch.bfloat16)
    saved(model, tmp_path)
    module = models.family("qwen3")
    wide, kept = models.empty(model.config), models.empty(model.config)
    table.read(module.TABLE, files.Folder(tmp_path), wide, "here", torch.float32)
    table.read(module.TABLE, files.Folder(tmp_path), kept, "here")
    assert {p.dtype for p in wide.parameters()} == {torch.float32}
    assert {p.dtype for p in kept.parameters()} == {torch.bfloat16}
    assert_close(wide.stack.norm.weight, model.stack.norm.weight.float())


def test_reading_into_a_model_that_has_memory_keeps_its_parameters(tmp_path):
    model, target = tiny("gpt2"), randomised(tiny("gpt2"), seed=5)
    before = list(target.parameters())
    saved(model, tmp_path)
    table.read(models.family("gpt2").TABLE, files.Folder(tmp_path), target, "here")
    assert same(model, target) and all(a is b for a, b in zip(before, target.parameters(), strict=True))
