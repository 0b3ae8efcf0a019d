"""Distances and matching terms: pure functions of tensors, named as in the papers."""
