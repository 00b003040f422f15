"""A TCP proxy that lets everything wait: a server that is far away, or busy."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from streams.embedded.processes import HOST


class SlowProxy:
    """Passes bytes on to a port of this machine, each after a delay that may be changed.

    Args:
        port: where the server listens.

    Attributes:
        delay_s: how long bytes wait, each way.
        port: where the proxy listens; known once started.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.delay_s = 0.0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, self._target)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pass(source, sink))
            self._pipes.add(task)
            task.add_done_callback(self._pipes.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                sink.write(data)
                await sink.drain()
        sink.close()
