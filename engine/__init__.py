"""The pure core of riskstream: events to columns, states, scores and decisions.

It takes values and returns values. It knows ONNX Runtime and numpy; brokers, stores and PyTorch
live elsewhere.
"""
