from __future__ import annotations

import pytest

from models.training import TrainedScorer, train
from tests.models.tools import SCHEMA, planted_history, train_config


@pytest.fixture(scope="session")
def trained() -> TrainedScorer:
    """A small scorer trained on accounts some of whose amounts are multiplied by 5."""
    columns, labels = planted_history()
    return train(columns, labels, SCHEMA, train_config())
