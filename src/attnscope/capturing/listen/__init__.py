"""How the calls of a running model are noticed."""
