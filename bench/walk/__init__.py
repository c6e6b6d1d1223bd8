"""The whole walk measured on a real broker: `python -m bench.walk`."""
