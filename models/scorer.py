"""The whole scorer as one module: features, cell, head and calibration, with carried state.

``step(events, state, shared) -> (score, new state)`` is what is exported and served. Training
uses the same parts: :meth:`Scorer.features` event by event without the cell, then
:meth:`Scorer.forward_sequence` over whole histories.

All-zero state is a new account. A repeated event id is answered with its first score and leaves
the state as it was, bit for bit. A late event (:attr:`ScorerConfig.late_after_s`) is scored with
what is known at the account's latest time; it enters the ring and its own day's bucket, and never
moves the account's last time back; with :attr:`ScorerConfig.late_counts` off, it enters the ring
alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from engine.errors import ConfigError, SchemaError
from engine.layout import StateField, StateLayout
from engine.manifest import ReasonGroup
from engine.schema import Schema
from engine.shared import kept_features
from models.answers.base import Answer, Asked, Said
from models.answers.registry import build_answer
from models.cells.registry import build_cell
from models.config import MEMORY_GROUP, ScorerConfig
from models.encoding import Encoder
from models.features.base import Context, Feature, Output, Pieces
from models.features.registry import build_feature
from models.features.ring import Repeat, Ring, RingFields
from models.head import Calibration
from models.packs.code import code_of

_MEMORY = "memory"

Tensors = Mapping[str, Tensor]

_NONE: Tensors = MappingProxyType({})


class StepOutput(NamedTuple):
    """``score`` float32, ``duplicate`` bool, ``late`` bool, each ``[B]``; the new state.

    ``kept`` float32 ``[B, k]`` are the columns that shared entities need of an event, ``outputs``
    float32 ``[B, m]`` the values beside the score.
    """

    score: Tensor
    duplicate: Tensor
    late: Tensor
    state: dict[str, Tensor]
    kept: Tensor
    outputs: Tensor


class Explanation(NamedTuple):
    """``contributions`` float32 ``[B, groups]``; ``features`` float32 ``[B, f]``."""

    contributions: Tensor
    features: Tensor


class Features(NamedTuple):
    """What :meth:`Scorer.extract` makes of a batch of events.

    ``columns`` float32 ``[B, f]``; ``state`` the features' new state fields, ``[B, size]`` each.
    """

    columns: Tensor
    state: dict[str, Pieces]
    context: Context
    repeat: Repeat


class Scorer(nn.Module):
    """See the module's docstring.

    Args:
        schema: what an event looks like.
        config: what the scorer is made of.

    Attributes:
        schema, config: as given.
        inputs: the event's fields that are inputs of the graph, in order.
        shared: the entities whose buckets are inputs of the graph too, in order.
        outputs: the features' columns, in order.
        kept: the places among them of :func:`engine.shared.kept_features`.
        reasons: the groups of the contributions, in order.

    Raises:
        ConfigError: a feature or the cell is unknown, or a group of reasons has no sentence.
        SchemaError: the schema lacks a field that the scorer reads.
    """

    reference: Tensor
    masks: Tensor

    def __init__(self, schema: Schema, config: ScorerConfig) -> None:
        super().__init__()
        code_of(config.pack)
        self.schema = schema
        self.config = config
        self.answer = build_answer(config.output.name, config.output.options)
        self.ring = Ring(_ring_fields(schema, config), config.ring, len(self.answer.outputs))
        self.parts: list[Feature] = [
            build_feature(each.name, each.options, config.shared) for each in config.features
        ]
        self.features_list = nn.ModuleList(self.parts)
        self.outputs, self._chosen = _outputs(self.parts, config.omit)
        self.kept = _kept(self.outputs, config)
        self.shared = config.shared
        self.encoder = Encoder(len(self.outputs), config.knots)
        self.cell = build_cell(config.cell.name, self.encoder.output_size, config.cell.options)
        width = self.encoder.output_size + self.cell.output_size
        self.head = self.answer.new_head(width, config.hidden, config.dropout, config.members)
        self.calibration = Calibration()
        self.register_buffer("reference", torch.zeros(len(self.outputs)))
        self.reasons = _reasons(self.outputs, config, bool(self.cell.state_size))
        self.register_buffer("masks", _masks(self.outputs, self.reasons), persistent=False)
        self.inputs = _inputs(schema, self.ring.fields, self.parts, self.answer)
        self._answers = [_place(self.outputs, each) for each in self.answer.columns]
        self._fields = self._state_fields()

    @property
    def layout(self) -> StateLayout:
        """The state's layout; its writer is a digest of what decides what is carried."""
        return StateLayout(self._fields, self._writer())

    def step(
        self, events: Tensors, state: Tensors, shared: Tensors, parameters: Tensors = _NONE
    ) -> StepOutput:
        """Score one event of each account.

        Args:
            events: each of :attr:`inputs`, ``[B]``: float32 numbers, int64 hashes and times.
            state: data type to the flat state ``[B, size]`` (:class:`StateLayout`).
            shared: the entities' inputs (``shared_<name>``) to their closed buckets, float32
                ``[B, buckets, quantities]``.
            parameters: those of the answer by name, float32 ``[B]``.
        """
        fields = self._unpack(state)
        found = self.extract(events, fields, shared)
        encoded = self.encoder(found.columns)
        z, memory = self.cell.step(encoded, self._memory(fields, encoded))
        said = self._say(torch.cat((encoded, z), dim=1), found, fields, parameters)
        repeat, late = found.repeat, self._is_late(found.context)
        values = torch.cat(said.values, dim=1) if said.values else found.columns[:, :0]
        score = torch.where(repeat.duplicate, repeat.score, said.score)
        outputs = torch.where(repeat.duplicate, repeat.outputs, values)
        new = found.state | dict(said.state)
        if self.cell.state_size:
            new[_MEMORY] = memory
        new = self._counted(new, fields, late) | self.ring.shifted(
            found.context, fields, score, outputs
        )
        packed = {
            dtype: torch.where(repeat.duplicate, state[dtype], value)
            for dtype, value in self._pack(new).items()
        }
        kept = found.columns[:, list(self.kept)]
        return StepOutput(
            score.squeeze(1), repeat.duplicate.squeeze(1), late.squeeze(1), packed, kept, outputs
        )

    def features(
        self, events: Tensors, state: Tensors, shared: Tensors
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Make the features of one event of each account, without the cell.

        Args:
            events, state, shared: as for :meth:`step`.

        Returns:
            The columns float32 ``[B, f]``; which events are repeats, or late where these do not
            count, bool ``[B]``; and the new state, in which the cell's and the answer's part are
            as they were and the scores are 0.
        """
        fields = self._unpack(state)
        found = self.extract(events, fields, shared)
        duplicate = found.repeat.duplicate
        late, no_score = self._is_late(found.context), torch.zeros_like(found.context.amount)
        no_outputs = torch.zeros_like(found.repeat.outputs)
        new = {**fields, **self._counted(found.state, fields, late)}
        new |= self.ring.shifted(found.context, fields, no_score, no_outputs)
        packed = {
            dtype: torch.where(duplicate, state[dtype], value)
            for dtype, value in self._pack(new).items()
        }
        skipped = duplicate if self.config.late_counts else duplicate | late
        return found.columns, skipped.squeeze(1), packed

    def forward_sequence(self, columns: Tensor, h: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the head sees for whole histories.

        Args:
            columns: features, float32 ``[A, T, f]``.
            h: the cell's state before, float32 ``[A, state_size]``.
            valid: which steps are events, bool ``[A, T]``.

        Returns:
            The head's inputs, float32 ``[A, T, width]``, and the cell's state after.
        """
        return self.encoded_sequence(self.encoder(columns), h, valid)

    def encoded_sequence(self, encoded: Tensor, h: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Do the same from encoded features, float32 ``[A, T, 2 f]``."""
        z, h = self.cell.sequence(encoded, h, valid)
        return torch.cat((encoded, z), dim=2), h

    def explain(self, events: Tensors, state: Tensors, shared: Tensors) -> Explanation:
        """Return how far each group of features pushes the log-odds up, and the features."""
        fields = self._unpack(state)
        found = self.extract(events, fields, shared).columns
        return Explanation(self.contributions(found, self._memory(fields, found)), found)

    def contributions(self, columns: Tensor, memory: Tensor) -> Tensor:
        """Return how far each group of features pushes the log-odds up, float32 ``[B, groups]``.

        That is the log-odds of the score, minus the log-odds with that group at its reference.
        The group is held back from the cell's present input too; the cell's state is a group of
        its own, whose reference is that of a new account.

        Args:
            columns: the features, float32 ``[B, f]``.
            memory: the cell's state before the event, float32 ``[B, state_size]``.
        """
        present = columns[:, None]
        masked = torch.where(self.masks[None], self.reference, present)
        every = torch.cat((present, masked), dim=1)
        kept = memory[:, None] * self._remembered()[None, :, None]
        encoded = self.encoder(every).flatten(0, 1)
        z, _ = self.cell.step(encoded, kept.flatten(0, 1))
        level = self.answer.level(self._raw(torch.cat((encoded, z), dim=1)))
        variants: Tensor = level.reshape(-1, every.shape[1])
        return variants[:, :1] - variants[:, 1:]

    def extract(self, events: Tensors, fields: Tensors, shared: Tensors) -> Features:
        """Make the features from the state's named fields (``[B, size]`` each)."""
        context = self.ring.context(events, fields, shared)
        columns: list[Tensor] = []
        new: dict[str, Pieces] = {}
        for part in self.parts:
            own = {each.name: fields[each.name] for each in part.state}
            result = part(context, own)
            columns += result.columns
            new.update(result.state)
        repeat = self.ring.repeat(context, fields)
        made = torch.cat(columns, dim=1)
        chosen = made[:, self._chosen] if self.config.omit else made
        return Features(chosen, new, context, repeat)

    def _raw(self, inputs: Tensor) -> Tensor:
        """Return what the head gives, calibrated where it is a probability's log-odds."""
        raw: Tensor = self.head(inputs)
        return self.calibration(raw) if self.answer.is_probability else raw

    def _say(self, inputs: Tensor, found: Features, fields: Tensors, parameters: Tensors) -> Said:
        """Return the answer to events of which the head sees ``inputs [B, width]``."""
        asked = Asked(
            events={name: found.context.events[name] for name in self.answer.reads},
            columns={
                name: found.columns[:, at : at + 1]
                for name, at in zip(self.answer.columns, self._answers, strict=True)
            },
            state={each.name: fields[each.name] for each in self.answer.state},
            parameters={name: parameters[name][:, None] for name in self.answer.given},
        )
        said: Said = self.answer(self._raw(inputs), asked)
        return said

    def _is_late(self, context: Context) -> Tensor:
        """Return which events are late, or come too soon, bool ``[B, 1]``."""
        late = context.lag_ms > round(self.config.late_after_s * 1000)
        if not self.config.period_s:
            return late
        soon = (context.gap_ms < round(self.config.period_s * 1000)) & ~context.first
        return late | soon

    def _counted(self, new: dict[str, Pieces], fields: Tensors, late: Tensor) -> dict[str, Pieces]:
        """Return the new state of all but the ring: the old one of late events, if so declared."""
        if self.config.late_counts:
            return new
        whole = {
            name: each if isinstance(each, Tensor) else torch.cat(each, dim=1)
            for name, each in new.items()
        }
        return {name: torch.where(late, fields[name], each) for name, each in whole.items()}

    def _memory(self, fields: Tensors, like: Tensor) -> Tensor:
        return fields[_MEMORY] if self.cell.state_size else like[:, :0]

    def _remembered(self) -> Tensor:
        """Return 1 for each variant of the reasons that keeps the cell's state, else 0."""
        kept = [each.name != MEMORY_GROUP for each in self.reasons]
        return torch.tensor([True, *kept], dtype=torch.float32, device=self.masks.device)

    def _state_fields(self) -> tuple[StateField, ...]:
        own = chain.from_iterable(part.state for part in self.parts)
        size = self.cell.state_size
        memory = (StateField(_MEMORY, "float32", (size,)),) if size else ()
        return (*self.ring.state, *own, *self.answer.state, *memory)

    def _unpack(self, state: Tensors) -> dict[str, Tensor]:
        named: dict[str, Tensor] = {}
        for dtype in state:
            fields = [each for each in self._fields if each.dtype == dtype]
            parts = torch.split(state[dtype], [each.size for each in fields], dim=1)
            named |= {each.name: part for each, part in zip(fields, parts, strict=True)}
        return named

    def _pack(self, named: Mapping[str, Pieces]) -> dict[str, Tensor]:
        order: dict[str, list[Tensor]] = {}
        for each in self._fields:
            value = named[each.name]
            order.setdefault(each.dtype, []).extend([value] if isinstance(value, Tensor) else value)
        return {dtype: torch.cat(parts, dim=1) for dtype, parts in order.items()}

    def _writer(self) -> str:
        """Return a digest of the features' options, and of the encoding and cell behind memory."""
        parts = [[each.name, dict(each.options)] for each in self.config.features]
        said: list[Any] = [parts, self.config.cell.name]
        if self.answer.state:
            said.append([self.config.output.name, dict(self.config.output.options)])
        digest = sha256(json.dumps(said, sort_keys=True).encode())
        if self.cell.state_size:
            tensors = {**self.encoder.state_dict(), **self.cell.state_dict()}
            for name in sorted(tensors):
                digest.update(name.encode() + tensors[name].detach().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def _ring_fields(schema: Schema, config: ScorerConfig) -> RingFields:
    if schema.amount is None:
        raise SchemaError("a scorer's schema must have an amount, however: it has none")
    names = [each.name for each in schema.streamed]
    if config.counterparty is not None and config.counterparty not in names:
        raise SchemaError(
            f"the counterparty must be a field of the event, however: {config.counterparty!r}; "
            f"known are {', '.join(names)}"
        )
    return RingFields(
        schema.event_id.name, schema.event_time.name, schema.amount.name, config.counterparty
    )


def _inputs(
    schema: Schema, ring: RingFields, parts: list[Feature], answer: Answer
) -> tuple[str, ...]:
    read = {name for name in ring if name is not None}
    read |= set(chain.from_iterable(part.reads for part in parts)) | set(answer.reads)
    names = [each.name for each in schema.streamed]
    missing = sorted(read - set(names))
    if missing:
        raise SchemaError(f"the event must have what the features read, however: no {missing}")
    return tuple(name for name in names if name in read)


def _outputs(parts: list[Feature], omit: tuple[str, ...]) -> tuple[tuple[Output, ...], list[int]]:
    """Return the columns that the model is given, and their places among those that are made."""
    outputs = tuple(chain.from_iterable(part.outputs for part in parts))
    names = [each.name for each in outputs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"each feature's column must have a name of its own, however: {twice} are made twice; "
            "change the options in scorer.toml"
        )
    strange = sorted(set(omit) - set(names))
    if strange:
        raise ConfigError(
            f"a column that is omitted must be one that is made, however: {strange}; "
            f"there are {', '.join(names)}"
        )
    chosen = [at for at, name in enumerate(names) if name not in omit]
    return tuple(outputs[at] for at in chosen), chosen


def _place(outputs: tuple[Output, ...], name: str) -> int:
    names = [each.name for each in outputs]
    if name not in names:
        raise ConfigError(
            f"a column of [output] must be one that the scorer makes, however: no {name!r}; "
            f"there are {', '.join(names)}"
        )
    return names.index(name)


def _kept(outputs: tuple[Output, ...], config: ScorerConfig) -> tuple[int, ...]:
    names = [each.name for each in outputs]
    wanted = kept_features(config.shared)
    strange = [each for each in wanted if each not in names]
    if strange:
        raise ConfigError(
            "the feature of a quantity must be a column that the scorer makes, however: no "
            f"{strange}; there are {', '.join(names)}"
        )
    return tuple(names.index(each) for each in wanted)


def _reasons(
    outputs: tuple[Output, ...], config: ScorerConfig, remembers: bool
) -> tuple[ReasonGroup, ...]:
    """Return the groups of reasons that this scorer has, in the order of its declaration."""
    needed = {each.group for each in outputs} | ({MEMORY_GROUP} if remembers else set())
    missing = sorted(needed - {each.name for each in config.reasons})
    if missing:
        raise ConfigError(
            f"each group of features must have a sentence, however: {missing} have none; "
            "add them to [[reasons]] in scorer.toml"
        )
    return tuple(each for each in config.reasons if each.name in needed)


def _masks(outputs: tuple[Output, ...], reasons: tuple[ReasonGroup, ...]) -> Tensor:
    """Return which columns belong to which group of reasons: bool ``[groups, f]``."""
    return torch.tensor([[each.group == group.name for each in outputs] for group in reasons])
