"""A tiny pack that riskstream does not know: loans of a library, some never returned."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import numpy as np

_FILES = {
    "schema.toml": """
        [[fields]]
        name = "event_id"
        path = "loan"
        type = "identifier"
        role = "event_id"

        [[fields]]
        name = "event_time"
        path = "lent_at"
        type = "timestamp"
        format = "epoch_s"
        role = "event_time"

        [[fields]]
        name = "account"
        path = "reader"
        type = "identifier"
        role = "account"

        [[fields]]
        name = "amount"
        path = "price"
        type = "number"
        role = "amount"
        minimum = 0.0

        [[fields]]
        name = "lost"
        path = "lost"
        type = "number"
        role = "label"
        """,
    "scorer.toml": """
        pack = "library"
        ring = 4
        hidden = [8]
        decisions = ["lend", "ask", "refuse"]

        [output]
        kind = "library_loss"

        [[rules]]
        name = "ask"
        output = "loss"
        limit = 4.0
        decision = "ask"
        text = "The loss would be felt."

        [[rules]]
        name = "refuse"
        output = "loss"
        limit = 20.0
        decision = "refuse"
        text = "The loss would be large."

        [cell]
        family = "gru"
        size = 4

        [[features]]
        name = "library_price"

        [[features]]
        name = "recency"

        [[reasons]]
        name = "price"
        text = "The book is dear."

        [[reasons]]
        name = "recency"
        text = "The reader was not seen for long."

        [[reasons]]
        name = "sequence"
        text = "The reader's earlier loans."
        """,
    "training.toml": """
        warm_up_days = 2.0
        label_delay_days = 1.0
        validation_days = 8.0
        epochs = 3
        windows = 32
        steps = 16
        negatives = 1.0
        """,
    "pack.py": '''
        """The code of the library's pack."""

        import numpy as np
        import pyarrow as pa
        import pyarrow.csv
        import torch

        from models.answers.base import Probability, Said
        from models.features.base import Feature, FeatureResult, Output
        from models.packs.reports import Report
        from models.report import Page


        class Price(Feature):
            def __init__(self):
                super().__init__()
                self.outputs = (Output("dear", "price"),)

            def forward(self, context, state):
                return FeatureResult((torch.log1p(context.amount),), {})


        class Loss(Probability):
            outputs = ("loss",)
            reads = ("amount",)

            def __init__(self, share=0.5):
                super().__init__()
                self.given = {"share": share}

            def forward(self, raw, asked):
                score = super().forward(raw, asked).score
                price = asked.events["amount"][:, None]
                return Said(score, (score * price * asked.parameters["share"],))


        FEATURES = {"library_price": Price}
        ANSWERS = {"library_loss": Loss}


        def prepare(file, training):
            """Loans, from a file whose prices are in cents."""
            table = pa.csv.read_csv(file)
            at = table.column_names.index("cents")
            price = pa.array(table["cents"].to_numpy() / 100)
            return table.set_column(at, "price", price)


        def report(scored):
            loss = float(scored.outputs["loss"][scored.judged].mean())
            page = Page("Library", f"{scored.judged.sum()} loans")
            page.section("Loss", tiles=[("mean", f"{loss:.2f}")])
            return Report(page, {"mean_loss": loss, "loans": int(scored.judged.sum())}, {})
        ''',
}


def write_pack(folder: Path) -> Path:
    """Write the pack, and return its folder."""
    folder.mkdir()
    for name, text in _FILES.items():
        (folder / name).write_text(dedent(text).lstrip(), encoding="utf-8")
    return folder


def write_loans(file: Path, loans: int = 1_500) -> Path:
    """Write loans of 40 readers over 30 days; dear books are lost more often."""
    rng = np.random.default_rng(0)
    lent_at = np.sort(rng.integers(1_700_000_000, 1_700_000_000 + 30 * 86_400, loans))
    cents = rng.integers(100, 20_000, loans)
    lost = rng.random(loans) < cents / 40_000
    rows = zip(
        lent_at.tolist(), rng.integers(0, 40, loans).tolist(), cents.tolist(), lost, strict=True
    )
    lines = [
        f"{at},{when},{reader},{price},{int(gone)}"
        for at, (when, reader, price, gone) in enumerate(rows)
    ]
    file.write_text("\n".join(["loan,lent_at,reader,cents,lost", *lines]), encoding="utf-8")
    return file
