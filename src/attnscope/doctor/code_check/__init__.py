"""Examination of attention code: the reference with one thing wrong, compared with the code under test."""
