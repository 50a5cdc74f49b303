"""Personal data and secrets in a text: where they stand, and the text with a mark in their place.

    mask("Write to li@example.com or call 13912345678")     # "Write to [MAIL] or call [PHONE]"

Found by their form, and by their check digits where they have some: a number of a Chinese identity card (GB 11643) must
name a date and end in the right digit, a card number must pass Luhn's test and begin as some issuer's do, an account
(IBAN) must come to 1 modulo 97. Names and street addresses have no form and are not found. Every pattern is bounded, so
that the time is in proportion to the text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

KINDS = ("key", "mail", "id", "account", "card", "phone", "ip")


@dataclass(frozen=True)
class Found:
    """`text[start:end]` is of this kind, one of KINDS."""

    kind: str
    start: int
    end: int


def find(text: str) -> list[Found]:
    """What there is, in the order of the text, none overlapping another; of two that would, the one first in KINDS."""
    if not _HINT.search(text):
        return []
    narrow = text.translate(_NARROW) if not text.isascii() else text  # one for one, so that places stay
    found: list[Found] = []
    taken = bytearray(len(text))
    for kind in KINDS:
        for start, end in _FINDERS[kind](narrow):
            if not any(taken[start:end]):
                found.append(Found(kind, start, end))
                taken[start:end] = b"\1" * (end - start)
    return sorted(found, key=lambda one: one.start)


def mask(text: str, found: list[Found] | None = None) -> str:
    """The text with [KIND] for everything that `find` finds in it."""
    pieces, at = [], 0
    for one in find(text) if found is None else found:
        pieces += [text[at : one.start], f"[{one.kind.upper()}]"]
        at = one.end
    return "".join([*pieces, text[at:]])


Spans = Iterator[tuple[int, int]]

# Nothing below is found without a digit, an @ or the head of a private key: most texts are done with this one look.
_HINT = re.compile(r"[0-9@\uff10-\uff19\uff20]|PRIVATE KEY")
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # fullwidth forms


def _rule(pattern: str) -> re.Pattern[str]:
    # ASCII: a Chinese character is no letter here, so that a number may stand right behind one.
    return re.compile(pattern, re.ASCII)


_KEYS = _rule(
    r"""(?x)
    (?<!\w)(?:
        A[KS]IA[0-9A-Z]{16}                                                    # Amazon
      | gh[pousr]_[A-Za-z0-9]{36,255} | github_pat_\w{22,255}                  # GitHub
      | glpat-[\w-]{20,64}                                                     # GitLab
      | sk-[\w-]{20,200} | [sr]k_live_[A-Za-z0-9]{16,128}                      # OpenAI, Anthropic; Stripe
      | AIza[\w-]{35}                                                          # Google
      | LTAI[A-Za-z0-9]{12,26} | AKID[A-Za-z0-9]{32}                           # Alibaba Cloud, Tencent Cloud
      | xox[abeoprs]-[A-Za-z0-9-]{10,255}                                      # Slack
      | (?:hf|npm)_[A-Za-z0-9]{30,64} | pypi-[\w-]{50,255}                     # Hugging Face and package registries
      | eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,1000}                   # JSON web token
    )(?![\w-])"""
)
_KEY_BLOCK = re.compile(
    r"-----BEGIN (?:[A-Z]{2,12} ){0,2}PRIVATE KEY-----(?:[^-]{0,8000}-----END [A-Z ]{0,24}KEY-----)?"
)
_SECRET = re.compile(
    r"(?i)(?:password|passwd|secret|api[_-]?key|access[_-]?token|密码|口令|密钥)[\"']?\s{0,3}[:=：]\s{0,3}[\"']?"
    r"(?P<value>[!-~]{8,128})"
)
_MAIL = _rule(
    r"(?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)
_ID = _rule(r"(?<!\w)[1-9]\d{16}[\dXx](?!\w)")
_ACCOUNT = _rule(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_CARD = _rule(
    r"(?<![\w.])(?:[2-6]\d{12,18}|[2-6]\d{3}([ -])\d{4}\1\d{4}\1\d{1,7}|3[47]\d{2}([ -])\d{6}\2\d{5})(?![\w]|\.\d)"
)
_ISSUERS = _rule(r"4|5[1-5]|2[2-7]|3[47]|35|30[0-5]|36|38|6")
_PHONE = _rule(
    r"""(?x)
    (?<![\w.])(?:(?:\+|00)?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?!\w)             # Chinese mobile
  | (?<![\w.])(?:\+86[ -]?)?\(?0\d{2,3}\)?[ -]\d{7,8}(?!\w)                        # Chinese landline
  | (?<![\w.])400[ -]\d{3,4}[ -]\d{3,4}(?!\w)
  | (?<![\w+])\+[1-9]\d{0,2}(?:[ .-]?\(?\d{1,4}\)?){2,5}(?!\w)                     # with a country code
  | (?<![\w.-])(?:\(\d{3}\)[ ]?|\d{3}[-.])\d{3}[-.]\d{4}(?![\w-])                  # North America
    """
)
_IP = _rule(
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)|(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])"
)


def _key(text: str) -> Spans:
    for rule in (_KEYS, _KEY_BLOCK):
        yield from (match.span() for match in rule.finditer(text))
    for match in _SECRET.finditer(text):
        value = match["value"].rstrip("\"',;.)")
        if any(one.isdigit() for one in value) and any(one.isalpha() for one in value):  # not "password: incorrect"
            yield match.start("value"), match.start("value") + len(value)


def _plain(rule: re.Pattern[str], good: Callable[[str], bool] = lambda found: True) -> Callable[[str], Spans]:
    return lambda text: (match.span() for match in rule.finditer(text) if good(match[0]))


def _is_id(found: str) -> bool:
    try:
        date(int(found[6:10]), int(found[10:12]), int(found[12:14]))
    except ValueError:
        return False
    weighed = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(found[:17]))
    return found[17].upper() == "10X98765432"[weighed % 11]  # ISO 7064, MOD 11-2


def _is_account(found: str) -> bool:
    bare = found.replace(" ", "")
    turned = bare[4:] + bare[:4]
    return 15 <= len(bare) <= 34 and int("".join(str(int(one, 36)) for one in turned)) % 97 == 1  # ISO 13616


def _is_card(found: str) -> bool:
    digits = [int(one) for one in found if one.isdigit()]
    doubled = [digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(reversed(digits))]
    return 13 <= len(digits) <= 19 and bool(_ISSUERS.match(found)) and sum(doubled) % 10 == 0 and len(set(digits)) > 1


def _is_phone(found: str) -> bool:
    return 8 <= sum(one.isdigit() for one in found) <= 15


def _is_address(found: str) -> bool:
    """Somebody's: not a loopback, private or reserved one, nor a time of day that looks like one."""
    try:
        return ipaddress.ip_address(found).is_global
    except ValueError:
        return False


_FINDERS: dict[str, Callable[[str], Spans]] = {
    "key": _key,
    "mail": _plain(_MAIL),
    "id": _plain(_ID, _is_id),
    "account": _plain(_ACCOUNT, _is_account),
    "card": _plain(_CARD, _is_card),
    "phone": _plain(_PHONE, _is_phone),
    "ip": _plain(_IP, _is_address),
}
