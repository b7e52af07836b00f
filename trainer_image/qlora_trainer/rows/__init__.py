"""Rows of a dataset: what its files hold, in one form for all formats. Needs neither torch nor transformers."""
