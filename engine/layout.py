"""How an entity's state lies in memory and in the store.

A state is one flat tensor for each data type, so that the graph has few inputs and a store holds
one binary value. Named fields are slices of these tensors. A new entity's state is all zeros.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.errors import BundleError

#: The data types a state may hold, in the order they are packed: the widest first, so that each
#: tensor starts at a multiple of its own item size.
DTYPES = ("int64", "float32", "int32")


@dataclass(frozen=True, slots=True)
class StateField:
    """A named part of a state: ``shape`` items of ``dtype``."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise BundleError(
                f"a state's data type must be one of {DTYPES}, however: "
                f"{self.name} has {self.dtype!r}"
            )
        if not all(isinstance(each, int) and each >= 0 for each in self.shape):
            raise BundleError(
                f"a state's shape must be whole numbers of at least 0, however: {self.name} has "
                f"{self.shape}"
            )

    @property
    def size(self) -> int:
        """The number of items."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class StateLayout:
    """The fields of a state, and where each lies.

    Args:
        fields: the named parts.
        writer: a digest of whatever decides what is written there (a sequence cell's weights):
            states of two models are only interchangeable if layout and writer are the same.

    >>> layout = StateLayout((StateField("seen", "int64", (4,)), StateField("mean", "float32")))
    >>> layout.sizes
    {'int64': 4, 'float32': 1}
    >>> layout.nbytes
    36
    """

    fields: tuple[StateField, ...]
    writer: str = ""
    #: The numpy record of one state: a sub-array for each data type.
    record: np.dtype[Any] = field(init=False, compare=False, repr=False)
    sizes: dict[str, int] = field(init=False, compare=False)
    offsets: dict[str, int] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        names = [each.name for each in self.fields]
        if len(set(names)) != len(names):
            raise BundleError(f"the fields of a state must have different names, however: {names}")
        totals = dict.fromkeys(DTYPES, 0)
        offsets = {}
        for each in self.fields:
            offsets[each.name] = totals[each.dtype]
            totals[each.dtype] += each.size
        sizes = {dtype: total for dtype, total in totals.items() if total}
        record = np.dtype([(dtype, dtype, (size,)) for dtype, size in sizes.items()])
        object.__setattr__(self, "record", record)
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "offsets", offsets)

    @property
    def nbytes(self) -> int:
        """The bytes of one encoded state."""
        return self.record.itemsize

    @property
    def digest(self) -> str:
        """Eight hex digits that differ between layouts and writers: their states never mix."""
        parts = [f"{each.name}:{each.dtype}:{each.shape}" for each in self.fields]
        text = ";".join([*parts, self.writer])
        return sha256(text.encode()).hexdigest()[:8]

    def zeros(self, n: int) -> NDArray[Any]:
        """Return the states of ``n`` new entities: a record array ``[n]``."""
        return np.zeros(n, dtype=self.record)

    def decode(self, values: Sequence[bytes | None]) -> NDArray[Any]:
        """Return encoded states as a record array ``[n]``; None is a new entity.

        Raises:
            ValueError: a value has another length than this layout.
        """
        blank = bytes(self.nbytes)
        known = [blank if value is None else value for value in values]
        found = set(map(len, known)) - {self.nbytes}
        if found:
            raise ValueError(f"a state must have {self.nbytes} bytes, however: {sorted(found)}")
        return np.frombuffer(bytearray().join(known), dtype=self.record)

    def encode(self, states: NDArray[Any]) -> list[bytes]:
        """Return each state of a record array ``[n]`` as bytes."""
        data, step = states.tobytes(), self.nbytes
        return [data[at : at + step] for at in range(0, len(data), step)]

    def describe(self, state: NDArray[Any]) -> dict[str, Any]:
        """Return the named fields of one state (a record of shape ``[]``), for people."""
        named = {}
        for each in self.fields:
            start = self.offsets[each.name]
            named[each.name] = state[each.dtype][start : start + each.size].reshape(each.shape)
        return {name: value.tolist() for name, value in named.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the layout as the manifest holds it."""
        return {
            "digest": self.digest,
            "writer": self.writer,
            "nbytes": self.nbytes,
            "fields": [
                {"name": each.name, "dtype": each.dtype, "shape": list(each.shape)}
                for each in self.fields
            ],
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read a layout from a manifest. Raises :class:`BundleError`."""
        try:
            fields = tuple(
                StateField(each["name"], each["dtype"], tuple(each["shape"]))
                for each in raw["fields"]
            )
            layout = cls(fields, raw.get("writer", ""))
            digest = layout.digest
        except (KeyError, TypeError) as error:
            raise BundleError(f"a state field must have name, dtype and shape: {error}") from None
        if raw.get("digest") != digest:
            raise BundleError(
                f"the state layout's digest must match its fields ({digest}), "
                f"however: {raw.get('digest')}"
            )
        return layout
