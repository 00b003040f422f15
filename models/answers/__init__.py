"""What a model says of an event: a probability, quantiles, and what is made of them; one a file."""
