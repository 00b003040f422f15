from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BundleError
from engine.layout import DTYPES, StateField, StateLayout

LAYOUT = StateLayout(
    (
        StateField("count", "int32"),
        StateField("ids", "int64", (4,)),
        StateField("memory", "float32", (2, 3)),
        StateField("mean", "float32"),
    ),
    writer="a",
)

_layouts = st.lists(
    st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(1, 4), max_size=2)),
    min_size=1,
    max_size=5,
).map(
    lambda kinds: StateLayout(
        tuple(
            StateField(f"field_{at}", dtype, tuple(shape))
            for at, (dtype, shape) in enumerate(kinds)
        )
    )
)


@given(_layouts, st.integers(0, 5), st.data())
def test_what_is_encoded_is_decoded(layout: StateLayout, n: int, data: st.DataObject) -> None:
    size = n * layout.nbytes
    content = data.draw(st.binary(min_size=size, max_size=size))
    values = [content[at : at + layout.nbytes] for at in range(0, size, layout.nbytes)]
    states = layout.decode(values)
    assert states.shape == (n,)
    assert layout.encode(states) == values


@given(_layouts)
def test_a_layout_survives_its_manifest(layout: StateLayout) -> None:
    again = StateLayout.from_dict(layout.to_dict())
    assert again == layout
    assert (again.sizes, again.offsets) == (layout.sizes, layout.offsets)


def test_a_new_entity_is_all_zeros() -> None:
    (state,) = LAYOUT.encode(LAYOUT.decode([None]))
    assert state == bytes(LAYOUT.nbytes)
    assert LAYOUT.encode(LAYOUT.zeros(1)) == [state]


def test_no_states_decode_to_no_states() -> None:
    states = LAYOUT.decode([])
    assert states.shape == (0,)
    assert states.dtype == LAYOUT.record
    assert LAYOUT.encode(states) == []


def test_decoded_states_can_be_written_to() -> None:
    value = bytes(LAYOUT.nbytes)
    states = LAYOUT.decode([value, None])
    states["int64"][0, 0] = 7
    assert states["int64"][1, 0] == 0
    assert value == bytes(LAYOUT.nbytes)


def test_the_widest_type_lies_first_and_little_endian() -> None:
    assert list(LAYOUT.sizes.items()) == [("int64", 4), ("float32", 7), ("int32", 1)]
    states = LAYOUT.zeros(1)
    states["int64"][0, 0] = 1
    states["int32"][0, 0] = 2
    (value,) = LAYOUT.encode(states)
    assert len(value) == LAYOUT.nbytes == 4 * 8 + 7 * 4 + 4
    assert value[:8] == (1).to_bytes(8, "little")
    assert value[-4:] == (2).to_bytes(4, "little")


@pytest.mark.parametrize(
    "changes", [(-1,), (1,), (-1, 1), (8, -8), (-LAYOUT.nbytes, LAYOUT.nbytes)]
)
def test_a_state_of_another_length_is_refused(changes: tuple[int, ...]) -> None:
    values = [bytes(LAYOUT.nbytes + change) for change in changes]
    with pytest.raises(ValueError, match=f"must have {LAYOUT.nbytes} bytes"):
        LAYOUT.decode([None, *values, bytes(LAYOUT.nbytes)])


@pytest.mark.parametrize(
    "other",
    [
        StateLayout(LAYOUT.fields, writer="b"),
        StateLayout(LAYOUT.fields[::-1], writer="a"),
        StateLayout(LAYOUT.fields[:-1], writer="a"),
        StateLayout((StateField("number", "int32"), *LAYOUT.fields[1:]), writer="a"),
        StateLayout((StateField("count", "float32"), *LAYOUT.fields[1:]), writer="a"),
        StateLayout((StateField("count", "int32", (1,)), *LAYOUT.fields[1:]), writer="a"),
        StateLayout(
            (*LAYOUT.fields[:2], StateField("memory", "float32", (3, 2)), LAYOUT.fields[3]), "a"
        ),
    ],
    ids=["writer", "order", "fewer", "name", "dtype", "rank", "shape"],
)
def test_layouts_whose_states_must_not_mix_have_different_digests(other: StateLayout) -> None:
    assert other.digest != LAYOUT.digest


def test_a_digest_is_stable() -> None:
    # Stores are full of states under this digest: when it changes, they are all lost.
    assert StateLayout((StateField("ids", "int64", (4,)),), writer="w").digest == "f0b6757a"


def test_a_state_is_described_by_its_fields() -> None:
    states = LAYOUT.zeros(2)
    states["int32"][1] = 3
    states["int64"][1] = [1, 2, 3, 4]
    states["float32"][1] = [0, 1, 2, 3, 4, 5, 0.5]
    assert LAYOUT.describe(states[1]) == {
        "count": 3,
        "ids": [1, 2, 3, 4],
        "memory": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
        "mean": 0.5,
    }


def test_an_unknown_data_type_is_refused() -> None:
    with pytest.raises(BundleError, match="count has 'float64'"):
        StateField("count", "float64")


@pytest.mark.parametrize("shape", [(-4,), (2, -1), (1.5,), ("4",)])
def test_an_impossible_shape_is_refused(shape: Any) -> None:
    with pytest.raises(BundleError, match="whole numbers"):
        StateField("ids", "int64", shape)


def test_two_fields_of_one_name_are_refused() -> None:
    with pytest.raises(BundleError, match="different names"):
        StateLayout((StateField("a", "int32"), StateField("a", "int64")))


def _field(**changes: Any) -> dict[str, Any]:
    raw = {"name": "ids", "dtype": "int64", "shape": [4], **changes}
    return {"fields": [{key: value for key, value in raw.items() if value is not None}]}


@pytest.mark.parametrize(
    "raw",
    [
        {},
        [],
        {"fields": None},
        {"fields": [1]},
        _field(name=None),
        _field(name=[1]),
        _field(dtype=None),
        _field(dtype=8),
        _field(shape=None),
        _field(shape=4),
        _field(shape=["4"]),
        {**_field(), "writer": 5},
    ],
)
def test_a_malformed_layout_is_refused(raw: Any) -> None:
    with pytest.raises(BundleError):
        StateLayout.from_dict(raw)


def test_a_layout_whose_digest_does_not_match_is_refused() -> None:
    raw = LAYOUT.to_dict()
    raw["fields"][0]["name"] = "number"
    with pytest.raises(BundleError, match="digest must match"):
        StateLayout.from_dict(raw)
