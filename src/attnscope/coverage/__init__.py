"""Which architectures of transformers are captured, and how well: each is built small, run and looked at."""
