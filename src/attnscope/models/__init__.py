"""A model and a text become inputs."""
