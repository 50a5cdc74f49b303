"""Texts that no one writes and every tokenizer must cut: always the same ones."""

from __future__ import annotations

import random

POOLS: dict[str, list[str]] = {
    "ascii": [chr(code) for code in range(32, 127)],
    "control": [
        chr(code)
        for code in [*range(32), 127, *range(128, 160), 0xAD, 0x200B, 0x200C, 0x200D, 0x200E, 0x202A, 0x202E, 0x2028,
                     0x2029, 0x2060, 0xFEFF, 0xFFFD, 0xFFFE]
    ],
    "marks": [chr(code) for code in [*range(0x300, 0x36F), 0x483, 0x903, 0x94D, 0xE47, 0x1AB0, 0x20DD, 0x3099, 0x309A]],
    "space": [" ", "  ", "   ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2003", "\u1680", "\x0b", "\x85", " " * 17],
    "chinese": list("今天天气很好床前明月光疑是地上霜龘𠮷㐀豈々〇，。！？「」【】～"),
    "japanese": list("ｶﾞｷﾞあいうがぎカクヴ゛゜ー"),
    "korean": [*"안녕하세요각힣", "\u1100\u1161\u11a8", "\u1112\u1161\u11ab"],
    "right to left": list("שלום עולם مرحبا بالعالم ـًٌٍ"),
    "south": list("नमस्तेक्षि தமிழ்ไทยภาษာကျေး"),
    "emoji": ["😀", "👩‍👩‍👧‍👦", "👍🏽", "🇨🇳", "🏳️‍🌈", "1️⃣", "❤️", "🧑🏿‍💻"],
    "compatible": list("ﬁﬀ①②Ⅷ㎏㍿½₃ªº℃™…‥ﷺＡｂ０！＂"),
    "latin": [*"éàüßıİŁøæŒñőŠ", "e\u0301", "a\u030a", "o\u0302\u0323"],
    "greek": list("αβγΩΣςЖщЫії"),
    "special": ["<s>", "</s>", "<unk>", "<pad>", "<mask>", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "<|endoftext|>",
                "<extra_id_0>", "<0x0A>", "▁", "▁▁", "<|im_start|>", "__en__", "en_XX", "##s", "Ġ", "Ċ", "</w>"],
    "words": ["the", "hello", "Hello", "isn't", "we'll", "DON'T", "3.14", "1,000,000", "C++", "foo_bar", "x=y+1;",
              "http://a.b/c?d=e&f", "a.b@c.de", "--", "...", "``", "''", " quick", " brown"],
    "far": [chr(code) for code in (0x10400, 0x1D400, 0x1D7D8, 0x2F800, 0x1F100, 0xE0001, 0x10FFFD)],
}  # fmt: skip
FIRST = ["", " ", "  ", "\n", "\u200b", "a", "▁", " a", "a ", "\u0301", "\u0301a"]


def texts(count: int = 5000, seed: int = 7) -> list[str]:
    """`count` texts of one to thirty parts out of up to three pools, some repeated, spaces between some."""
    draw, names, found = random.Random(seed), sorted(POOLS), list(FIRST)
    while len(found) < count:
        pools = draw.sample(names, draw.randint(1, 3))
        parts = []
        for _ in range(draw.choice([1, 2, 3, 5, 8, 13, 30])):
            parts.append(draw.choice(POOLS[draw.choice(pools)]) * draw.choice([1, 1, 1, 1, 2, 3, 7]))
            if draw.random() < 0.3:
                parts.append(draw.choice(POOLS["space"]))
        found.append("".join(parts))
    return found[:count]
