"""Models from hubs, a server on this machine in their place: fetched whole or not at all, whatever it answers."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import hub_server
import pytest
import torch
from hub_server import COMMIT, Hub

from regard import bundle, models
from regard.bundle import Bundle
from regard.cli.main import run
from regard.errors import BadFileError, ConfigError, RegardError
from regard.hub import Request, fetch, fetching, kept, mirrors, net, place, reference
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Key
from regard.weights import pickled

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny model, as a hub holds it."""
    made = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer.train("bpe", ["a quiet film", "床前明月光"] * 9, 300)
    sizes = {"vocab": tokenizer.size, "context": 48, "dim": 24, "depth": 2, "heads": 2, "hidden": 37}
    bundle.save(made, Bundle(models.build(models.config("bert", sizes), Key(2)).eval(), tokenizer, "bert", "masked-lm"))
    return made


@pytest.fixture
def files(folder) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {**found, "1_Pooling/config.json": b'{"pooling_mode_cls_token": true}', "README.md": b"# A model",
            "modeling.py": b"raise SystemExit", "onnx/model.onnx": b"x" * 99, "pytorch_model.bin": b"."}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT", "REGARD_HF_MIRRORS", "REGARD_MS_MIRRORS", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REGARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REGARD_CONFIG", str(tmp_path / "settings"))
    monkeypatch.setattr(fetching.time, "sleep", lambda seconds: None)
    return tmp_path / "cache"


def get(hub: Hub, name: str = "hf:org/name", **wanted) -> Path:
    return fetch(reference(name), Request(mirrors=[hub.url], **wanted))


def failed(hub: Hub, name: str = "hf:org/name", **wanted) -> str:
    """What is said, after making sure that nothing counts as here."""
    with pytest.raises(RegardError) as caught:
        get(hub, name, **wanted)
    assert place(reference(name)) is None and not list(kept())
    return str(caught.value)


@pytest.mark.parametrize("name", ["hf:org/name", "ms:org/name"])
def test_what_a_model_is_and_nothing_else(files, name, capsys):
    with Hub(files) as hub:
        assert run(["import", name, "--mirror", hub.url, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        before = len(hub.asked)
        home = get(hub, name)
        assert len(hub.asked) == before, "it was here already"
    found = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()} - {"origin.json"}
    assert found == set(files) - {"modeling.py", "onnx/model.onnx", "pytorch_model.bin"}
    assert all((home / one).read_bytes() == files[one] for one in found)
    assert told["name"] == name and told["files"] == sorted(found) and str(home) == told["path"]
    assert [str(ref) for ref, _ in kept()] == [name]
    assert bundle.load(name).family == "bert"


def test_a_name_that_is_not_here_says_how_to_get_it():
    with pytest.raises(RegardError, match="regard import hf:org/name"):
        bundle.load("hf:org/name")


@pytest.mark.parametrize("name", ["hf:org", "hf:../../x", "hf:org/..", "hf:org/a/b", "hf:org/n@../../x", "hf:o rg/n"])
def test_names_that_lead_elsewhere_are_none(name):
    with pytest.raises(ConfigError):
        reference(name)


def test_a_line_that_is_cut_goes_on_where_it_stopped(files):
    with Hub(files) as hub:
        hub.behave[WEIGHTS] = hub_server.cut(5000)
        home = get(hub)
        starts = [headers.get("Range") for path, headers in hub.asked if path.endswith(WEIGHTS)]
    assert (home / WEIGHTS).read_bytes() == files[WEIGHTS]
    assert starts == [None, *(f"bytes={at}-" for at in range(5000, len(files[WEIGHTS]), 5000))]


def test_a_line_that_stays_cut_leaves_what_came_for_the_next_time(files, cache):
    with Hub(files) as hub:
        hub.once[WEIGHTS] = hub_server.cut(5000)
        hub.behave[WEIGHTS] = hub_server.cut(0)
        assert "cut in the middle" in failed(hub)
        (part,) = cache.rglob(f"{WEIGHTS}.part")
        assert part.read_bytes() == files[WEIGHTS][:5000]
        del hub.behave[WEIGHTS]
        hub.asked.clear()
        home = get(hub)
        asked = [path.rpartition("/")[2] for path, _ in hub.asked if "resolve" in path]
    assert (home / WEIGHTS).read_bytes() == files[WEIGHTS] and asked == [WEIGHTS]
    assert not list(cache.rglob("*.part"))


def test_what_was_left_of_another_time_is_fetched_anew(files, cache):
    ref = reference("hf:org/name")
    part = fetching._staging(ref) / f"{WEIGHTS}.part"
    part.write_bytes(b"x" * 3000)
    with Hub(files) as hub:
        assert (get(hub) / WEIGHTS).read_bytes() == files[WEIGHTS]
        part.parent.mkdir(exist_ok=True)


def test_a_server_that_begins_anew_is_followed(files):
    with Hub(files) as hub:
        hub.once[WEIGHTS] = hub_server.cut(5000)
        hub.behave[WEIGHTS] = hub_server.send  # Range is passed over
        assert (get(hub) / WEIGHTS).read_bytes() == files[WEIGHTS]


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (hub_server.to("https://example.org/model.safetensors"), "neither its own"),
        (hub_server.to("http://huggingface.co/x"), "neither its own"),
        (hub_server.to("https://huggingface.co:8443/x"), "neither its own"),
        (hub_server.to("https://huggingface.co.example.org/x"), "neither its own"),
        (hub_server.to("https://user@huggingface.co/x"), "neither its own"),
        (hub_server.to("http://169.254.169.254/latest/meta-data"), "neither its own"),
        (hub_server.to("https://10.0.0.1/x"), "neither its own"),
        (hub_server.to("file:///etc/passwd"), "status 302"),
        (hub_server.to("ftp://huggingface.co/x"), "neither its own"),
        (hub_server.to("/org/name/resolve/elsewhere"), "no such model"),
        (hub_server.other(b"x"), "announces 1 bytes"),
        (hub_server.announced(str(1 << 60)), "announces 1152921504606846976 bytes"),
        (hub_server.announced("-5"), "announces -5 bytes"),
        (lambda handler, data: hub_server.send(handler, data + b"x" * 99, Content_Length=""), "more of model"),
        (lambda handler, data: hub_server.send(handler, data[:-9] + b"x" * 9), "another hash"),
        (lambda handler, data: hub_server.send(handler, data[:-9], Content_Length=""), "cut in the middle"),
        (lambda handler, data: hub_server.send(handler, data, Content_Encoding="gzip"), "nobody asked"),
        (lambda handler, data: handler.send_error(403), "may have it"),
        (lambda handler, data: handler.send_error(500), "status 500"),
        (lambda handler, data: handler.wfile.write(b"nonsense\r\n\r\n"), "cut in the middle"),
    ],
)  # fmt: skip
def test_bad_answers_are_refused_and_leave_no_model(files, behaviour, why):
    with Hub(files) as hub:
        hub.behave[WEIGHTS] = behaviour
        said = failed(hub)
    assert why in said and hub.url in said and "\n" not in said


def test_a_redirect_in_a_circle_ends(files):
    with Hub(files) as hub:
        hub.behave[WEIGHTS] = hub_server.to(f"/org/name/resolve/{COMMIT}/{WEIGHTS}")
        assert "status 302" in failed(hub)


def test_a_resumed_answer_that_goes_on_elsewhere_is_refused(files):
    with Hub(files) as hub:
        hub.once[WEIGHTS] = hub_server.cut(5000)
        hub.behave[WEIGHTS] = lambda handler, data: hub_server.send(
            handler, data[4000:], 206, Content_Range=f"bytes 4000-{len(data) - 1}/{len(data)}"
        )
        assert "elsewhere" in failed(hub)


EVIL = ["../evil.json", "/etc/config.json", "a/../../config.json", "..\\config.json", "C:\\config.json",
        "x/\0config.json", "vocab.json/../../x.json", "1_Pooling/../../config.json"]  # fmt: skip


@pytest.mark.parametrize("name", ["hf:org/name", "ms:org/name"])
def test_file_names_that_lead_out_are_never_used(files, name, tmp_path):
    with Hub({**files, **dict.fromkeys(EVIL, b"evil")}) as hub:
        home = get(hub, name)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"evil"]
    assert {path.name for path in home.iterdir()} >= {"config.json", WEIGHTS}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda one: {**one, "sha": "main/../.."}, "makes no sense"),
        (lambda one: {**one, "sha": None}, "makes no sense"),
        (lambda one: {"sha": COMMIT}, "makes no sense"),
        (lambda one: {**one, "siblings": "x"}, "makes no sense"),
        (lambda one: {**one, "siblings": [7]}, "makes no sense"),
        (lambda one: {**one, "siblings": [{"rfilename": WEIGHTS}]}, "makes no sense"),
        (lambda one: {**one, "siblings": [{"rfilename": WEIGHTS, "size": -1}]}, "makes no sense"),
        (lambda one: {**one, "siblings": [{"rfilename": WEIGHTS, "size": 1 << 60}]}, "makes no sense"),
        (lambda one: {**one, "siblings": [{"rfilename": WEIGHTS, "size": 5}]}, "no hash"),
        (lambda one: {**one, "siblings": [{"rfilename": WEIGHTS, "size": 1 << 48, "blobId": COMMIT}]}, "takes"),
        (lambda one: {**one, "siblings": []}, "holds no weights"),
        (lambda one: [], "makes no sense"),
        (lambda one: {**one, "x": "y" * (17 << 20)}, "more than"),
    ],
)  # fmt: skip
def test_lists_that_make_no_sense_are_refused(files, change, why):
    with Hub(files) as hub:
        hub.change = change
        assert why in failed(hub)


def test_weights_that_are_none_are_not_kept(files, cache):
    with Hub({**files, WEIGHTS: b"\xff" * 4000}) as hub, pytest.raises(BadFileError, match="damaged"):
        get(hub)
    assert not list(cache.rglob(WEIGHTS))


def test_mirrors_are_asked_in_order(files, monkeypatch, tmp_path, capsys):
    with Hub({}) as empty, Hub(files) as full:
        empty.change = lambda document: []
        monkeypatch.setenv("REGARD_HF_MIRRORS", f"http://127.0.0.1:{closed()}, {empty.url},{full.url}")
        home = fetch(reference("hf:org/name"))
        assert empty.asked and json.loads((home / "origin.json").read_text())["source"] == full.url
    monkeypatch.setenv("REGARD_HF_MIRRORS", f"http://127.0.0.1:{closed()}")
    assert run(["import", "hf:org/other"]) == 1
    said = capsys.readouterr().err
    assert "no mirror can be reached" in said and "--mirror" in said and "refused" in said


def test_which_mirrors_there_are(monkeypatch, tmp_path):
    assert mirrors.endpoints("hf") == ("https://huggingface.co",)
    (tmp_path / "settings").mkdir()
    mirrors.settings().write_text('hf = ["https://hf-mirror.com/", "https://huggingface.co"]')
    assert mirrors.endpoints("hf") == ("https://hf-mirror.com", "https://huggingface.co")
    assert mirrors.endpoints("ms") == ("https://modelscope.cn",)
    monkeypatch.setenv("HF_ENDPOINT", "https://models.example.org/")
    assert mirrors.endpoints("hf") == ("https://models.example.org",)
    monkeypatch.setenv("REGARD_HF_MIRRORS", "https://a.org,https://b.org")
    assert mirrors.endpoints("hf") == ("https://a.org", "https://b.org")
    assert mirrors.endpoints("hf", ["https://c.org"]) == ("https://c.org",)
    for bad in ("c.org", "file:///etc", "https://user:word@c.org"):
        with pytest.raises(ConfigError):
            mirrors.endpoints("hf", [bad])


def test_a_token_goes_to_the_hub_alone(files, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "a-word-of-one-s-own")
    with Hub(files) as hub:
        get(hub)
        assert not any("Authorization" in headers for _, headers in hub.asked)
    assert net._token("https://huggingface.co") and not net._token("https://hf-mirror.com")


def test_a_name_that_leads_inside_is_not_connected_to(monkeypatch):
    """The address is looked at after the name was looked up."""
    inside = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.168.0.7", 443))]
    monkeypatch.setattr(net.socket, "getaddrinfo", lambda *_, **__: inside)
    with pytest.raises(net.Forbidden, match="private network"):
        net.ask("https://cdn.huggingface.co/x", "hf", "https://huggingface.co")


def closed() -> int:
    """A port at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def pickle_files(files: dict[str, bytes], folder: Path, tmp_path: Path) -> dict[str, bytes]:
    from safetensors.torch import load_file

    torch.save(load_file(folder / WEIGHTS), tmp_path / "x.bin")
    return {name: data for name, data in files.items() if name != WEIGHTS} | {
        "pytorch_model.bin": (tmp_path / "x.bin").read_bytes()
    }


def test_pickles_on_request_alone_and_as_safetensors(files, folder, tmp_path):
    with Hub(pickle_files(files, folder, tmp_path)) as hub:
        assert "--allow-pickle-weights" in failed(hub)
        home = get(hub, pickles=True)
    assert not list(home.glob("*.bin"))
    ours, theirs = bundle.load(home), bundle.load(folder)
    for one, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert torch.equal(one, other)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("made by a pickle"),))


@pytest.mark.parametrize("what", [Evil(), {"a": Evil()}, [1], {"a": 5}, {7: torch.ones(2)},
                                  {"a": torch.ones(1).expand(1 << 40)}, {"a": torch.ones(3).to_sparse()}])  # fmt: skip
def test_pickles_of_anything_else_are_refused(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(what, tmp_path / "x.bin")
    with pytest.raises(BadFileError, match=r"x\.bin"):
        pickled.read(tmp_path / "x.bin")
    (tmp_path / "y.bin").write_bytes(b"\x80\x04nonsense")
    with pytest.raises(BadFileError, match=r"y\.bin"):
        pickled.read(tmp_path / "y.bin")
    assert not Path("made by a pickle").exists()


def test_one_gguf_of_several():
    with Hub({"a.gguf": b"x", "b.gguf": b"y", "README.md": b""}) as hub:
        assert "--file" in failed(hub)
        assert "a.gguf" in failed(hub, file="c.gguf")


def test_a_folder_under_a_name(folder, capsys, tmp_path):
    assert run(["import", str(folder), "--name", "poet"]) == 0
    assert "poet is here" in capsys.readouterr().out
    assert bundle.load("poet").family == "bert"
    assert run(["import", str(folder), "--name", "poet"]) == 1
    assert "--name" in capsys.readouterr().err
    assert run(["import", str(folder), "--name", "../x"]) == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(["import", str(empty)]) == 1
    assert run(["import", "no-such-thing"]) == 2


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["minilm", "--name", "mine"], "--name means nothing for minilm"),
        (["minilm", "--file", "a.gguf"], "--file means nothing"),
        (["hf:org/name", "--name", "mine"], "--name means nothing for hf:org/name"),
        ([".", "--mirror", "https://hf-mirror.com"], "--mirror means nothing"),
        (["smolm2"], "No model is called smolm2. Did you mean smollm2?"),
        (["no/such/folder"], "no/such/folder is no folder"),
    ],
)
def test_what_would_do_nothing_or_is_nothing_is_refused(capsys, arguments, part):
    assert run(["import", *arguments]) == 2
    error = capsys.readouterr().err
    assert part in error and error.count("\n") == 1


def test_the_disk_is_asked_before_the_mirror_gives(files, monkeypatch):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with Hub(files) as hub:
        assert "REGARD_CACHE" in failed(hub)
        assert not any("resolve" in path for path, _ in hub.asked)
