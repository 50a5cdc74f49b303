from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.data.fields import Fields, Misquoted, split

values = st.text(st.sampled_from('ab,;"\n\t 月\r'), max_size=9).map(lambda text: text.replace("\r", ""))
records = st.lists(values, min_size=1, max_size=5)


@given(records, st.sampled_from(",\t"))
def test_what_the_csv_module_writes_is_read_back(record, delimiter):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerow(record)
    assert split(out.getvalue()[:-1], delimiter, quoted=True) == record


@given(st.text(st.sampled_from('a,"'), max_size=30))
def test_what_is_read_is_what_the_csv_module_reads(text):
    try:
        found = split(text, ",", quoted=True)
    except Misquoted:
        return  # the csv module lets these pass unless strict, by guessing
    if found is None:
        with pytest.raises(csv.Error):
            list(csv.reader([text], strict=True))
        return
    assert found == (next(csv.reader([text], strict=True)) or [""])


def test_a_quote_inside_a_field_is_a_character():
    assert split('5" disk,b', ",", quoted=True) == ['5" disk', "b"]
    assert split('"a" b,c', ",", quoted=False) == ['"a" b', "c"]


def test_text_after_a_closing_quote_is_refused():
    with pytest.raises(Misquoted):
        split('"a" b,c', ",", quoted=True)


def test_a_record_over_many_lines_costs_its_length():
    fields = Fields(",", quoted=True)
    assert fields.feed('x,"begins') is None and fields.open
    for _ in range(200_000):
        assert fields.feed('"",') is None
    assert fields.feed('ends",y') == ["x", "begins\n" + '",\n' * 200_000 + "ends", "y"]
    assert not fields.open
