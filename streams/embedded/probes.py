"""Does a server answer its own protocol? Smaller than a client, and usable in any thread or loop.

A TCP connect is not enough: a listening socket accepts before its server can serve.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from streams.embedded.processes import HOST

TIMEOUT_S = 1.0
METADATA, VERSION, CORRELATION = 3, 1, 7
CLIENT = b"riskstream"
PING = b"*1\r\n$4\r\nPING\r\n"
PONG = b"+PONG\r\n"


def answers_kafka(port: int) -> bool:
    """Return whether a Kafka broker on 127.0.0.1 names at least one broker in its metadata."""
    header = struct.pack(">hhih", METADATA, VERSION, CORRELATION, len(CLIENT)) + CLIENT
    request = header + struct.pack(">i", 0)
    try:
        with socket.create_connection((HOST, port), TIMEOUT_S) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            _, correlation, brokers = struct.unpack(">iii", _receive(connection, 12))
    except OSError:
        return False
    return bool(correlation == CORRELATION and brokers > 0)


def answers_redis(address: int | Path) -> bool:
    """Return whether Redis on a port of 127.0.0.1, or on a Unix socket, says PONG to PING."""
    try:
        with _connect(address) as connection:
            connection.sendall(PING)
            return _receive(connection, len(PONG)) == PONG
    except OSError:
        return False


def _connect(address: int | Path) -> socket.socket:
    if isinstance(address, int):
        return socket.create_connection((HOST, address), TIMEOUT_S)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT_S)
    try:
        connection.connect(str(address))
    except OSError:
        connection.close()
        raise
    return connection


def _receive(connection: socket.socket, size: int) -> bytes:
    """Return exactly `size` bytes; OSError where the server closes before."""
    received = b""
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise ConnectionError(f"closed after {len(received)} of {size} bytes")
        received += piece
    return received
