"""Everything that touches the world: Kafka, HTTP, threads, metrics, logs."""
