"""The code of the credit pack: see :mod:`models.packs.code`."""

from models.packs.credit.answer import ExpectedLoss
from models.packs.credit.features import Attributes, Statements
from models.packs.credit.prepare import statements as prepare
from models.packs.credit.report import report

__all__ = ["ANSWERS", "FEATURES", "prepare", "report"]

FEATURES = {"statements": Statements, "attributes": Attributes}
ANSWERS = {"expected_loss": ExpectedLoss}
