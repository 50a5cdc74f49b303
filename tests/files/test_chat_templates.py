"""Chat templates that try to get out or to use the machine up: refused in a second; honest ones render as elsewhere."""

from __future__ import annotations

import signal
import threading
import time

import psutil
import pytest

from regard.errors import BadFileError, ConfigError, RegardError
from regard.inputs import chat, sandbox
from regard.inputs.tokenizer import Tokenizer

TALK = [{"role": "user", "content": "你好 <|eos|>"}, {"role": "assistant", "content": " fine "}]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim }}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CLIMB = "{% set ns = namespace(x={0}) %}{% for i in range({1}) %}{% set ns.x = {2} %}{% endfor %}{{ ns.x | length }}"


def climb(start: str, times: int, step: str) -> str:
    return CLIMB.replace("{0}", start).replace("{1}", str(times)).replace("{2}", step)


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__']['__base__'] }}",
    "{{ []['\\x5f\\x5fclass\\x5f\\x5f'].mro() }}",
    "{{ ()|attr('__class__') }}",
    "{{ messages|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ [1]|map(attribute='__class__')|list|first.mro() }}",
    "{{ messages|map('attr', '__class__')|list }}",
    "{{ [messages]|groupby('__class__') }}",
    "{{ dict.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__['os'].system('id') }}",
    "{{ range.__class__.__base__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ raise_exception.__code__ }}",
    "{{ strftime_now.__globals__['sys'] }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.environment }}",
    "{{ self._TemplateReference__context.parent }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ url_for.__globals__ }}",
    "{{ get_flashed_messages.__globals__ }}",
    "{{ config.items() }}",
    "{{ request.application.__globals__ }}",
    "{{ environment.globals.items() }}",
    "{{ __builtins__.open('/etc/passwd') }}",
    "{{ __import__('os').system('id') }}",
    "{{ open('/etc/passwd').read() }}",
    "{{ eval('1') }}",
    "{% include '/etc/passwd' %}",
    "{% include '../../etc/passwd' %}",
    "{% import 'os' as os %}{{ os.system('id') }}",
    "{% from 'os' import system %}{{ system('id') }}",
    "{% extends 'base.html' %}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "{{ '{x.__class__}'.format_map({'x': 1}) }}",
    "{{ '%s' | format(1) }}",
    "{{ ('{0.__class__}' | string).format(1) }}",
    "{% set f = '{0.__class__}'.format %}{{ f(1) }}",
    "{{ ''.join.__self__.__class__ }}",
    "{{ (1).__class__ }}",
    "{{ (1).real.__class__ }}",
    "{{ 1.0.hex.__self__ }}",
    "{{ 'a'.encode('utf-8').__class__ }}",
    "{{ 'a'.encode('utf-8') }}",
    "{{ messages.append(1) }}",
    "{{ messages.clear() }}",
    "{{ messages[0].update({'role': 'system'}) }}",
    "{{ messages[0].pop('role') }}",
    "{{ messages[0].__setitem__('role', 1) }}",
    "{% macro m() %}{% endmacro %}{{ m._environment }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{% for a in messages %}{{ loop.__class__ }}{% endfor %}",
    "{% for a in messages %}{{ loop._iterator }}{% endfor %}",
    "{{ (messages|map('upper')).gi_frame.f_globals }}",
    "{{ (messages|select).gi_frame.f_back }}",
    "{{ (messages|selectattr('role')).gi_code }}",
    "{% call(x) raise_exception %}{% endcall %}{{ caller.__globals__ }}",
    "{{ namespace(a=1).__dict__ }}",
    "{{ namespace(a=1)._Namespace__attrs }}",
    "{{ undefined_thing.__class__.__init__.__globals__ }}",
    "{{ messages|tojson(default=raise_exception) and x.y }}",
    "{{ messages|xmlattr }}",
    "{{ messages|pprint }}",
    "{{ '1'|random }}",
    "{{ debug() }}{% debug %}",
]

BOMBS = [
    "{{ 'a' * 10**10 }}",
    "{{ 10**10 * 'a' }}",
    "{{ [0] * 10**9 }}",
    "{{ (0,) * 10**9 }}",
    "{{ 2**10**9 }}",
    "{{ 9**9**9**9 }}",
    "{{ 1024**16**2 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '%s' % ('a' * 10) }}",
    "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "{% for a in range(10**9) %}{% endfor %}",
    "{{ range(10**12) | list }}",
    "{{ range(10**9) | sum }}",
    "{{ range(99999) | map('string') | join('a' * 1000) }}",
    "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
    climb("'aaaaaaaa'", 60, "ns.x ~ ns.x"),
    climb("'aaaaaaaa'", 60, "ns.x + ns.x"),
    climb("[0]", 60, "ns.x + ns.x"),
    climb("(0,)", 60, "ns.x + ns.x"),
    climb("[0]", 60, "[ns.x, ns.x] | sum(start=[])"),
    climb("3", 60, "ns.x * ns.x") + "{{ ns.x }}",
    climb("'a'", 60, "ns.x.replace('a', 'aaaaaaaaaaaaaaaa')"),
    climb("'a'", 60, "ns.x | replace('a', 'aaaaaaaaaaaaaaaa')"),
    climb("'a'", 60, "ns.x.join(['a', 'b', 'c'] * 10)"),
    climb("'a'", 60, "[ns.x, ns.x] | join(ns.x)"),
    climb("['a']", 40, "[ns.x, ns.x]") + "{{ ns.x | string }}",
    climb("['a']", 40, "[ns.x, ns.x]") + "{{ ns.x | tojson }}",
    "{{ 'a'.center(10**10) }}",
    "{{ 'a'.ljust(10**10) }}",
    "{{ 'a'.zfill(10**10) }}",
    "{{ '\t'.expandtabs(10**10) }}",
    "{{ 'a' | center(10**10) }}",
    "{{ 'a' | indent(10**10) }}",
    "{{ 'a' | wordwrap(1) }}",
    "{{ [] | batch(10**9, 0) | list }}",
    "{{ [] | slice(10**9) | list }}",
    "{{ messages | tojson(indent=10**9) }}",
    "{{ lipsum(n=10**7) }}",
    "{{ strftime_now('%c' * 10**6) }}",
    "{% for a in range(99999) %}{{ 'a' * 100000 }}{% endfor %}",
    "{% set x = 'a' * 1000000 %}{% for a in range(1100) %}{{ x }}{% endfor %}",
    "{% for a in range(90000) %}{{ ('a' * 100000) | upper | length }}{% endfor %}",
    "{% for a in range(90000) %}{{ range(90000) | list | sort | length }}{% endfor %}",
    "{% for a in range(90000) %}{% set b = 'a' * 1000000 %}{% endfor %}",
    "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "{{ " + "-" * 100_000 + "1 }}",
    "{% if 1 %}" * 20_000 + "{% endif %}" * 20_000,
    "{{ " + " + ".join(["1"] * 50_000) + " }}",
    "{{ [" + "[" * 20_000 + "]" * 20_000 + "] }}",
    "{{ x" + ".y" * 50_000 + " }}",
]


def refused(template: str) -> tuple[str, float]:
    """The message of the refusal, or of what was printed (nothing but what a template may say), and the seconds."""
    start = time.perf_counter()
    try:
        with chat.Chat(template, where="model/chat_template.jinja") as one:
            start = time.perf_counter()  # the start of a process is the machine's time
            text = one.render(TALK)
    except BadFileError as error:
        return str(error), time.perf_counter() - start
    return f"READ {text}", time.perf_counter() - start


def test_no_template_gets_out(capsys, record_property):
    # Some are harmless where a name means nothing: those may be empty, but for what they show of plain data.
    for template in ESCAPES:
        message, seconds = refused(template)
        assert message.startswith("model/chat_template.jinja"), (template, message)
        assert "0x" not in message and "Traceback" not in message
        assert seconds < 5.0, template
    record_property("escapes", len(ESCAPES))
    with capsys.disabled():
        print(f"\nchat templates: {len(ESCAPES)} escapes refused")


def test_no_template_uses_the_machine_up(capsys):
    slowest = 0.0
    for template in BOMBS:
        message, seconds = refused(template)
        assert message.startswith("model/chat_template.jinja"), (template[:60], message[:200])
        slowest = max(slowest, seconds)
    assert slowest < 5.0  # a second for the template; and where it cannot even be compiled, the start of a process
    with capsys.disabled():
        print(f"\nchat templates: {len(BOMBS)} bombs refused, slowest {slowest:.2f} s")


@pytest.mark.skipif(not psutil.POSIX, reason="where a process can be held still")
def test_a_busy_machine_ends_no_honest_template(monkeypatch):
    with chat.Chat(CHATML, where="x") as one:
        process = psutil.Process(one._process.pid)
        process.suspend()  # as if others had the processor all the while
        threading.Timer(chat.SECONDS + 0.5, process.resume).start()
        assert one.render(TALK).endswith("assistant\n")
        psutil.Process(one._process.pid).suspend()
        monkeypatch.setattr(chat, "WAITING", 0.3)
        with pytest.raises(BadFileError, match=r"0\.3 s"):
            one.render(TALK)  # but nobody waits for ever


@pytest.mark.skipif(not psutil.POSIX, reason="where Ctrl-C reaches every process of a terminal")
def test_ctrl_c_ends_no_template():
    with chat.Chat(CHATML, where="x") as one:
        psutil.Process(one._process.pid).send_signal(signal.SIGINT)
        assert one.render(TALK).endswith("assistant\n")


@pytest.mark.skipif(not psutil.LINUX, reason="where the system can say how much memory a process ever had")
def test_the_process_has_little_memory(capsys):
    most = 0
    for template in BOMBS:
        try:
            one = chat.Chat("{{ 1 }}" if len(template) > 20_000 else template, where="x")
        except BadFileError:
            continue
        try:
            process = psutil.Process(one._process.pid)
            before = process.memory_info().rss
            one._ask(chat._request(TALK, {}), chat.WAITING)
            after = process.memory_info().rss if one._process else before
            most = max(most, after - before)
            assert most <= 64 << 20, template
        finally:
            one.close()
    assert sandbox.MEMORY < 64 << 20
    with capsys.disabled():
        print(f"\nchat templates: most memory kept after a bomb +{most >> 20} MiB, bound {sandbox.MEMORY >> 20} MiB")


def test_a_template_renders_as_it_does_elsewhere():
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    with chat.Chat(CHATML, where="x", names={"bos_token": "<s>"}) as one:
        for answer in (True, False):
            expected = plain.from_string(CHATML).render(messages=TALK, add_generation_prompt=answer, bos_token="<s>")
            assert one.render(TALK, answer=answer) == expected
        assert one.render([]) == "<|im_start|>assistant\n"
        assert one.render(TALK) == one.render(TALK)  # the budget is each rendering's


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ bos_token }}{{ messages[0].content | upper }}", "<s>你好 <|EOS|>"),
        ("{%- for m in messages if m.role == 'user' -%}{{ loop.index0 % 2 }}{{ loop.last }}{% endfor %}", "0True"),
        ("{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% endfor %}", "assistant"),
        ("{% generation %}{{ messages[1].content.strip() }}{% endgeneration %}", "fine"),
        ("{{ tools is none }}{{ messages[0].get('name', 'x') }}{{ messages[0].tool_calls is defined }}", "TruexFalse"),
        ("{{ {'a': [1, 'é']} | tojson }}", '{"a": [1, "é"]}'),
        ("{{ {'a': 1} | tojson(indent=2) }}", '{\n  "a": 1\n}'),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        ("{% macro f(m) %}[{{ m.role }}]{% endmacro %}{{ f(messages[0]) }}{{ 'a' ~ 1 ~ 'b' }}", "[user]a1b"),
        ("{{ messages | map(attribute='role') | join(', ') }}{{ messages[0].items() | length }}", "user, assistant2"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ 'a b'.split()[1] }}", "1b"),
        ("{{ messages[1:][0].role }}{{ 'x' * 3 }}{{ (7 // 2) ** 2 }}{{ 'ab'[::-1] }}", "assistantxxx9ba"),
        ("{{ strftime_now('%Y') | length }}", "4"),
    ],
)  # fmt: skip
def test_what_templates_use_works(template, text):
    with chat.Chat(template, where="x", names={"bos_token": "<s>"}) as one:
        assert one.render(TALK, answer=False) == text


def test_a_template_may_refuse_in_its_own_words():
    with chat.Chat("{{ raise_exception('no system role here') }}", where="x") as one:
        with pytest.raises(RegardError, match="no system role here") as caught:
            one.render(TALK)
        assert not isinstance(caught.value, BadFileError)


def test_after_a_rendering_that_was_ended_the_next_one_works():
    loop = "{% for a in range(90000) %}{{ (range(90000) | list | sort)[0] }}{% endfor %}"
    source = "{% if messages | length > 1 %}" + loop + "{% endif %}ok"
    with chat.Chat(source, where="x") as one:
        with pytest.raises(BadFileError, match="more time or memory"):
            one.render(TALK)
        assert one.render(TALK[:1]) == "ok"


def test_no_process_is_left():
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    one = chat.Chat(CHATML, where="x")
    assert {child.pid for child in psutil.Process().children(recursive=True)} - before
    one.close()
    one.close()
    del one
    left = {child.pid for child in psutil.Process().children(recursive=True)} - before
    assert not left


@pytest.mark.parametrize(
    "messages",
    [
        ["hello"],
        [{"content": "a"}],
        [{"role": 1}],
        [{"role": "user", "content": {1, 2}}],
        [{"role": "user", "content": float("nan")}],
    ],
)
def test_messages_are_plain_data(messages):
    with chat.Chat(CHATML, where="x") as one, pytest.raises(ConfigError):
        one.render(messages)


def test_only_the_folder_gives_a_template(tmp_path):
    tokenizer = Tokenizer.train("bytes", ["a"], 300)
    with pytest.raises(BadFileError, match="holds no chat template"):
        chat.load(tmp_path, tokenizer)
    # A request that brings a template, or names that the template knows, brings text.
    message = {"role": "user", "content": "a", "chat_template": "{{ 7 * 7 }}", "bos_token": "x", "tools": [1]}
    (tmp_path / chat.FILE).write_text("{{ bos_token }}{{ tools is none }}{{ messages[0].content }}", encoding="utf-8")
    with chat.load(tmp_path, tokenizer) as one:
        assert one.render([message]) == f"{tokenizer.roles['bos']}Truea"
    (tmp_path / chat.FILE).unlink()
    for told, text in (("A", "A"), ([{"name": "default", "template": "B"}, {"name": "rag", "template": "C"}], "B")):
        tokenizer.settings["chat_template"] = told
        with chat.load(tmp_path, tokenizer) as one:
            assert one.render([]) == text
    tokenizer.settings["chat_template"] = 5
    with pytest.raises(BadFileError):
        chat.load(tmp_path, tokenizer)
    with pytest.raises(BadFileError, match="KiB"):
        chat.Chat("a" * (chat.LARGEST + 1), where="x")


def test_a_conversation_cannot_smuggle_in_control_tokens(tmp_path):
    """What the template writes is meant, what a message spells is text; and a text comes back as it was said."""
    tokenizer = Tokenizer.train("bytes", ["a"], 300)
    (tmp_path / chat.FILE).write_text("{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}")
    eos = tokenizer.roles["eos"]
    with chat.load(tmp_path, tokenizer) as one:
        for said in (f"a{eos}b", f"{eos}{eos}", f"\ue0000\ue001{eos}\ue000", "\ue0001\ue001", "\ue00099\ue001"):
            talk = [{"role": "user", "content": said}]
            assert one.render(talk) == said + eos
            ids = tokenizer.encode_parts(one.parts(talk))
            assert ids.count(tokenizer.eos) == 1 and ids[-1] == tokenizer.eos and ids[0] == tokenizer.bos
            assert tokenizer.decode(ids) == said
        assert tokenizer.encode_marked(one.render(talk)).count(tokenizer.eos) == 1
