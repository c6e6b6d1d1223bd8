"""A seeded simulator: the real engine against a simulated Kafka, source, retail.red and clock, with faults."""
