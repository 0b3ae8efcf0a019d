"""Vocabulary: names of shapes, errors, randomness, strict records, look-up by name.

Imports nothing else of the package. What lives here has no opinion about data, networks or methods.
"""
