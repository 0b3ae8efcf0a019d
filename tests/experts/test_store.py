"""Stored trajectories: read by slice, drawn at random, refused by name when damaged."""

import json

import pytest
import torch

import tiny
from datadistill.core.errors import CorruptFileError, RunError, SchemaVersionError
from datadistill.core.randomness import Randomness
from datadistill.experts import ExpertStore
from datadistill.experts.store import Sidecar, sidecar_path, trajectory_path, write_manifest
from datadistill.runtime.atomic import checksum, read_json, read_tensors

CPU = torch.device("cpu")
EPOCHS = 3


@pytest.fixture
def store(tmp_path):
    return tiny.experts(tmp_path, 2, epochs=EPOCHS)


def rows(store, expert):
    return read_tensors(trajectory_path(store.folder, expert))[0]["params"]


class TestSegment:
    @pytest.mark.parametrize(("epoch", "span"), [(0, 1), (0, 3), (1, 2), (2, 1), (1, 0)])
    def test_is_two_rows_of_the_trajectory(self, store, epoch, span):
        for expert in (0, 1):
            segment = store.segment(expert, epoch, span)
            assert torch.equal(segment.start, rows(store, expert)[epoch])
            assert torch.equal(segment.target, rows(store, expert)[epoch + span])
            assert (segment.expert, segment.epoch) == (expert, epoch)

    @pytest.mark.parametrize(("epoch", "span"), [(0, 4), (3, 1), (4, 0), (-1, 1)])
    def test_outside_of_what_was_kept_is_refused(self, store, epoch, span):
        with pytest.raises(ValueError, match=r"only \(0, 1, 2, 3\)"):
            store.segment(0, epoch, span)

    def test_of_a_store_that_keeps_the_end_only(self, tmp_path):
        store = tiny.experts(tmp_path, 1, epochs=EPOCHS, snapshots="last")
        assert store.sidecars[0].epochs == (EPOCHS,)
        assert store.segment(0, EPOCHS, 0).start.shape == (store.sidecars[0].parameters,)
        with pytest.raises(ValueError, match="not kept"):
            store.segment(0, 0, EPOCHS)


class TestSample:
    def test_draws_every_expert_and_every_start_before_the_bound(self, store):
        generator = Randomness(0).stream("expert")
        drawn = [store.sample(span=1, start_before=3, generator=generator) for _ in range(200)]
        counts = {}
        for segment in drawn:
            counts[segment.expert, segment.epoch] = counts.get((segment.expert, segment.epoch), 0) + 1
        assert set(counts) == {(expert, epoch) for expert in (0, 1) for epoch in (0, 1, 2)}
        assert min(counts.values()) > 15  # 33 expected

    def test_depends_on_the_generator_only(self, store):
        other = ExpertStore.open(store.folder, 2, CPU)
        for seed in range(5):
            first, again = (
                one.sample(span=2, start_before=2, generator=Randomness(seed).stream("expert"))
                for one in (store, other)
            )
            assert (first.expert, first.epoch) == (again.expert, again.epoch)
            assert torch.equal(first.start, again.start)

    def test_beyond_the_last_epoch_is_refused(self, store):
        with pytest.raises(ValueError, match="not kept"):
            for seed in range(50):
                store.sample(span=3, start_before=2, generator=Randomness(seed).stream("expert"))


def test_final_is_the_last_row_with_its_statistics(tmp_path):
    store = tiny.experts(tmp_path, 1, network="convnet-1-w4-batchnorm")
    params, statistics = store.final(0)
    assert torch.equal(params, rows(store, 0)[-1])
    assert statistics.shape == (8,)
    assert statistics[:4].any()


class TestOpening:
    def test_fewer_than_asked_for_is_an_error_that_says_what_to_do(self, store):
        with pytest.raises(RunError, match="2 of 3 experts are there; run `datadistill experts`"):
            ExpertStore.open(store.folder, 3, CPU)

    def test_more_than_asked_for_are_left_aside(self, store):
        opened = ExpertStore.open(store.folder, 1, CPU)
        assert len(opened.sidecars) == 1
        assert {opened.sample(span=1, start_before=1, generator=torch.Generator()).expert for _ in range(20)} == {0}

    @pytest.mark.parametrize("damage", ["bit", "short", "empty", "missing", "another expert's"])
    def test_a_damaged_trajectory_is_named(self, store, damage):
        path = trajectory_path(store.folder, 1)
        content = bytearray(path.read_bytes())
        if damage == "bit":
            content[len(content) // 2] ^= 1
        replacement = {"short": content[:-1], "empty": b"", "another expert's": None}.get(damage, content)
        if replacement is None:
            replacement = trajectory_path(store.folder, 0).read_bytes()
        path.unlink() if damage == "missing" else path.write_bytes(replacement)
        with pytest.raises(CorruptFileError, match=path.name):
            ExpertStore.open(store.folder, 2, CPU)
        ExpertStore.open(store.folder, 1, CPU)  # the other one is whole

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema_version": 1, "index": 1}'])
    def test_a_damaged_sidecar_is_named(self, store, content):
        path = sidecar_path(store.folder, 1)
        path.write_text(content)
        with pytest.raises(CorruptFileError, match=path.name):
            ExpertStore.open(store.folder, 2, CPU)

    def test_a_sidecar_of_a_newer_version_is_refused(self, store):
        path = sidecar_path(store.folder, 0)
        path.write_text(json.dumps({**read_json(path), "schema_version": Sidecar.schema_version + 1}))
        with pytest.raises(SchemaVersionError, match=path.name):
            ExpertStore.open(store.folder, 1, CPU)

    def test_a_file_that_disappears_later_is_named(self, store):
        path = trajectory_path(store.folder, 0)
        path.unlink()
        with pytest.raises(CorruptFileError, match=path.name):
            store.segment(0, 0, 1)
        with pytest.raises(CorruptFileError, match=path.name):
            store.final(0)


def test_the_manifest_is_derived_from_what_is_there(store):
    manifest = read_json(store.folder / "manifest.json")
    names = [trajectory_path(store.folder, j).name for j in (0, 1)]
    assert manifest["experts"] == 2
    assert manifest["checksums"] == {name: checksum(store.folder / name) for name in names}
    sidecar_path(store.folder, 0).unlink()
    write_manifest(store.folder)
    assert list(read_json(store.folder / "manifest.json")["checksums"]) == names[1:]
