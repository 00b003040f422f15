"""The command line of riskstream, and nothing else."""
