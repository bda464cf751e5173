"""Sentences and notes, the same as on the page: of a query, of a query in two traces, of what a picture leaves out."""
