"""Where account states and stream positions are kept: one folder a backend, one Protocol for all.

`base` says what a store promises, `factory.open_store` opens the one a URL names.
"""
