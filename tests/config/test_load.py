"""Recipes, TOML and ``--set``: what is wrong is said in one line that names the place, the key and the nearest."""

import re
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistill.config import Published, RunConfig, from_toml, load_recipe, load_stored, recipes, to_toml
from datadistill.core.errors import ConfigError, UnknownNameError, UsageError
from datadistill.methods import MTT
from datadistill.synthetic.texture import Texture
from datadistill.training.schedules import GSAM

GOOD = """
dataset = "digits"
validation = 10
ipc = 1
iterations = 5
[method.mtt]
expert_epochs = 1
student_steps = 2
max_start_epoch = 1
"""


def refused(text: str, *settings: str) -> str:
    with pytest.raises(UsageError) as found:
        from_toml(text, source="my.toml", settings=settings)
    message = str(found.value)
    assert "\n" not in message
    return message


def test_the_shortest_recipe_is_read_with_every_default() -> None:
    config = from_toml(GOOD, source="my.toml")
    method = MTT(expert_epochs=1, student_steps=2, max_start_epoch=1)
    assert config == RunConfig(dataset="digits", validation=10, ipc=1, iterations=5, method=method)
    assert config.method_name == "mtt"
    assert config.expert_epochs == 1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"iteration = 5{GOOD}", ["my.toml", "unknown key 'iteration'", "did you mean 'iterations'?"]),
        (f"{GOOD}student_step = 3", ["my.toml", "unknown key 'method.mtt.student_step'", "'student_steps'?"]),
        (f"{GOOD}[experts]\ncuont = 3", ["my.toml", "unknown key 'experts.cuont'", "did you mean 'count'?"]),
        (f"{GOOD}[evaluate]\nepoch = 3", ["my.toml", "unknown key 'evaluate.epoch'", "did you mean 'epochs'?"]),
        (f"{GOOD}[full.training]\nlrr = 3", ["my.toml", "unknown key 'full.training.lrr'", "did you mean 'lr'?"]),
        (f"{GOOD}[watch]\nprobe = 3", ["my.toml", "unknown key 'watch.probe'", "'probe_"]),
        (f"{GOOD}[engine]\nmicrobatch = 3", ["my.toml", "unknown key 'engine.microbatch'", "'micro_batch'?"]),
    ],
)
def test_an_unknown_key_at_any_level_is_named_with_the_nearest(text: str, parts: list[str]) -> None:
    message = refused(text)
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("ipc", '"one"', "ipc: expected a whole number, got 'one'"),
        ("ipc", "1.5", "ipc: expected a whole number, got 1.5"),
        ("ipc", "true", "ipc: expected a whole number, got True"),
        ("dataset", "3", "dataset: expected a string, got 3"),
        ("network", "3", "network: expected a string, got 3"),
        ("protocols", '"default"', "protocols: expected a list"),
        ("protocols", "[1]", "protocols[0]: expected a string, got 1"),
        ("initial", '"reel"', "initial: unknown value 'reel'; did you mean 'real'?"),
        ("experts", "3", "experts: expected a table, got 3"),
    ],
)
def test_a_wrong_type_is_named(key: str, value: str, expected: str) -> None:
    lines = [line for line in GOOD.splitlines() if not line.startswith(f"{key} =")]
    message = refused("\n".join([f"{key} = {value}", *lines]))
    assert message.startswith("my.toml: ")
    assert expected in message


@pytest.mark.parametrize("key", ["dataset", "validation", "ipc", "iterations"])
def test_a_missing_key_is_named(key: str) -> None:
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith(f"{key} ="))
    assert refused(text) == f"my.toml: missing key '{key}'"


@pytest.mark.parametrize("key", ["expert_epochs", "student_steps", "max_start_epoch"])
def test_a_missing_key_of_the_method_is_named(key: str) -> None:
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith(f"{key} ="))
    assert refused(text) == f"my.toml: missing key 'method.mtt.{key}'"


@pytest.mark.parametrize(
    "text",
    ["", "method = 3", "[method]", f"{GOOD}[method.dc]\nx = 1", GOOD.replace("[method.mtt]", "[experts]")],
)
def test_there_is_exactly_one_method(text: str) -> None:
    message = refused(text)
    assert message.startswith("my.toml: exactly one table [method.<name>] is needed; methods: ")
    assert "mtt" in message


def test_an_unknown_method_is_named_with_the_nearest() -> None:
    message = refused(GOOD.replace("mtt", "mmt"))
    assert message == "my.toml: unknown method 'mmt'; did you mean 'mtt'?"


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ('network = "convnets-3"', "my.toml: network: unknown network 'convnets-3'; did you mean 'convnet-3'?"),
        ('network = "convnet-3-batchnrom"', "my.toml: network: network 'convnet-3-batchnrom': unknown option"),
        ('network = "convnet-99"', "my.toml: network: a ConvNet has 1 to 8 blocks, got 99"),
        ('augment = "dsaa"', "my.toml: augment: unknown augmentation 'dsaa'; did you mean 'dsa'?"),
        ('augment = "dsa:crop_colour"', "my.toml: augment: unknown DSA operation 'colour'; did you mean 'color'?"),
        (
            'augment = "dsa+mixup"',
            "my.toml: augment: 'dsa+mixup' mixes targets, which a student that is differentiated",
        ),
        ('protocols = ["upsteam"]', "my.toml: protocols[0]: unknown protocol 'upsteam'; did you mean 'upstream'?"),
        ("protocols = []", "my.toml: protocols must name at least one"),
        ('protocols = ["default", "default"]', "my.toml: protocols must name at least one protocol, and none of them"),
        ("workers = 0", "my.toml: ipc, iterations, groups, workers"),
    ],
)
def test_names_and_ranges_at_the_top_are_checked_before_anything_runs(top: str, expected: str) -> None:
    assert refused(top + GOOD).startswith(expected)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("[experts]\ncount = 0", "experts: count must be at least 1, got 0"),
        ("[experts]\nlr = -1", "experts: lr must be positive"),
        ("[experts]\nrho = 0.1", "experts: rho and gsam_alpha are for optimiser 'gsam', and it is 'sgd'"),
        ('[experts]\noptimiser = "gsam"\nrho = 0', "experts: rho must be positive"),
        ('[experts]\noptimiser = "sam"', "experts.optimiser: unknown value 'sam'; did you mean 'gsam'?"),
        ("[experts]\nmomentum = 1", "experts: lr must be positive, momentum in [0, 1)"),
        ("[experts]\nbatch_size = 0", "experts: epochs and batch_size must be at least 1"),
        ('[experts]\naugment = "dsaa"', "experts.augment: unknown augmentation 'dsaa'; did you mean 'dsa'?"),
        ("[evaluate]\nnetworks = 0", "evaluate: networks, epochs and batch_size must be at least 1"),
        ("[evaluate]\nlr = 0", "evaluate: lr must be positive"),
        ("[evaluate]\nfallback_lr = -1", "evaluate: lr must be positive"),
        (
            "[evaluate]\nlr = 0.1\nfallback_lr = 0.2",
            "evaluate: fallback_lr is for sets without a learned step size, and",
        ),
        (
            '[evaluate]\nschedule = "cosine"\ndecay_at = 0.3',
            "evaluate: decay_at and reset_momentum are for schedule 'step'",
        ),
        (
            "[full.training]\ndecay_at = 0.3",
            "full.training: decay_at and reset_momentum are for schedule 'step', and it is",
        ),
        ("[experts]\ndecay_at = 0.5", "experts: decay_at is for schedule 'step', and it is 'constant'"),
        ("[experts]\nreset_momentum = true", "experts: decay_at and reset_momentum are for schedule 'step', and it is"),
        (
            '[experts]\nimported = "imported-0"\nlr = 0.1\nseed = 1',
            "experts: imported experts are not trained; take out what says how: --set experts.lr= --set experts.seed=",
        ),
        ('[evaluate]\nschedule = "stpe"', "evaluate.schedule: unknown value 'stpe'; did you mean 'step'?"),
        ('[evaluate]\nnetwork = "lennet"', "evaluate.network: unknown network 'lennet'; did you mean 'lenet'?"),
        ("[evaluate]\npeak = true", "evaluate.peak: 'default' never chooses on the test set; add 'upstream-peak' to"),
        ('[evaluate]\npeak = true\nsplit = "validation"', "evaluate: peak chooses on the test set, and split is"),
        ("[full]\nnetworks = -1", "full: networks must not be negative, got -1"),
        ("[full.training]\nepochs = 0", "full.training: epochs and batch_size must be at least 1"),
        ("[watch]\ncheckpoint_every = 15", "watch: checkpoint_every (15) must be a multiple of log_every (10)"),
        ("[watch]\nprobe_every = 15", "watch: probe_every (15) must be a multiple of log_every (10)"),
        ("[watch]\nlog_every = 0", "watch: checkpoint_every (50) must be a multiple of log_every (0)"),
        ("[watch]\nvariant_every = 15", "watch: variant_every (15) must be a multiple of log_every (10)"),
        ("[watch]\nvariant_every = -10", "watch: probe_every and variant_every must not be negative"),
        (
            "[watch]\nprobe_networks = 0",
            "watch: probe_every and variant_every must not be negative, probe_networks and",
        ),
        ("[watch]\nframe_every = 0", "watch: frame_every must be at least 1, got 0"),
        ("[engine]\nkeep_every = 0", "engine: keep_every and micro_batch must be at least 1"),
        ("[engine]\nmicro_batch = 0", "engine: keep_every and micro_batch must be at least 1"),
        ("[engine]\ncompiled = true", "engine.compiled: unknown value True"),
    ],
)
def test_ranges_in_tables_are_checked_before_anything_runs(table: str, expected: str) -> None:
    assert refused(GOOD + table).startswith(f"my.toml: {expected}")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("student_steps = 2", "student_steps = 0"), "method.mtt: expert_epochs, student_steps and max_start_epoch"),
        (("student_steps = 2", "student_steps = 2\nbatch_syn = 0"), "method.mtt: batch_syn must be at least 1, got 0"),
        (("student_steps = 2", "student_steps = 2\nstudent_lr = 0"), "method.mtt: student_lr must be positive"),
        (
            ("student_steps = 2", "student_steps = 2\naverage_corrected = true"),
            "method.mtt: average_corrected is for an average of the images; set average_decay as well",
        ),
        (("ipc = 1", "ipc = 0"), "ipc, iterations, groups, workers"),
        (("validation = 10", "validation = -1"), "ipc, iterations, groups, workers"),
    ],
)
def test_ranges_of_the_method_and_the_run_are_checked(change: tuple[str, str], expected: str) -> None:
    assert refused(GOOD.replace(*change)).startswith(f"my.toml: {expected}")


def test_mixing_is_for_ordinary_training() -> None:
    settings = ("evaluate.augment=dsa+cutmix", "experts.augment=mixup", "full.augment=mixup@alpha=0.2")
    config = from_toml(GOOD, source="my.toml", settings=settings)
    assert (config.evaluate.augment, config.experts.augment) == ("dsa+cutmix", "mixup")
    assert from_toml(to_toml(config), source="again") == config


def test_gsam_has_defaults_and_takes_what_is_given() -> None:
    assert from_toml(GOOD, source="my.toml").experts.training(3).gsam is None
    text = f'{GOOD}[experts]\noptimiser = "gsam"\n'
    assert from_toml(text, source="my.toml").experts.training(3).gsam == GSAM(rho=0.01, alpha=1.0)
    changed = from_toml(text, source="my.toml", settings=("experts.rho=0.1", "experts.gsam_alpha=0.3"))
    assert changed.experts.training(3).gsam == GSAM(rho=0.1, alpha=0.3)


def test_experts_that_are_trained_too_short_are_refused() -> None:
    message = refused(GOOD.replace("max_start_epoch = 1", "max_start_epoch = 9"), "experts.epochs=3")
    assert "experts.epochs is 3, the method needs 9" in message


def test_choosing_among_kept_sets_needs_sets_that_are_kept() -> None:
    peak = 'protocols = ["default", "upstream-peak"]' + GOOD
    expected = "my.toml: watch.variant_every is 0, and protocol 'upstream-peak' chooses among the sets that it keeps"
    assert refused(peak) == expected
    config = from_toml(peak, source="my.toml", settings=("watch.variant_every=20",))
    assert config.protocol("default") == config.evaluate
    assert config.protocol("upstream-peak").peak
    assert list(config.watch.kept(60)) == [20, 40]
    assert list(config.watch.kept(61)) == [20, 40, 60]
    assert list(from_toml(GOOD, source="my.toml").watch.kept(60)) == []


def test_a_test_on_held_out_images_needs_some() -> None:
    expected = "my.toml: validation is 0, and protocol 'default' tests on images that are held out for it"
    assert refused(GOOD, "evaluate.split=validation", "validation=0") == expected


def test_a_file_that_is_not_toml_is_named_with_the_line() -> None:
    message = refused("ipc = = 3")
    assert message.startswith("my.toml: not TOML: ")
    assert "line 1" in message


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("ipc", "--set ipc: expected key=value"),
        ("=3", "--set =3: unknown key ''"),
        ("icp=3", "--set icp=3: unknown key 'icp'; did you mean 'ipc'?"),
        ("experts.cuont=3", "--set experts.cuont=3: unknown key 'experts.cuont'; did you mean 'count'?"),
        ("full.training.lrr=3", "--set full.training.lrr=3: unknown key 'full.training.lrr'; did you mean 'lr'?"),
        ("method.mtt.image_rl=3", "--set method.mtt.image_rl=3: unknown key 'image_rl'; did you mean 'image_lr'?"),
        ("method.mmt.image_lr=3", "--set method.mmt.image_lr=3: unknown method 'mmt'; did you mean 'mtt'?"),
        ("method.image_lr=3", "--set method.image_lr=3: unknown key 'method'"),
        ("method=mtt", "--set method=mtt: unknown key 'method'"),
        ("ipc.x=3", "--set ipc.x=3: 'ipc' has no keys below it"),
        ("experts=3", "--set experts=3: 'experts' is a table; set one of its keys: count, epochs"),
        ("ipc=three", "--set ipc=three: ipc: expected a whole number, got 'three'"),
        ("ipc=1.5", "--set ipc=1.5: ipc: expected a whole number, got '1.5'"),
        ("ipc=none", "--set ipc=none: ipc: expected a whole number, got 'none'"),
        ("experts.lr=fast", "--set experts.lr=fast: experts.lr: expected a number, got 'fast'"),
        ("engine.keep_on_host=maybe", "--set engine.keep_on_host=maybe: engine.keep_on_host: expected true or false"),
        ("initial=nosie", "--set initial=nosie: initial: unknown value 'nosie'; did you mean 'noise'?"),
        (
            "evaluate.split=tset",
            "--set evaluate.split=tset: evaluate.split: unknown value 'tset'; did you mean 'test'?",
        ),
    ],
)
def test_a_bad_setting_is_named_with_the_nearest(setting: str, expected: str) -> None:
    assert refused(GOOD, setting).startswith(expected)


def test_a_setting_below_what_is_no_table_in_the_recipe_is_refused() -> None:
    message = refused(f"experts = 3{GOOD}", "experts.count=3")
    assert message == "--set experts.count=3: 'experts' is not a table in the recipe, it is 3"


def test_settings_are_applied_in_order_and_in_every_type() -> None:
    settings = (
        "ipc=2",
        "ipc=3",
        "seed=1_000",
        "experts.lr=1e-3",
        "engine.keep_on_host=true",
        "protocols=default, upstream",
        "network=lenet",
        "full.training.schedule=constant",
        "method.mtt.batch_syn=7",
        "store=/a=b",
    )
    config = from_toml(GOOD, source="my.toml", settings=settings)
    assert (config.ipc, config.seed, config.experts.lr, config.engine.keep_on_host) == (3, 1000, 1e-3, True)
    assert (config.protocols, config.network, config.store) == (("default", "upstream"), "lenet", "/a=b")
    assert (config.full.training.schedule, config.method.batch_syn) == ("constant", 7)


def test_one_setting_of_a_table_leaves_its_other_defaults_alone() -> None:
    plain = from_toml(GOOD, source="my.toml")
    changed = from_toml(GOOD, source="my.toml", settings=("full.training.epochs=3", "experts.lr=0.5"))
    assert changed.full.training == replace(plain.full.training, epochs=3)
    assert changed.experts == replace(plain.experts, lr=0.5)


@pytest.mark.parametrize("key", ["method.mtt.batch_syn=4", "watch.frame_every=3", "engine.micro_batch=2", "store=x"])
def test_nothing_takes_a_key_out_again(key: str) -> None:
    plain = from_toml(GOOD, source="my.toml")
    changed = from_toml(GOOD, source="my.toml", settings=(key,))
    assert changed != plain
    assert from_toml(to_toml(changed), source="", settings=(f"{key.partition('=')[0]}=",)) == plain


def test_nothing_gives_a_key_its_default_again() -> None:
    text = f"{GOOD}[experts]\nlr = 0.5"
    assert from_toml(text, source="", settings=("experts.lr=",)) == from_toml(GOOD, source="")
    assert refused(GOOD, "ipc=") == "my.toml: missing key 'ipc'"


def test_no_augmentation_is_a_choice_not_a_missing_key() -> None:
    assert from_toml(GOOD, source="my.toml", settings=("evaluate.augment=none",)).evaluate.augment == "none"


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_is_read_says_what_it_is_and_comes_back_from_toml(name: str) -> None:
    text = recipes()[name]
    config = load_recipe(name)
    assert from_toml(to_toml(config), source="again") == config
    first = text.splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")
    assert 20 < len(first) <= 120
    settings = ("ftd_", "tesla_", "dsa_", "dd_", "rat_bptt_")  # of other methods
    assert config.method_name in name or name.startswith(settings)
    assert f"ipc{config.ipc}" in name or name.endswith(("_quick", "_short", "_digits"))
    assert re.sub(r"-\d+$", "", config.dataset).replace("-", "_") in name  # without the size


@pytest.mark.parametrize("name", [name for name, text in recipes().items() if "[published]" in text])
def test_the_header_of_a_published_cell_says_the_papers_number_ours_and_the_cost(name: str) -> None:
    header, published = recipes()[name].partition("\ndataset")[0], load_recipe(name).published
    assert published is not None
    number = f"{100 * published.accuracy:.1f}" + (f" ± {100 * published.std:.1f} %" if published.std else " %")
    assert f"# Paper:  {number} (" in header
    assert "# Ours:   " in header
    if load_recipe(name).method.unrolled is not None:
        assert re.search(r"# Cost:   .*One H200: about .* GiB; an estimate", header, re.DOTALL)
    assert f"datadistill plan {name}" in header
    assert f"datadistill run {name}" in header


@given(
    seed=st.integers(-(2**40), 2**40),
    ipc=st.integers(1, 500),
    lr=st.floats(1e-12, 1e12),
    workers=st.integers(1, 64),
    dataset=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1),
    store=st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    batch_syn=st.none() | st.integers(1, 1000),
    protocols=st.permutations(["default", "upstream"]),
    frame_every=st.none() | st.integers(1, 10**6),
)
def test_any_configuration_comes_back_from_its_toml(
    seed: int,
    ipc: int,
    lr: float,
    workers: int,
    dataset: str,
    store: str | None,
    batch_syn: int | None,
    protocols: list[str],
    frame_every: int | None,
) -> None:
    plain = from_toml(GOOD, source="my.toml")
    config = replace(
        plain,
        seed=seed,
        ipc=ipc,
        workers=workers,
        dataset=dataset,
        store=store,
        protocols=tuple(protocols),
        method=replace(plain.method, batch_syn=batch_syn, image_lr=lr),
        watch=replace(plain.watch, frame_every=frame_every),
        evaluate=replace(plain.evaluate, lr=lr),
    )
    assert from_toml(to_toml(config), source="again") == config


@pytest.fixture
def plain_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``import tomli_w`` fail."""
    monkeypatch.setitem(sys.modules, "tomli_w", None)


@pytest.mark.parametrize("name", recipes())
def test_both_writers_say_the_same_of_every_recipe(name: str, request: pytest.FixtureRequest) -> None:
    config = load_recipe(name)
    one = to_toml(config)
    request.getfixturevalue("plain_writer")
    other = to_toml(config)
    assert tomllib.loads(other) == tomllib.loads(one)
    assert from_toml(other, source="again") == config


@pytest.mark.usefixtures("plain_writer")
@pytest.mark.parametrize("text", ['"quoted" \\ back', "tab\tline\nreturn\r", "\x00\x1f\x7f", "naïve – 𝛼", "[a] # = ."])
@pytest.mark.parametrize("lr", [1e-30, 1e16, 0.1, 3.0])
def test_the_plain_writer_loses_nothing(text: str, lr: float) -> None:
    plain = from_toml(GOOD, source="my.toml")
    config = replace(plain, dataset=text, method=replace(plain.method, image_lr=lr), threads=3)
    assert from_toml(to_toml(config), source="again") == config


def test_the_papers_number_is_written_down_and_checked() -> None:
    table = '[published]\naccuracy = 0.462\nstd = 0.008\nsource = "Table 1 of the paper"'
    config = from_toml(GOOD + table, source="my.toml")
    assert config.published == Published(accuracy=0.462, std=0.008, source="Table 1 of the paper")
    assert from_toml(to_toml(config), source="again").published == config.published
    assert "fractions in [0, 1], got 46.2" in refused(GOOD + table.replace("0.462", "46.2"))
    assert "source must say" in refused(GOOD + table.replace("Table 1 of the paper", ""))


def test_initial_images_that_a_method_does_not_use_are_refused() -> None:
    with pytest.raises(ConfigError, match="initial is 'noise', and method 'datm' starts from real images of its own"):
        load_recipe("datm_digits_ipc1", ("initial=noise",))
    chosen = load_recipe("datm_digits_ipc1", ("initial=noise", "method.datm.only_recognised=false"))
    assert chosen.initial == "noise"


def test_what_is_absent_beside_its_switch_has_its_default() -> None:
    settings = ("method.mtt.average_decay=0.9", "experts.schedule=step")
    config = from_toml(GOOD, source="my.toml", settings=settings)
    assert config == from_toml(
        GOOD, source="", settings=(*settings, "method.mtt.average_corrected=true", "experts.decay_at=0.5")
    )
    assert from_toml(to_toml(config), source="again") == config


@pytest.mark.parametrize("imported", ["", '\nimported = "imported-0"'])
def test_a_run_of_an_earlier_version_is_read_with_keys_that_decide_nothing(tmp_path: Path, imported: str) -> None:
    path, trained = tmp_path / "config.toml", "" if imported else "\nlr = 0.5"
    config = from_toml(f"{GOOD}[experts]\ncount = 2{imported}{trained}", source="my.toml")
    old = f"{GOOD}average_corrected = true\n[experts]\ncount = 2\nlr = 0.5\ndecay_at = 0.5{imported}"
    path.write_text(old)
    assert load_stored(path) == config
    assert load_stored(path, ("ipc=2",)) == replace(config, ipc=2)
    path.write_text(f"method = 3\nexperts = 4\n{GOOD.partition('[')[0]}")
    with pytest.raises(ConfigError, match=f"^{path}: exactly one table"):
        load_stored(path)


def test_a_setting_is_the_same_as_the_line_in_the_file() -> None:
    assert from_toml(GOOD, source="", settings=("ipc=7",)) == from_toml(GOOD.replace("ipc = 1", "ipc = 7"), source="")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("cifra10", "dataset: unknown data set 'cifra10'; did you mean 'cifar10'?"),
        ("mnist-rbg", "dataset: data set 'mnist-rbg': unknown option 'rbg'; did you mean 'rgb'?"),
        ("mnist-99999", "dataset: size 99999x99999: each side must be between 1 and 4096"),
        ("pets", "dataset: unknown data set 'pets'; valid: "),
    ],
)
def test_an_unknown_data_set_is_refused_where_it_will_be_looked_for(tmp_path: Path, dataset: str, message: str) -> None:
    setting = (f"dataset={dataset}",)
    with pytest.raises(ConfigError, match=f"^recipe mtt_digits_ipc1: {re.escape(message)}"):
        load_recipe("mtt_digits_ipc1", setting, tmp_path)
    assert load_recipe("mtt_digits_ipc1", setting).dataset == dataset  # data of the caller's own may have any name
    (tmp_path / dataset).mkdir()
    assert load_recipe("mtt_digits_ipc1", setting, tmp_path).dataset == dataset


@pytest.mark.parametrize("dataset", ["MNIST_RGB", "imagenette-64-crop", "hub:a/b", "./no", "no.npz", "no.toml", "a/b"])
def test_names_paths_and_the_hub_are_left_to_the_readers(tmp_path: Path, dataset: str) -> None:
    assert load_recipe("mtt_digits_ipc1", (f"dataset={dataset}",), tmp_path).dataset == dataset


def test_an_unknown_recipe_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown recipe 'mtt_digit_ipc1'; did you mean 'mtt_digits_ipc1'"):
        load_recipe("mtt_digit_ipc1")


def test_a_recipe_of_ones_own_is_read_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(f"# größer\n{GOOD}", encoding="utf-8")
    assert load_recipe(str(path), ("ipc=4",)).ipc == 4
    path.write_text(f"foo = 1\n{GOOD}")
    with pytest.raises(ConfigError, match=f"^{path}: unknown key 'foo'"):
        load_recipe(str(path))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", "folder"])
def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "my.toml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "folder":
        path.mkdir()
    with pytest.raises(ConfigError, match=f"^{path}: cannot be read"):
        load_recipe(str(path))


def test_a_wrong_name_given_in_python_is_refused_too() -> None:
    with pytest.raises(ConfigError, match="network: unknown network 'convnets'"):
        replace(load_recipe("mtt_digits_ipc1"), network="convnets")


def test_a_table_that_may_be_absent_is_made_and_taken_away_by_a_setting() -> None:
    plain = from_toml(GOOD, source="my.toml")
    changed = from_toml(GOOD, source="my.toml", settings=("texture.samples=3",))
    assert plain.texture is None
    assert changed == replace(plain, texture=Texture(canvas=2, samples=3))
    assert from_toml(to_toml(changed), source="again") == changed
    assert from_toml(to_toml(changed), source="again", settings=("texture=none",)) == plain
    assert (
        refused(GOOD, "texture=3")
        == "--set texture=3: 'texture' is a table; set one of its keys: canvas, samples, start"
    )
    assert refused(GOOD, "texture.canvass=3").endswith("unknown key 'texture.canvass'; did you mean 'canvas'?")


@pytest.mark.parametrize("preprocess", ["zca", "zca:0.5"])
def test_a_texture_is_refused_where_it_could_not_be_seen(preprocess: str) -> None:
    message = refused(GOOD, "texture.canvas=2", f"preprocess={preprocess}")
    assert "texture: a canvas cannot be whitened back to pixels" in message


def test_a_texture_is_refused_by_what_looks_at_whole_images() -> None:
    message = refused(GOOD, "texture.start=tiles", "initial=noise")
    assert message.endswith("texture.start is for initial = 'real', and it is 'noise'")
    message = refused(GOOD, "texture.canvas=2", "method.mtt.labels=teacher")
    assert "texture: method 'mtt', as it is set, looks at whole images outside student steps" in message
    with pytest.raises(ConfigError, match="texture: method 'datm', as it is set, looks at whole images"):
        load_recipe("datm_digits_ipc1", ("texture.canvas=2",))
