"""How good scores are: ranking, calibration, money, where they fail; as figures and as a report."""

from models.evaluation.assessment import Assessment, assess
from models.evaluation.judged import Judged, compromised, judge
from models.evaluation.metrics import Metrics, calibration_error, card_precision, evaluate

__all__ = [
    "Assessment",
    "Judged",
    "Metrics",
    "assess",
    "calibration_error",
    "card_precision",
    "compromised",
    "evaluate",
    "judge",
]
