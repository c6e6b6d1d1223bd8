"""The demo: an embedded broker, a simulated source, the sandbox, and the real consumer in a process of its own."""
