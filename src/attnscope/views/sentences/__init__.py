"""What is said about a query, in words."""
