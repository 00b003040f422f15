"""``python -m riskstream``."""

from riskstream.main import main

main()
