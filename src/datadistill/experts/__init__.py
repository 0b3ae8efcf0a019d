"""Experts: networks trained on real data whose path is kept, in a store addressed by content."""

from datadistill.experts.recipe import ExpertRecipe
from datadistill.experts.store import ExpertStore, Segment
from datadistill.experts.train import ExpertTask, train_experts

__all__ = ["ExpertRecipe", "ExpertStore", "ExpertTask", "Segment", "train_experts"]
