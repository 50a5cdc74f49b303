from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.data.personal import KINDS, find, mask

# Made up, with right check digits; the identity card is the example of GB 11643, the cards and the account are the
# issuers' own test numbers.
THERE = {
    "mail": ["li.ming+news@mail.example.com", "a@b.cn", "邮箱zhang_3@qq.com。", "ＬＩ＠ｅｘａｍｐｌｅ．ｃｏｍ"],
    "phone": [
        "13912345678", "139-1234-5678", "+86 139 1234 5678", "手机号13912345678。", "１３９１２３４５６７８",
        "010-62345678", "(021) 62345678", "+44 20 7946 0958", "+1-202-555-0143", "(202) 555-0143", "202-555-0143",
        "400-820-8820",
    ],
    "id": ["11010519491231002X", "身份证11010519491231002x，", "440524188001010014"],
    "card": [
        "4111 1111 1111 1111", "4111111111111111", "5500-0000-0000-0004", "378282246310005", "3782 822463 10005",
        "6011111111111117",
    ],
    "account": ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000"],
    "ip": ["8.8.4.4", "来自8.8.4.4的", "2001:4860:4860::8888"],
    "key": [
        "AKIAIOSFODNN7EXAMPLE", "ghp_" + "a1B2" * 9, "sk-proj-" + "Ab1_" * 8, "AIza" + "b2C-" * 8 + "abc",
        "hf_" + "aB3d" * 9,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----", 'password = "hunter2secret"',
        "密码：abc12345",
    ],
}  # fmt: skip

NOT_THERE = [
    "user@host", "@name", "a@b", "11010519491231002", "110105194912310021", "110105194913310023", "4111 1111 1111 1112",
    "1234567890123456", "0000000000000000", "12345678901", "10.0.0.1", "127.0.0.1", "192.168.1.1", "256.1.1.1",
    "1.2.3", "12:30:45", "2024-01-31", "3.14159265358979", "1,000,000,000,000", "GB82 WEST 1234 5698 7654 33",
    "password: incorrect", "the password is wrong", "ISBN 978-7-302-51121-4", "1984", "v1.2.3.4.5", "x13912345678",
    "task-force-of-twenty-people-who-came", "1391234567", "139123456789", "0.13912345678",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in THERE.items() for text in texts])
def test_what_has_the_form_is_found_and_masked(kind, text):
    for whole in (text, f"see {text} there", f"见 {text}\n"):
        assert [one.kind for one in find(whole)] == [kind]
        masked = mask(whole)
        assert f"[{kind.upper()}]" in masked and not find(masked)
        assert not any(len(run) >= 4 for run in "".join(c if c.isdigit() else " " for c in masked).split())


@pytest.mark.parametrize("text", NOT_THERE)
def test_what_only_looks_like_it_is_left(text):
    assert find(text) == [] and mask(f"see {text} there") == f"see {text} there"


def test_several_in_one_text_stay_apart():
    text = "Li <li@example.com>, 13912345678 or 4111 1111 1111 1111; from 8.8.4.4"
    assert mask(text) == "Li <[MAIL]>, [PHONE] or [CARD]; from [IP]"
    assert [text[one.start : one.end] for one in find(text)] == [
        "li@example.com",
        "13912345678",
        "4111 1111 1111 1111",
        "8.8.4.4",
    ]


@given(st.text(alphabet="1 390-.@:aZ+()明月８＠", max_size=60))
def test_masking_is_done_once_and_touches_nothing_else(text):
    found = find(text)
    assert all(one.kind in KINDS and 0 <= one.start < one.end <= len(text) for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
    rest = "".join(
        text[a:b] for a, b in zip([0, *[o.end for o in found]], [*[o.start for o in found], len(text)], strict=True)
    )
    masked = mask(text)
    for one in found:
        masked = masked.replace(f"[{one.kind.upper()}]", "", 1)
    assert masked == rest


@pytest.mark.parametrize(
    "piece",
    [
        "1",
        "a",
        "a.",
        "@",
        "a@",
        "a@a.",
        "1 ",
        "1-",
        "+1",
        "f:",
        "1.",
        "A1",
        "A1B2 ",
        "eyJaaaaaaaaaa.",
        "password=",
        "-----BEGIN PRIVATE KEY-----",
        "sk-a1",
    ],
)
def test_the_time_grows_with_the_text_and_no_faster(piece):
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        start = time.perf_counter()
        find(text)
        return time.perf_counter() - start

    short = min(seconds(20_000) for _ in range(3))
    long = min(seconds(80_000) for _ in range(2))
    assert long < 0.02 + 8 * short
