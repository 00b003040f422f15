"""What a pack brings beside its TOML files: code of its own, in ``pack.py`` in its folder.

Whatever of this a pack needs stands in that file::

    FEATURES = {"statements": Statements}          # models.features.base.Feature, by name
    ANSWERS = {"expected_loss": ExpectedLoss}      # models.answers.base.Answer, by name

    def prepare(file: Path, training: bool) -> pyarrow.Table: ...   # events of a raw file
    def report(scored: ScoredHistory) -> Report: ...                # models.packs.reports

A pack's code is run when the pack is named, or a bundle of a pack that comes with riskstream is
judged or restored. Serving a bundle runs none of it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from engine.errors import ConfigError, RiskstreamError
from models.packs.registry import pack_folder, pack_names

if TYPE_CHECKING:
    import pyarrow as pa

    from models.packs.reports import Report, ScoredHistory

CODE_FILE = "pack.py"


@dataclass(frozen=True, slots=True)
class PackCode:
    """A pack's code; None for what it does not have.

    Args:
        prepare: turns a raw file into a table of events, as the pack's schema has them; for
            training it may add events that only teach.
        report: judges a scored history.
    """

    prepare: Callable[[Path, bool], pa.Table] | None = None
    report: Callable[[ScoredHistory], Report] | None = None


def load_code(folder: Path) -> PackCode:
    """Run a pack's code once, and make its features and answers known.

    Raises:
        ConfigError: it fails, or names a feature or an answer as another one is named.
    """
    file = (folder / CODE_FILE).resolve()
    if not file.is_file():
        return PackCode()
    module = _module(file)
    _make_known(module)
    return PackCode(getattr(module, "prepare", None), getattr(module, "report", None))


@contextmanager
def running(what: str, where: str) -> Iterator[None]:
    """Say whatever a function of a pack raises, for a block that calls it.

    Args:
        what: the function's name.
        where: what it was called for.

    Raises:
        ConfigError: it fails.
    """
    try:
        yield
    except RiskstreamError:
        raise
    except Exception as error:  # whatever a pack's code raises
        raise ConfigError(
            f"a pack's `{what}` must take the file that it is given, however: {where}: "
            f"{type(error).__name__}: {' '.join(str(error).split())}; give the file that the pack "
            "is made for, or correct the pack"
        ) from error


def code_of(pack: str) -> PackCode:
    """Return the code of a pack that comes with riskstream; none for any other name."""
    return load_code(pack_folder(pack)) if pack in pack_names() else PackCode()


def _module(file: Path) -> ModuleType:
    name = f"riskstream_pack_{sha256(str(file).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"a pack's code must be a Python file, however: {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a pack's code raises
        del sys.modules[name]
        raise ConfigError(
            f"a pack's code must run, however: {file}: {type(error).__name__}: {error}"
        ) from error
    return module


def _make_known(module: ModuleType) -> None:
    from models.answers.registry import ANSWERS
    from models.features.registry import FEATURES

    for registry, name in ((FEATURES, "FEATURES"), (ANSWERS, "ANSWERS")):
        own = getattr(module, name, {})
        taken = sorted(each for each in own if registry.get(each, own[each]) is not own[each])
        if taken:
            raise ConfigError(
                f"{name} of a pack must have names of their own, however: {taken} are taken; "
                f"rename them in {module.__file__}"
            )
        registry.update(own)
