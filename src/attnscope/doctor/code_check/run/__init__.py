"""A suspect is called: sandbox, probes, invocation."""
