"""The page: complete, self-contained, escaped, well-formed, the same every time."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from datadistill.report import write_report
from report.fake_run import write_run

_VOID = {"meta", "link", "img", "input", "br", "wbr", "line", "rect", "circle", "path"}


class _Outline(HTMLParser):
    """Checks that elements are closed in order and keeps headings, ids and images."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.without_alt = 0
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset") and value]
        self.without_alt += tag == "img" and "alt" not in known
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag


def _outline(text: str) -> _Outline:
    parser = _Outline()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def test_a_complete_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "tiny", protocols=("default", "upstream", "upstream-peak"))
    path = write_report(run)
    assert path == run.report and [p.name for p in path.parent.iterdir()] == ["report.html"]
    text = path.read_text()
    page = _outline(text)
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    assert len(page.ids) == len(set(page.ids))
    assert page.ids == ["images", "film", "reel", "accuracy", "peak", "curves", "cost", "settings"]
    assert page.without_alt == 0
    assert text.count("<h3>Protocol ") == 3 and text.count('class="bars"') == 2
    for expected in (
        "Selected on validation images, iteration 400",
        "with uncommitted changes",
        "2 experts with content key 00ff00ff00ff00ff",
        "CC BY 4.0",
        "dd.load_artifact(",
        "student_steps",
        "3.0 GiB",
        "8 min 31 s",
    ):
        assert expected in text.replace("<wbr>", "")


def test_what_was_chosen_on_the_test_set_has_a_section_of_its_own(tmp_path: Path) -> None:
    text = write_report(write_run(tmp_path / "tiny", protocols=("default", "upstream-peak"))).read_text()
    before, section = text.split('<section id="peak">')
    section, after = section.split("</section>", 1)
    assert "85.2 ±" in section and "only to be compared with such numbers" in section and "<svg" in section
    assert "85.2 ±" not in before + after and "83.2 ±" in before


def test_needs_nothing_from_outside(tmp_path: Path) -> None:
    text = write_report(write_run(tmp_path / "tiny")).read_text()
    assert all(address.startswith("data:") for address in _outline(text).addresses)
    assert not re.search(r"@import|url\(|fetch\(|https?://", text)


def test_equal_runs_give_equal_pages(tmp_path: Path) -> None:
    run = write_run(tmp_path / "tiny")
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_everything_written_by_others_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)<"
    classes = tuple(f"{evil}b>{i}" for i in range(10))
    run = write_run(tmp_path / evil, classes=classes)
    run.config.write_text(f'"{evil}" = \'{evil}/x>\'\n["{evil}"]\nkey = 1\n')
    run.provenance.write_text(run.provenance.read_text().replace("Some CPU", evil))
    run.status_file.write_text(run.status_file.read_text().replace('"distill"', f'"{evil}"'))
    run.evaluation("broken").write_text(evil)
    run.metrics.write_text("".join(f'{{"iteration": {i}, "{evil}": {i}}}\n' for i in range(3)))
    text = write_report(run).read_text()
    assert "<script>alert" not in text and text.count("<script>") == 1
    assert text.count("&lt;script&gt;alert") > 20
    _outline(text)


@pytest.mark.parametrize("missing", ["everything", "evaluation", "frames", "artifact", "records"])
def test_says_what_there_is(tmp_path: Path, missing: str) -> None:
    run = write_run(
        tmp_path / "tiny",
        only_config=missing == "everything",
        protocols=() if missing == "evaluation" else ("default",),
        frames=0 if missing == "frames" else 3,
    )
    if missing == "artifact":
        for folder in (run.synthetic, run.variant("selected")):
            (folder / "card.json").unlink()
    if missing == "records":
        for path in (run.status_file, run.provenance, run.experts, run.metrics):
            path.unlink()
    page = _outline(write_report(run).read_text())
    gone = {
        "everything": {"images", "film", "reel", "accuracy", "curves", "cost"},
        "evaluation": {"accuracy"},
        "frames": {"film", "reel"},
        "artifact": {"images"},
        "records": {"curves", "cost"},
    }
    assert set(page.ids) == {"images", "film", "reel", "accuracy", "curves", "cost", "settings"} - gone[missing]


def test_a_selected_iterate_that_is_the_last_is_not_shown_twice(tmp_path: Path) -> None:
    run = write_run(tmp_path / "tiny", selected=500)
    text = write_report(run).read_text()
    assert "iteration 500, also the one selected on validation images" in text
    assert text.count('class="plate') == 1


def test_damaged_files_are_named_on_the_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "tiny")
    run.provenance.write_text("{")
    assert "not a JSON file" in write_report(run).read_text()


def test_a_failed_stage_says_why(tmp_path: Path) -> None:
    run = write_run(tmp_path / "tiny")
    run.update_stage("distill", state="failed", error="iteration 7: a metric is not finite")
    text = write_report(run).read_text()
    assert "failed" in text and "iteration 7: a metric is not finite" in text
