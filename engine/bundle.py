"""Reading and checking a bundle: the folder in which a model travels.

A bundle holds ``manifest.json``, ``model.onnx`` and ``reasons.onnx``. It is never a pickle, and
nothing in it is executed but the graphs. A bundle that fails any check is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import orjson

from engine.errors import BundleError
from engine.manifest import MANIFEST_FILE, MODEL_FILE, REASONS_FILE, Manifest

_REQUIRED = (MODEL_FILE, REASONS_FILE)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked bundle, in memory.

    Args:
        manifest: what it says of itself.
        digest: 64 hex digits that identify it: the SHA-256 of its manifest, which holds the
            SHA-256 of every other file.
        model: the scoring graph, serialized ONNX.
        reasons: the reasons graph, serialized ONNX.
    """

    manifest: Manifest
    digest: str
    model: bytes
    reasons: bytes

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a bundle and check every file against the manifest.

        Raises:
            BundleError: it is missing, truncated, tampered with, or of another format version.
        """
        raw_manifest = _read(folder, MANIFEST_FILE)
        raw = _parse(folder, raw_manifest)
        manifest = Manifest.from_dict(raw)
        contents = _checked_files(folder, raw.get("files"))
        return cls(
            manifest=manifest,
            digest=sha256(raw_manifest).hexdigest(),
            model=contents[MODEL_FILE],
            reasons=contents[REASONS_FILE],
        )


def write_bundle(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Write a bundle, the manifest last, so that a torn write is never a valid bundle.

    Args:
        folder: where to; created when missing.
        manifest: what the bundle says of itself.
        files: file name to content; the two graphs must be among them.

    Raises:
        BundleError: a graph is missing, or the folder cannot be written.
    """
    missing = [name for name in _REQUIRED if name not in files]
    if missing:
        raise BundleError(f"a bundle must hold {_REQUIRED}, however: {missing} missing")
    digests = {name: sha256(content).hexdigest() for name, content in sorted(files.items())}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST_FILE).unlink(missing_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        text = orjson.dumps(manifest.to_dict(digests), option=orjson.OPT_INDENT_2)
        (folder / MANIFEST_FILE).write_bytes(text + b"\n")
    except OSError as error:
        raise BundleError(f"the bundle's folder must be writable, however: {error}") from None


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        what = "is no such folder" if not folder.is_dir() else f"has no {name}"
        raise BundleError(
            f"a bundle must be a folder with {MANIFEST_FILE}, {MODEL_FILE} and {REASONS_FILE}, "
            f"however: {folder} {what}; give the folder of a bundle"
        ) from None
    except OSError as error:
        raise BundleError(f"a bundle must be readable, however: {error}") from None


def _parse(folder: Path, raw_manifest: bytes) -> dict[str, Any]:
    try:
        raw = orjson.loads(raw_manifest)
    except orjson.JSONDecodeError as error:
        raise BundleError(
            f"a manifest must be JSON, however: {folder / MANIFEST_FILE}: {error}; "
            "copy the bundle again"
        ) from None
    if not isinstance(raw, dict):
        raise BundleError(f"a manifest must be a JSON object, however: {type(raw).__name__}")
    return raw


def _is_plain(name: object) -> bool:
    """Return whether a name is that of a file in the folder itself."""
    return (
        isinstance(name, str)
        and name not in ("", ".", "..")
        and not any(each in name for each in "/\\\0")
    )


def _checked_files(folder: Path, digests: object) -> dict[str, bytes]:
    if not isinstance(digests, dict) or not set(_REQUIRED) <= set(digests):
        raise BundleError(f"a manifest must list the SHA-256 of {_REQUIRED}, however: {digests}")
    contents = {}
    for name, expected in digests.items():
        if not _is_plain(name):
            raise BundleError(f"a bundle's files must lie in its folder, however: {name!r}")
        contents[name] = _read(folder, name)
        found = sha256(contents[name]).hexdigest()
        if found != expected:
            raise BundleError(
                f"{name} must have the SHA-256 that the manifest states ({str(expected)[:12]}…), "
                f"however: {found[:12]}… ({len(contents[name]):,} bytes); it is truncated or was "
                "changed after the export: copy the bundle again"
            )
    return contents
