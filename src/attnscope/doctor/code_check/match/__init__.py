"""Recipes that a suspect may compute: the search and its ingredients."""
