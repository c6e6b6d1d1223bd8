"""segstream: keeps the segments of retail.red equal to the membership tables of a source system."""

__version__ = "0.1.0"
