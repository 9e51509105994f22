"""The pages agree with each other, with the code and with the files that are there."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
from docs_pages import PAGES, ROOT, anchors, links, table_after

from runner.record import TABLES

TYPES = {
    pa.string(): {"text", "JSON"},
    pa.int32(): {"int"},
    pa.int64(): {"int"},
    pa.float64(): {"float"},
    pa.bool_(): {"bool"},
    pa.timestamp("us", tz="UTC"): {"time"},
    pa.list_(pa.string()): {"list of text"},
    pa.list_(pa.float64()): {"list of float"},
}


def make_configuration() -> ModuleType:
    path = ROOT / "docs/make_configuration.py"
    spec = importlib.util.spec_from_file_location("make_configuration", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "http://")):
            continue
        target, _, anchor = link.partition("#")
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {link}"


def test_every_page_of_docs_is_reached_from_the_readme() -> None:
    reached = {ROOT / "README.md"}
    while True:
        found = {
            (p.parent / link.partition("#")[0]).resolve() for p in reached for link in links(p)
        }
        new = {page for page in found & set(PAGES) if page not in reached}
        if not new:
            break
        reached |= new
    assert set(PAGES) == reached


def test_configuration_page_is_current() -> None:
    made = make_configuration()
    text = made.PAGE.read_text(encoding="utf-8")
    assert text == made.page(text), "run: python docs/make_configuration.py"


def test_configuration_page_names_every_file_of_every_group() -> None:
    rows = {row[0]: row[1] for row in table_after(ROOT / "docs/configuration.md", "## Groups")}
    groups = {path.parent.name for path in (ROOT / "conf").glob("*/*.yaml")}
    assert {f"`{group}`" for group in groups} == set(rows)
    for group in groups:
        names = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
        shown = {part.split("`")[1] for part in rows[f"`{group}`"].split(", ")}
        assert shown == names, group


@pytest.mark.parametrize("table", TABLES)
def test_results_page_has_every_column(table: str) -> None:
    rows = table_after(ROOT / "docs/results.md", f"## {table}")
    assert [row[0].strip("`") for row in rows] == TABLES[table].names
    for name, kind, _ in rows:
        field = TABLES[table].field(name.strip("`"))
        assert kind.endswith("?") == field.nullable, name
        assert kind.rstrip("?") in TYPES.get(field.type, {"list of {role, content}"}), name


def test_results_page_has_every_status() -> None:
    from runner.episode import Status

    rows = table_after(ROOT / "docs/results.md", "## How an episode ends")
    assert [row[0].strip("`") for row in rows] == [str(status) for status in Status]


def test_the_remedy_for_a_killed_display_is_what_the_display_does_at_its_end() -> None:
    from rich.console import Console

    from runner.run.display import Painter

    end = io.StringIO()
    Painter(Console(file=end)).__exit__()
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    assert f"printf '{end.getvalue()}'".replace("\x1b", "\\033") in text


def test_the_readme_leads_to_every_page() -> None:
    there = {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / "README.md")}
    pages = set((ROOT / "docs").glob("*.md"))
    assert pages - {ROOT / "docs/scheduling_baselines.md"} <= there
