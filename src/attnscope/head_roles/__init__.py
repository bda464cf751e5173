"""What heads do: roles with evidence, chosen on one half of the data and reported on the other."""
