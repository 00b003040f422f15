"""The code of the market pack: see :mod:`models.packs.code`."""

from models.packs.market.features import Market, Returns
from models.packs.market.prepare import bars as prepare

__all__ = ["FEATURES", "prepare"]

FEATURES = {"returns": Returns, "market": Market}
