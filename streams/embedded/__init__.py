"""Servers that riskstream starts itself: a broker and a state store for laptops, demos and tests.

They listen on 127.0.0.1 only, and end with the process that started them.
"""
