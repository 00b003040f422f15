"""The PyTorch side of riskstream: features, cells, the scorer, training and the packs.

This package itself imports no PyTorch, so that packs can be found where it is not installed.
"""
