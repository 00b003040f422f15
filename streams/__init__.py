"""Everything that moves: the Faust worker, the batch transport, the store, replay and feeds."""
