"""Recipes that the code may compute: the search and its ingredients."""
