"""The code is called: sandbox, probes, invocation."""
