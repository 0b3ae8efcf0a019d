"""Experts of other repositories: written here in their layout, brought into our store."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import datadistill as dd
from datadistill.cli.main import main
from datadistill.config import load_recipe
from datadistill.core.errors import ArtifactError, CorruptFileError, RunError, UsageError
from datadistill.experts import ExpertStore
from datadistill.experts.store import sidecar_path, trajectory_path
from datadistill.interop import buffer_files
from datadistill.interop.tensors import load_tensors
from datadistill.runtime.atomic import read_json
from datadistill.stages import import_experts, open_run, run_distill, run_experts
from system.tiny_run import RECIPE, TINY, contents, flip_byte

EPOCHS = 2
Buffers = list[list[list[Tensor]]]


def upstream_net() -> nn.Module:
    """A ConvNet of one block in the module order of the papers' networks.py: features, then classifier."""
    net = nn.Module()
    net.features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(8, 8, affine=True), nn.ReLU(inplace=True))
    net.classifier = nn.Linear(8 * 4 * 4, 10)
    return net


def buffers(count: int, *, seed: int = 0) -> Buffers:
    """So many experts, as buffer.py collects them."""
    generator = torch.Generator().manual_seed(seed)
    experts = []
    with torch.device("meta"):
        shapes = [p.shape for p in upstream_net().parameters()]
    for _ in range(count):
        experts.append(
            [[torch.randn(shape, generator=generator, device="cpu") for shape in shapes] for _ in range(EPOCHS + 1)]
        )
    return experts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of two experts and one of one, the tenth after the second by number."""
    (tmp_path / "buffers").mkdir()
    for number, count in ((0, 2), (2, 2), (10, 1)):
        torch.save(buffers(count, seed=number), tmp_path / "buffers" / f"replay_buffer_{number}.pt")
    return tmp_path / "buffers"


def brought_in(source: Path, run: Path, *settings: str) -> Any:
    return import_experts(buffer_files(source), load_recipe(RECIPE, (*TINY, *settings)), run, device="cpu")


def imported(found: Any) -> tuple[str, ...]:
    """Return the settings of a run with these experts: the recipe's own training is taken out."""
    trained = load_recipe(RECIPE, TINY).experts.trained_only
    return (f"experts.imported={found.folder.name}", *(f"experts.{key}=" for key in trained))


def test_every_expert_is_a_matrix_in_the_order_of_the_files(folder: Path, tmp_path: Path) -> None:
    found = brought_in(folder, tmp_path / "run")
    assert (found.count, found.epochs) == (5, EPOCHS)
    assert found.folder.parent == tmp_path / "experts"
    store = ExpertStore.open(found.folder, 5, torch.device("cpu"))
    everything = [expert for number in (0, 2, 10) for expert in buffers(2 if number < 10 else 1, seed=number)]
    for index, expert in enumerate(everything):
        segment = store.segment(index, 0, EPOCHS)
        assert torch.equal(segment.start, torch.cat([tensor.flatten() for tensor in expert[0]]))
        assert torch.equal(segment.target, torch.cat([tensor.flatten() for tensor in expert[EPOCHS]]))


def test_where_they_come_from_is_written_down(folder: Path, tmp_path: Path) -> None:
    found = brought_in(folder, tmp_path / "run")
    recipe = read_json(found.folder / "recipe.json")
    assert (recipe["dataset"], recipe["network"]) == ("digits", found.recipe.network)
    assert list(recipe["files"]) == ["replay_buffer_0.pt", "replay_buffer_2.pt", "replay_buffer_10.pt"]
    assert read_json(found.folder / "provenance.json")["versions"]["torch"]
    assert not (tmp_path / "run").exists()


def test_a_run_uses_the_imported_experts_it_names_and_trains_none(folder: Path, tmp_path: Path) -> None:
    found = brought_in(folder, tmp_path / "run")
    named = (*imported(found), "experts.count=5", "iterations=2", "watch.probe_every=0")
    session = open_run(tmp_path / "run", load_recipe(RECIPE, (*TINY, *named)), device="cpu")
    run_experts(session)
    run_distill(session)
    card = dd.load_artifact(session.run.synthetic).card
    assert card.trained_by == {"experts": found.folder.name, "count": 5}
    assert sorted(path.name for path in (tmp_path / "experts").iterdir()) == [found.folder.name]


def test_an_import_goes_on_after_a_kill(folder: Path, tmp_path: Path) -> None:
    found = brought_in(folder, tmp_path / "run")
    whole = contents(found.folder)
    kept = trajectory_path(found.folder, 0).stat().st_mtime_ns
    for index in (1, 3, 4):
        sidecar_path(found.folder, index).unlink()
    trajectory_path(found.folder, 4).unlink()
    (found.folder / "manifest.json").unlink()
    again = contents(brought_in(folder, tmp_path / "run").folder)
    assert trajectory_path(found.folder, 0).stat().st_mtime_ns == kept
    assert {k: v for k, v in again.items() if k != "provenance.json"} == {
        k: v for k, v in whole.items() if k != "provenance.json"
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("experts.count=6",), "has 5 experts of 6; say --set experts.count=5"),
        (("preprocess=none",), "pixel space normalise"),
        (("network=convnet-1-w8-nonorm",), "are of network convnet-1-w8"),
        (("method.mtt.expert_epochs=3",), f"have {EPOCHS} epochs, the method needs 3"),
    ],
)
def test_experts_that_do_not_fit_a_run_are_refused(
    folder: Path, tmp_path: Path, settings: tuple[str, ...], expected: str
) -> None:
    found = brought_in(folder, tmp_path / "run")
    config = load_recipe(RECIPE, (*TINY, *imported(found), "experts.count=2", *settings))
    with pytest.raises(UsageError, match=expected):
        run_experts(open_run(tmp_path / "run", config, device="cpu"))


def test_a_key_that_is_not_there_names_the_nearest(folder: Path, tmp_path: Path) -> None:
    found = brought_in(folder, tmp_path / "run")
    wrong = found.folder.name[:-1] + ("0" if found.folder.name[-1] != "0" else "1")
    config = load_recipe(RECIPE, (*TINY, *imported(found), f"experts.imported={wrong}"))
    with pytest.raises(RunError, match=f"there is no '{wrong}' in .*; did you mean '{found.folder.name}'"):
        run_experts(open_run(tmp_path / "run", config, device="cpu"))
    with pytest.raises(UsageError, match="a key that `datadistill import` printed"):
        load_recipe(RECIPE, ("experts.imported=../elsewhere",))


def test_a_damaged_import_says_to_import_again(folder: Path, tmp_path: Path) -> None:
    found = brought_in(folder, tmp_path / "run")
    flip_byte(trajectory_path(found.folder, 1))
    config = load_recipe(RECIPE, (*TINY, *imported(found), "experts.count=2"))
    with pytest.raises(CorruptFileError, match=r"damaged or foreign; delete .* and import again"):
        run_experts(open_run(tmp_path / "run", config, device="cpu"))


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


def hostile(path: Path) -> object:
    return [[Hostile(path.parent / "broken in")]]


def fewer(path: Path) -> object:
    return [[snapshot[:-1] for snapshot in expert] for expert in buffers(1)]


def frozen(path: Path) -> object:
    return [[expert[0]] * 3 for expert in buffers(1)]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (hostile, r"refused, it asks for '\w+\.mkdir', which tensors do not need; nothing of it has been run"),
        (lambda path: {"state": 1}, "not a list of experts"),
        (lambda path: [], "not a list of experts"),
        (lambda path: [[1, 2]], "expert 0, snapshot 0: not a list of tensors"),
        (lambda path: [[]], "expert 0: has 0 snapshots, at least 2"),
        (fewer, r"expert 0, snapshot 0: has 5 tensors, convnet-1-w8 6; name the network"),
        (lambda path: [[[t.T for t in s] for s in e[:1]] for e in buffers(1)], r"the 1\. of shape .* and not \(8, 1"),
        (frozen, "its first and last snapshot are the same"),
        (lambda path: [[[t * float("nan") for t in s] for s in e] for e in buffers(1)], "not finite"),
    ],
    ids=["hostile", "dictionary", "empty", "numbers", "no snapshots", "network", "shapes", "frozen", "nan"],
)
@pytest.mark.filterwarnings("ignore:The use of `x.T` on tensors")
def test_what_is_no_buffer_is_refused_and_leaves_nothing(
    tmp_path: Path, make: Callable[[Path], object], expected: str
) -> None:
    path = tmp_path / "replay_buffer_0.pt"
    torch.save(make(path), path)
    with pytest.raises(ArtifactError, match=expected) as found:
        brought_in(path, tmp_path / "run")
    assert str(found.value).startswith(str(path))
    assert len(str(found.value).splitlines()) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) in (["replay_buffer_0.pt"], ["experts", path.name])
    assert not list(tmp_path.glob("experts/imported-*"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x80\x02}q\x00.", b"hello", pickle.dumps([1])])
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "replay_buffer_0.pt"
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as found:
        load_tensors(path)
    assert len(str(found.value).splitlines()) == 1


def test_the_format_before_zip_is_read_as_well(tmp_path: Path) -> None:
    torch.save(buffers(1), tmp_path / "replay_buffer_0.pt", _use_new_zipfile_serialization=False)
    assert brought_in(tmp_path / "replay_buffer_0.pt", tmp_path / "run").count == 1


def test_the_command_prints_what_to_set(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word for setting in TINY for word in ("--set", setting)]
    main(["import", str(folder), RECIPE, *words, "--json", "--quiet"])
    said = json.loads(capsys.readouterr().out)
    assert (tmp_path / "runs" / "experts" / said["imported"]).is_dir()
    main(["import", str(folder), RECIPE, *words])
    use = capsys.readouterr().out.partition("use them: ")[2].split()
    assert use[:4] == ["--set", f"experts.imported={said['imported']}", "--set", "experts.count=5"]
    settings = tuple(word for word in use if word != "--set")
    assert load_recipe(RECIPE, (*TINY, *settings)).experts.imported == said["imported"]
    with pytest.raises(SystemExit):
        main(["import", str(folder)])
    assert "name a recipe after it, for data set, pixel space" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["import", str(tmp_path / "runs"), RECIPE])
    assert "holds no replay_buffer_*.pt" in capsys.readouterr().err
