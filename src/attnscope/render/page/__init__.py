"""A view as one HTML file."""
