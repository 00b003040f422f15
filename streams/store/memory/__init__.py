"""The store that lives in the worker's own memory: for tests, demos and replays."""
