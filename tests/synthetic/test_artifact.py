"""The artifact on disk: whole, or refused by name."""

import json
from dataclasses import replace

import pytest
import torch

import tiny
from datadistill.core.errors import CorruptFileError, SchemaVersionError
from datadistill.core.randomness import Randomness
from datadistill.data import fit_preprocess
from datadistill.runtime.atomic import checksum, write_tensors
from datadistill.synthetic.artifact import Artifact, Card, SyntheticSet, load_artifact, save_artifact
from datadistill.synthetic.initial import initial_set
from datadistill.synthetic.texture import Texture

N = tiny.CLASSES * tiny.IPC
FILES = ("card.json", "synthetic.safetensors", "preprocess.safetensors")


def artifact(preprocess="zca", *, soft=False, lr=(0.02,), order=False):
    data = tiny.real_data()
    space = fit_preprocess(preprocess, data)
    images, targets = initial_set("real", data, space, ipc=tiny.IPC, rng=Randomness(0))
    if soft:
        targets = torch.randn(targets.shape, generator=torch.Generator().manual_seed(0)).softmax(1)
    synthetic = SyntheticSet(
        images,
        targets,
        None if lr is None else torch.tensor(lr),
        torch.arange(N).view(2, -1) if order else None,
    )
    card = Card(
        dataset=data.card.name,
        classes=data.card.classes,
        shape=data.card.shape,
        ipc=tiny.IPC,
        label_kind="soft" if soft else "hard",
        preprocess=space.description,
        network=tiny.NETWORK,
        augment="dsa",
        method="mtt",
        paper="somebody 2022",
        iteration=7,
        seed=3,
        hyper_parameters={"student_steps": 3, "student_lr": 0.5, "nested": {"a": [1, 2]}},
        trained_by={"experts": "0123456789abcdef", "count": 2},
        data_checksum=data.card.checksum,
        data_source=data.card.source,
        data_licence=data.card.licence,
        data_split=data.card.split,
    )
    return Artifact(synthetic, card, space)


@pytest.fixture
def saved(tmp_path):
    save_artifact(tmp_path, artifact())
    return tmp_path


@pytest.mark.parametrize(
    "options",
    [
        {"preprocess": "normalise"},
        {"preprocess": "none"},
        {"preprocess": "zca"},
        {"soft": True},
        {"lr": None},
        {"lr": (0.1, 0.2, 0.3)},
        {"order": True},
    ],
    ids=str,
)
def test_comes_back_as_it_was(tmp_path, options):
    before = artifact(**options)
    card = save_artifact(tmp_path, before)
    after = load_artifact(tmp_path)
    tensors = before.synthetic.tensors()
    assert after.synthetic.tensors().keys() == tensors.keys()
    assert all(torch.equal(after.synthetic.tensors()[name], tensor) for name, tensor in tensors.items())
    assert after.card == card
    assert replace(card, checksum="", preprocess_checksum=None) == before.card
    assert card.checksum == checksum(tmp_path / "synthetic.safetensors")
    assert (card.preprocess_checksum is not None) == (options.get("preprocess", "zca") == "zca")
    assert after.preprocess.description == before.preprocess.description
    torch.testing.assert_close(after.pixels(), before.pixels(), rtol=0, atol=0)


def test_a_whitened_set_shows_its_pixels(saved):
    data = tiny.real_data()
    pixels = load_artifact(saved).pixels()
    assert pixels.min() >= 0 and pixels.max() <= 1
    as_bytes = (pixels * 255).round().to(torch.uint8)
    assert all((data.train.images == one).all((1, 2, 3)).any() for one in as_bytes)


def test_equal_sets_make_equal_files(tmp_path):
    for name in ("one", "other"):
        save_artifact(tmp_path / name, artifact())
    for file in (*FILES, "grid.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


@pytest.mark.parametrize("file", FILES)
class TestDamage:
    def test_a_missing_file_is_named(self, saved, file):
        (saved / file).unlink()
        with pytest.raises(CorruptFileError, match=file):
            load_artifact(saved)

    @pytest.mark.parametrize("left", [0, 1, 10, 0.5, 0.99])
    def test_a_file_cut_short_is_named(self, saved, file, left):
        content = (saved / file).read_bytes()
        (saved / file).write_bytes(content[: int(left if left > 1 or left in (0, 1) else left * len(content))])
        with pytest.raises(CorruptFileError, match=file):
            load_artifact(saved)

    def test_a_foreign_file_is_named(self, saved, file):
        (saved / file).write_bytes(b'{"something": "else"}')
        with pytest.raises(CorruptFileError, match=file):
            load_artifact(saved)

    def test_a_folder_in_its_place_is_named(self, saved, file):
        (saved / file).unlink()
        (saved / file).mkdir()
        with pytest.raises(CorruptFileError, match=file):
            load_artifact(saved)


@pytest.mark.parametrize("file", ["synthetic.safetensors", "preprocess.safetensors"])
def test_a_single_flipped_bit_is_found(saved, file):
    content = bytearray((saved / file).read_bytes())
    for position in (20, len(content) // 2, len(content) - 1):
        damaged = content.copy()
        damaged[position] ^= 1
        (saved / file).write_bytes(damaged)
        with pytest.raises(CorruptFileError, match=file):
            load_artifact(saved)


def change_card(folder, **changes):
    path = folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_card_of_a_newer_version_is_refused(saved):
    change_card(saved, schema_version=Card.schema_version + 1, something_new=1)
    with pytest.raises(SchemaVersionError, match=r"card\.json.*upgrade"):
        load_artifact(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [1, 8, 9]},
        {"classes": ["one", "two"]},
        {"ipc": "many"},
        {"label_kind": "medium"},
        {"surplus": 1},
        {"preprocess": {"name": "zcaa"}},
        {"preprocess": {"name": "normalise"}},
        {"preprocess": {"name": "zca", "eps": 0.1, "fitted_on": "", "checksum": "0"}},
        {"preprocess_checksum": None},
    ],
    ids=str,
)
def test_a_card_that_does_not_fit_is_refused_and_named(saved, changes):
    change_card(saved, **changes)
    with pytest.raises(CorruptFileError, match=saved.name):
        load_artifact(saved)


@pytest.mark.parametrize(
    "tensors",
    [
        {"targets": torch.eye(tiny.CLASSES).repeat_interleave(tiny.IPC, 0)},
        {"images": torch.zeros(N, *tiny.SHAPE)},
        {"images": torch.zeros(N, *tiny.SHAPE), "targets": torch.zeros(N - 1, tiny.CLASSES)},
        {"images": torch.zeros(N, *tiny.SHAPE), "targets": torch.zeros(N, tiny.CLASSES), "more": torch.zeros(1)},
    ],
    ids="+".join,
)
def test_tensors_that_do_not_fit_the_card_are_refused(saved, tensors):
    change_card(saved, checksum=write_tensors(saved / "synthetic.safetensors", tensors))
    with pytest.raises(CorruptFileError, match=saved.name):
        load_artifact(saved)


def test_a_save_that_fails_leaves_no_card(saved, monkeypatch):
    """A card says that the rest is whole; it is the first to go and the last to come."""

    def fail(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr("datadistill.synthetic.artifact.save_grid", fail)
    with pytest.raises(OSError, match="no space"):
        save_artifact(saved, artifact())
    with pytest.raises(CorruptFileError, match=r"card\.json"):
        load_artifact(saved)


def test_moving_to_a_device_keeps_what_is_there():
    synthetic = artifact(lr=None).synthetic
    moved = synthetic.to(torch.device("meta"))
    assert moved.images.device.type == "meta"
    assert moved.student_lr is None
    assert len(moved) == len(synthetic) == N


class TestTextures:
    @pytest.fixture
    def texture(self, tmp_path):
        plain = artifact("normalise")
        canvases = plain.synthetic.images.repeat(1, 1, 2, 2)
        card = replace(plain.card, texture=Texture(canvas=2, samples=2))
        save_artifact(tmp_path, Artifact(replace(plain.synthetic, images=canvases), card, plain.preprocess))
        return tmp_path

    def test_come_back_with_their_view_and_pictures(self, texture):
        loaded = load_artifact(texture)
        assert loaded.card.texture == Texture(canvas=2, samples=2)
        assert (loaded.card.shape, loaded.card.image_shape) == (tiny.SHAPE, (1, 16, 16))
        assert {path.name for path in texture.glob("*.png")} == {"grid.png", "tiling.png", "strip.png"}

    def test_give_whoever_trains_on_them_fresh_windows(self, texture):
        loaded = load_artifact(texture)
        (first, targets), (again, _), (other, _) = (loaded.sample(Randomness(0).at(i)) for i in (1, 1, 2))
        assert first.shape == (2 * N, *tiny.SHAPE)
        assert torch.equal(targets, loaded.synthetic.targets.repeat(2, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_whose_card_has_lost_the_view_are_refused(self, texture):
        card = json.loads((texture / "card.json").read_text())
        del card["texture"]
        (texture / "card.json").write_text(json.dumps(card))
        with pytest.raises(CorruptFileError, match="do not have the shapes on the card"):
            load_artifact(texture)


def test_ordinary_sets_are_sampled_whole_and_have_one_picture(saved):
    loaded = load_artifact(saved)
    images, targets = loaded.sample(Randomness(0))
    assert torch.equal(images, loaded.synthetic.images)
    assert torch.equal(targets, loaded.synthetic.targets)
    assert [path.name for path in saved.glob("*.png")] == ["grid.png"]


def test_a_card_of_the_version_before_textures_is_read(saved):
    before = load_artifact(saved).card
    change_card(saved, schema_version=1)
    assert load_artifact(saved).card == before


@pytest.mark.parametrize(
    ("order", "rates", "message"),
    [
        ([[0, 99]], [0.1], "'order' must hold rows of the set, 0 to"),
        ([[-1, 0]], [0.1], "'order' must hold rows"),
        ([[0, 1], [1, 0], [0, 1]], [0.1, 0.2], "2 step sizes do not fit 3 steps"),
    ],
)
def test_steps_that_the_set_cannot_take_are_refused(saved, order, rates, message):
    tensors = {"images": torch.zeros(N, *tiny.SHAPE), "targets": torch.zeros(N, tiny.CLASSES)}
    steps = {"order": torch.tensor(order), "student_lr": torch.tensor(rates)}
    change_card(saved, checksum=write_tensors(saved / "synthetic.safetensors", {**tensors, **steps}))
    with pytest.raises(CorruptFileError, match=message):
        load_artifact(saved)
