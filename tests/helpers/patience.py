"""How long tests wait for pages, servers and processes: a busy machine is slow, and no test here is about time."""

PATIENCE = 300  # seconds
