"""The way out: what comes of a batch is published as the configured guarantee says."""
