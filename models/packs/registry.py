"""Finding a pack by its name or folder. Needs no PyTorch.

A pack is a folder with ``schema.toml`` (what an event looks like), ``scorer.toml`` (what the model
is made of) and ``training.toml`` (how it is trained); ``search.toml`` says where to look for better
settings. Those beside this file have names.
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path

from engine.errors import ConfigError, SchemaError
from engine.schema import Schema

SCHEMA_FILE = "schema.toml"

_HERE = Path(__file__).parent


def pack_names() -> list[str]:
    """Return the names of the packs, sorted.

    >>> "fraud" in pack_names()
    True
    """
    return sorted(each.parent.name for each in _HERE.glob(f"*/{SCHEMA_FILE}"))


def pack_folder(name: str) -> Path:
    """Return the folder of a pack.

    Raises:
        ConfigError: there is no pack of that name.
    """
    names = pack_names()
    if name not in names:
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
        raise ConfigError(f"a pack must be one that exists, however: {name!r}; {hint}")
    return _HERE / name


def find_pack(name: str) -> Path:
    """Return the folder of a pack that is named, or that is given as a folder itself.

    A text with a slash is a folder; so is one that is no pack's name and a folder that is there.

    >>> find_pack("fraud").name
    'fraud'

    Raises:
        ConfigError: there is neither.
    """
    if "/" in name or (name not in pack_names() and Path(name).is_dir()):
        folder = Path(name)
        if not folder.is_dir():
            raise ConfigError(
                f"a pack must be a folder that exists, however: {name} is none; "
                "`riskstream data draft` writes one for the columns of a file"
            )
        return folder
    return pack_folder(name)


def load_schema(folder: Path) -> Schema:
    """Read a pack's schema from its folder.

    Raises:
        SchemaError: the file is missing, is not TOML, or contradicts itself.
    """
    path = folder / SCHEMA_FILE
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SchemaError(
            f"a pack must be a folder with {SCHEMA_FILE}, however: {folder} has none; "
            "give the folder of a pack"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(f"a schema must be TOML, however: {path}: {error}") from None
    return Schema.from_dict(raw)
