"""The content key: changes with everything that changes the weights, and with nothing else."""

import json
from dataclasses import fields, replace

import pytest

import tiny
from datadistill.config import ExpertsConfig
from datadistill.core.structure import structure, unstructure
from datadistill.experts import ExpertRecipe
from datadistill.training.schedules import GSAM, Adam, TrainingRecipe


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return tiny.expert_task(tmp_path_factory.mktemp("store")).recipe


def another(value):
    """A different value of the same type."""
    words = {"all": "last", "step": "cosine"}
    if value is None:
        return GSAM()
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return words.get(value, value + "x")
    return {**value, "more": 1} if isinstance(value, dict) else value + (1 if isinstance(value, int) else 0.125)


@pytest.mark.parametrize("name", [field.name for field in fields(ExpertRecipe) if field.name != "training"])
def test_the_key_changes_with_every_field(recipe, name):
    assert replace(recipe, **{name: another(getattr(recipe, name))}).key != recipe.key


@pytest.mark.parametrize("name", [field.name for field in fields(TrainingRecipe)])
def test_the_key_changes_with_every_field_of_the_training(recipe, name):
    dropping = replace(recipe.training, schedule="step")  # so that every field means something
    other = Adam() if name == "adam" else another(getattr(dropping, name))
    changed = replace(dropping, **{name: other})
    assert replace(recipe, training=changed).key != replace(recipe, training=dropping).key


@pytest.mark.parametrize("change", [{"rho": 0.02}, {"alpha": 0.3}])
def test_the_key_changes_with_every_field_of_gsam(recipe, change):
    first, second = (replace(recipe, training=replace(recipe.training, gsam=g)) for g in (GSAM(), GSAM(**change)))
    assert first.key != second.key


def test_the_key_is_a_short_folder_name_that_depends_on_the_values_only(recipe):
    assert replace(recipe).key == recipe.key
    assert len(recipe.key) == 16
    assert int(recipe.key, 16) >= 0
    again = structure(ExpertRecipe, json.loads(json.dumps(unstructure(recipe))), source="test")
    assert again == recipe
    assert again.key == recipe.key


def test_how_many_there_are_is_not_part_of_it():
    assert "count" not in {field.name for field in fields(ExpertRecipe)}


def test_the_key_stays_what_it_was():
    """Whoever changes this number makes every stored expert of every user be trained again."""
    recipe = ExpertRecipe(
        dataset="digits",
        data_checksum="0" * 32,
        data_split="fixed",
        validation=180,
        preprocess={"name": "none"},
        network="convnet-3",
        augment="none",
        training=TrainingRecipe(epochs=3),
        seed=0,
    )
    assert recipe.key == "29854c7ea8a2a552"


def test_a_constant_step_size_is_the_default():
    assert ExpertsConfig().training(3) == TrainingRecipe(epochs=3, batch_size=256, lr=0.01)


@pytest.mark.parametrize(("epochs", "decay_at"), [(50, 0.54), (20, 0.6), (10, 0.7)])
def test_the_decay_of_the_reference_implementation_can_be_said(epochs, decay_at):
    """Once, by ten, after the epoch of index E // 2 + 1; the optimiser is made anew."""
    training = ExpertsConfig(schedule="step", decay_at=decay_at, reset_momentum=True).training(epochs)
    dropped = [training.lr_at(epoch) < 0.005 for epoch in range(training.epochs_run)]
    assert dropped == [epoch > epochs // 2 + 1 for epoch in range(epochs)]
    assert training.lr_at(epochs - 1) == pytest.approx(0.001)
    assert training.reset_momentum
    assert ExpertsConfig().training(epochs) != training
