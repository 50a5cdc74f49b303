from __future__ import annotations

import unicodedata
from collections import Counter

import numpy as np
import pytest

from regard.data.scripts import SCRIPTS, counts, language

NAMES = {
    "latin": "LATIN", "greek": "GREEK", "cyrillic": "CYRILLIC", "hebrew": "HEBREW", "arabic": "ARABIC", "thai": "THAI",
    "devanagari": "DEVANAGARI", "hangul": "HANGUL", "han": "CJK",
}  # fmt: skip

TEXTS = {
    "en": "The weather is fine and we are going to the sea.",
    "de": "Das Wetter ist schön und wir fahren mit dem Zug.",
    "fr": "Le temps est beau et nous allons à la mer avec elle.",
    "es": "El tiempo es bueno y los niños van a la playa con una amiga.",
    "it": "Il tempo è bello e gli amici sono al mare con una barca.",
    "pt": "O tempo é bom e os meninos não vão para a praia com ela.",
    "nl": "Het weer is mooi en wij gaan met de trein naar zee.",
    "zh-hans": "今天天气很好，我们去海边。",
    "zh-hant": "今天天氣很好，我們去海邊。",
    "zh": "白日依山尽".replace("尽", "走"),
    "ja": "今日は天気がいいです。",
    "ko": "오늘은 날씨가 좋습니다.",
    "el": "Ο καιρός είναι καλός.",
    "th": "วันนี้อากาศดี",
    "cyrillic": "Погода сегодня хорошая.",
    "latin": "Lorem ipsum dolor",
    "mixed": "今天天气很好 weather fine",
    "none": "12:30 …",
}


def test_scripts_are_those_of_the_characters_names():
    wrong = []
    for script, name in NAMES.items():
        letters = [chr(code) for code in range(0x20, 0x30000) if unicodedata.category(chr(code)).startswith("L")]
        wanted = [letter for letter in letters if unicodedata.name(letter, "").startswith(name + " ")]
        found = counts(wanted)[:, SCRIPTS.index(script)]
        wrong += [(script, hex(ord(letter))) for letter, count in zip(wanted, found, strict=True) if not count]
    rare = [place for place in wrong if int(place[1], 16) > 0xFFFF or 0x1C80 <= int(place[1], 16) <= 0x1DFF]
    assert len(wrong) - len(rare) < 400, Counter(script for script, _ in wrong)  # extensions for phonetics and the like
    assert not [place for place in wrong if int(place[1], 16) < 0x0250 or 0x4E00 <= int(place[1], 16) < 0xA000]


def test_every_character_is_counted_once():
    texts = ["abc 明月1。", "", "かな漢字", "\U0001f600é\ud800"]
    found = counts(texts)
    assert found.shape == (4, len(SCRIPTS)) and found.sum(axis=1).tolist() == [len(text) for text in texts]
    assert dict(zip(SCRIPTS, found[0].tolist(), strict=True)) == {
        **dict.fromkeys(SCRIPTS, 0),
        "latin": 3,
        "han": 2,
        "sign": 3,
    }
    assert found[2][SCRIPTS.index("kana")] == 2 and found[3][SCRIPTS.index("emoji")] == 1
    np.testing.assert_array_equal(counts(["ab", "月"]), np.concatenate([counts(["ab"]), counts(["月"])]))


@pytest.mark.parametrize("wanted", TEXTS)
def test_languages_are_guessed_as_far_as_there_is_ground(wanted):
    text = TEXTS[wanted]
    assert language(text, counts([text])[0]) == wanted
