"""How good a set is: protocols, baselines, and the records they leave.

Sees artifacts and real data only; never methods or the distillation loop.
"""
