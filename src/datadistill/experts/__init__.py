"""Experts and teachers: networks trained on real data, in a store addressed by content.

Of an expert the path is matched; a teacher is asked what it sees.
"""

from datadistill.experts.recipe import ExpertRecipe
from datadistill.experts.store import ExpertStore, Segment
from datadistill.experts.teachers import Teacher, TeacherPool
from datadistill.experts.train import ExpertTask, train_experts

__all__ = ["ExpertRecipe", "ExpertStore", "ExpertTask", "Segment", "Teacher", "TeacherPool", "train_experts"]
