"""Other models on the scorer's own features, to compare it with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from engine.errors import HistoryError

#: Logistic regression sees at most so many genuine events, and each weighs accordingly more.
_GENUINE = 200_000


LOGISTIC, TREES = "logistic regression", "gradient-boosted trees"


def baselines(
    features: NDArray[np.float32],
    fraud: NDArray[np.bool_],
    training: NDArray[np.bool_],
    judged: NDArray[np.bool_],
    seed: int = 0,
    names: Sequence[str] = (LOGISTIC, TREES),
) -> dict[str, NDArray[np.float32]]:
    """Return other models' scores of the judged events, by name: float32 ``[judged]`` each.

    They see the features of one event at a time, and no sequence: logistic regression on the
    features' quantiles, and gradient-boosted trees (scikit-learn's, Ke et al., 2017).

    Args:
        features: of all events, float32 ``[n, f]``.
        fraud: whether each is fraud ``[n]``.
        training, judged: which events train them, and which they score; bool ``[n]``.
        seed: of every random choice.
        names: which of them.

    Raises:
        HistoryError: the training events lack a kind of label.
    """
    kinds = np.unique(fraud[training])
    if len(kinds) < 2:
        raise HistoryError(
            "baselines must be trained on frauds and genuine events of the bundle's training "
            f"period, however: of its {int(training.sum()):,} labelled events in the file "
            f"{int((fraud & training).sum()):,} are frauds; give the whole history"
        )
    known = features[training], fraud[training]
    return {
        name: _FIT[name](*known, seed).predict_proba(features[judged])[:, 1].astype(np.float32)
        for name in names
    }


def new_trees(seed: int) -> Any:
    """Return the gradient-boosted trees, not yet fitted."""
    return HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.06, max_leaf_nodes=15, l2_regularization=5, random_state=seed
    )


def _fit_logistic(features: NDArray[np.float32], fraud: NDArray[np.bool_], seed: int) -> Any:
    rng = np.random.default_rng(seed)
    genuine = np.flatnonzero(~fraud)
    drawn = rng.choice(genuine, min(len(genuine), _GENUINE), replace=False)
    rows = np.sort(np.concatenate((np.flatnonzero(fraud), drawn)))
    weights = np.where(fraud[rows], 1.0, len(genuine) / len(drawn))
    scale = QuantileTransformer(
        n_quantiles=min(200, len(rows)), output_distribution="normal", random_state=seed
    )
    model = make_pipeline(scale, LogisticRegression(max_iter=500))
    return model.fit(features[rows], fraud[rows], logisticregression__sample_weight=weights)


def _fit_trees(features: NDArray[np.float32], fraud: NDArray[np.bool_], seed: int) -> Any:
    return new_trees(seed).fit(features, fraud)


_FIT: dict[str, Callable[[NDArray[np.float32], NDArray[np.bool_], int], Any]] = {
    LOGISTIC: _fit_logistic,
    TREES: _fit_trees,
}
