"""Packs: what riskstream brings for one kind of risk, a folder each."""
