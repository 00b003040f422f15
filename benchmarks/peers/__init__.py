"""Other ways to score the same stream, each as its own documentation teaches it.

Every peer reads the same topic, runs the same graph with the same states, and publishes the same
records, acknowledged by all in-sync replicas, at least once. None makes alerts or dead letters.
"""
