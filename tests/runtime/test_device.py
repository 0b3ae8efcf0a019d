"""Devices by name, threads, precision, and what a machine says about itself."""

from typing import Any

import pytest
import torch

from datadistill.core.errors import UsageError
from datadistill.runtime.device import choose_device, describe_hardware, peak_bytes, set_up, usable_cores


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (2, "cuda")])
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, gpus: int, device: str) -> None:
    pretend_gpus(monkeypatch, gpus)
    assert choose_device() == torch.device(device)


def test_a_device_that_is_there_is_taken_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 2)
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["banana", "", "gpu", "CUDA", "cuda:-1", "cuda:99999999999", "mps", "meta", "0"])
def test_an_unknown_device_is_one_line_with_the_valid_names(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_device(name)
    assert str(caught.value) == f"--device {name}: not a device; valid: auto, cpu, cuda, cuda:1 …"


def test_cuda_without_a_gpu_says_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 0)
    with pytest.raises(UsageError, match="sees no CUDA device here; use --device cpu"):
        choose_device("cuda")


def test_a_gpu_that_is_not_there_says_how_many_are(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 2)
    with pytest.raises(UsageError, match="--device cuda:2: there are 2 CUDA devices, counted from 0"):
        choose_device("cuda:2")


def test_set_up_gives_the_number_of_threads() -> None:
    set_up(2)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("precision", "tf32"), [("float32", False), ("tf32", True)])
def test_set_up_lets_convolutions_use_tf32_and_keeps_matrix_products_in_float32(precision: Any, tf32: bool) -> None:
    set_up(1, precision)
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.deterministic


def test_the_peak_of_this_process_is_in_bytes() -> None:
    assert 2**26 < peak_bytes(torch.device("cpu")) < 2**37  # torch alone needs more than 64 MiB


@pytest.mark.gpu
def test_the_peak_of_a_gpu_counts_what_was_allocated() -> None:
    held = torch.zeros(2**20, dtype=torch.uint8, device="cuda")
    assert peak_bytes(held.device) >= 2**20
    assert describe_hardware(held.device)["accelerator"]


def test_at_least_one_core_is_usable() -> None:
    assert usable_cores() >= 1


def test_hardware_is_described_in_words() -> None:
    facts = describe_hardware(torch.device("cpu"))
    assert facts["device"] == "cpu"
    assert all(facts.values())
