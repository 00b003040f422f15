"""The features, one a file: each a module that carries its own part of an account's state."""
