"""Quix Streams as its documentation does it: a stateful function on a dataframe.

It keeps states in RocksDB and in a changelog topic, and needs an environment of its own (see
benchmarks/environments.py), since it asks for an older pydantic than riskstream does.
"""

from __future__ import annotations

from typing import Any

from quixstreams import Application, State

from benchmarks.peers.common import Model, Options, columns, now_ms, score_record


def main(options: Options) -> None:
    model = Model(options.bundle)
    app = Application(
        broker_address=options.bootstrap,
        consumer_group=options.group,
        auto_offset_reset="earliest",
        state_dir=options.directory / options.group,
        loglevel="WARNING",
    )

    def score(
        event: dict[str, Any], key: Any, timestamp_ms: int, headers: Any, state: State
    ) -> dict[str, Any]:
        states = model.split([state.get_bytes("state")])
        inputs = columns([event])
        found, new = model.run(inputs, states)
        state.set_bytes("state", model.join(new)[0])
        return score_record(
            event,
            inputs["event_time"].item(),
            found["score"].item(),
            found["duplicate"].item(),
            found["late"].item(),
            timestamp_ms,
            now_ms(),
        )

    stream = app.dataframe(app.topic(options.source, value_deserializer="json"))
    stream = stream.apply(score, stateful=True, metadata=True)
    stream.to_topic(app.topic(options.scores, value_serializer="json"))
    app.run()


if __name__ == "__main__":
    main(Options.parse())
