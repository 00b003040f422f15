from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.hashing import event_ids, hash_strings

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


def test_the_hash_is_the_one_models_were_trained_with() -> None:
    # XXH3-64 of "", "a" and "ü", as signed integers; a model is void under any other hash.
    expected = [3244421341483603138, -1817709641818812897, 6748675957732712302]
    assert hash_strings(["", "a", "ü"]).tolist() == expected


@given(st.lists(_texts, max_size=20))
def test_hashes_are_int64_and_the_same_only_for_the_same_text(texts: list[str]) -> None:
    hashes = hash_strings(texts)
    assert hashes.dtype == np.int64
    assert hashes.shape == (len(texts),)
    assert len(set(hashes.tolist())) == len(set(texts))
    assert hashes.tolist() == [hash_strings([text]).item() for text in texts]


@given(st.lists(st.tuples(st.sampled_from(["score", "alert"]), _texts, _texts), max_size=20))
def test_ids_are_the_same_only_for_the_same_event_and_kind(events: list[tuple[str, ...]]) -> None:
    ids = {each: event_ids(each[0], [each[1]], [each[2]])[0] for each in events}
    assert len(set(ids.values())) == len(ids)
    assert all(len(each) == 32 for each in ids.values())


def test_ids_do_not_mix_accounts_and_events_that_hold_the_separator() -> None:
    one, other = event_ids("score", ["a\x1fb", "a"], ["c", "b\x1fc"])
    assert one != other


def test_ids_do_not_depend_on_the_batch() -> None:
    accounts, events = ["a", "b", "a"], ["1", "1", "2"]
    apart = [event_ids("alert", [a], [e])[0] for a, e in zip(accounts, events, strict=True)]
    assert event_ids("alert", accounts, events) == apart
