"""The code of the market pack: see :mod:`models.packs.code`."""

from models.packs.market.features import Market, Returns
from models.packs.market.prepare import bars as prepare
from models.packs.market.report import report

__all__ = ["FEATURES", "prepare", "report"]

FEATURES = {"returns": Returns, "market": Market}
