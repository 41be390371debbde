"""The npm package `belfry-client`: what is packed, how large it is, and that real apps are built from it and run."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from app import __version__
from tests.browsing import wait_ms
from tests.conftest import absent
from tests.host_site import HostSite, host_site
from tests.servers import REPOSITORY, Belfry

pytestmark = pytest.mark.timeout(400)  # the first test packs, and each app is built by other people's tools

PACKAGE = REPOSITORY / "clients/js"
TOOLS = REPOSITORY / "tests/system/browser/node_modules"
CORE_MOST, ELEMENT_MOST = 12_000, 24_000  # bytes, compressed
IMPORT = re.compile(r'(?:^|[;}])(?:import|export)[^"();]*?"(\./[^"]+)"')


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def site() -> Iterator[HostSite]:
    with host_site() as site:
        yield site


@pytest.fixture(scope="module")
def environment(site: HostSite) -> Mapping[str, str]:
    return {"BELFRY_RETRY_MS": "100", "BELFRY_CORS_ORIGINS": site.url}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `npm install` leaves it: the packed package, and beside it what apps need."""
    if shutil.which("npm") is None or not (TOOLS / "vite").exists():
        absent("npm and the packages of tests/system/browser")
    modules = tmp_path_factory.mktemp("app") / "node_modules"
    modules.mkdir()
    ((packed,),) = [json.loads(run("npm", "pack", "--json", "--pack-destination", modules, folder=PACKAGE))]
    target = modules / "belfry-client"
    target.mkdir()
    run("tar", "xzf", modules / packed["filename"], "--strip-components=1", folder=target)
    for tool in TOOLS.iterdir():
        if not tool.name.startswith("."):
            (modules / tool.name).symlink_to(tool)
    return modules.parent


def build(unpacked: Path, sample: str, belfry: Belfry) -> Path:
    """The files of a sample app, checked by the TypeScript compiler and built by Vite."""
    folder = unpacked / sample
    shutil.copytree(PACKAGE / "samples" / sample, folder)
    run("node", TOOLS / "typescript/bin/tsc", "-p", ".", folder=folder)
    run("node", TOOLS / "vite/bin/vite.js", "build", folder=folder, VITE_BELFRY_URL=belfry.url)
    return folder / "dist"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(wait_ms())
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type in ("error", "warning") else None)
    yield page
    context.close()
    assert not problems


def static_bytes(dist: Path, name: str) -> int:
    """The compressed size of a module and of all that it imports at once."""
    names = [name]
    for each in names:
        found = IMPORT.findall((dist / each).read_text())
        folder = Path(each).parent
        names += [path for path in dict.fromkeys(str(folder / other) for other in found) if path not in names]
    return sum(len(gzip.compress((dist / each).read_bytes(), mtime=0)) for each in names)


def test_the_package_holds_the_build_and_nothing_else(unpacked: Path) -> None:
    root = unpacked / "node_modules/belfry-client"
    assert {path.name for path in root.iterdir()} == {"LICENSE", "README.md", "dist", "package.json"}
    described = json.loads((root / "package.json").read_text())
    assert described["version"] == __version__
    for entry in described["exports"].values():
        for path in entry.values() if isinstance(entry, dict) else [entry]:
            assert (root / path).is_file(), path


def test_core_and_element_are_small(unpacked: Path) -> None:
    dist = unpacked / "node_modules/belfry-client/dist"
    core, element = static_bytes(dist, "core.js"), static_bytes(dist, "element.js")
    assert 4_000 < core <= CORE_MOST
    assert core < element <= ELEMENT_MOST


def test_every_entry_can_be_imported_where_there_is_no_browser(unpacked: Path) -> None:
    script = unpacked / "import.mjs"
    script.write_text("""
        import { BelfryClient, BelfryRun, Feed, Refusal } from "belfry-client";
        import { BelfryFeed } from "belfry-client/element";
        import * as react from "belfry-client/react";
        import * as vue from "belfry-client/vue";
        let refused = "";
        try { new BelfryClient(); } catch (error) { refused = error.message; }
        new Feed({ url: "https://push.example.com/below/" });
        const core = [BelfryClient, BelfryRun, Feed, Refusal];
        const views = [BelfryFeed, react.useBelfry, react.BelfryFeed, vue.useBelfry];
        console.log(JSON.stringify([[...core, ...views].map((each) => typeof each), refused]));
    """)
    kinds, refused = json.loads(run("node", script, folder=unpacked))
    assert set(kinds) == {"function"}
    assert 'such as "https://push.example.com", got none' in refused


def test_a_bundler_leaves_out_what_is_not_used(unpacked: Path) -> None:
    (unpacked / "some.js").write_text('import { Refusal } from "belfry-client";\nconsole.log(Refusal.name);\n')
    (unpacked / "all.js").write_text('import "belfry-client/element";\n')
    esbuild = TOOLS / ".bin/esbuild"
    arguments = ("--bundle", "--minify", "--format=esm")
    assert "customElements" not in run(esbuild, "some.js", *arguments, folder=unpacked)
    assert "customElements" in run(esbuild, "all.js", *arguments, folder=unpacked), "an import for its effect counts"


def test_a_react_app_shows_the_bell_and_a_view_of_its_own(
    unpacked: Path, site: HostSite, belfry: Belfry, page: Page, alice: str
) -> None:
    belfry.publish({"to": alice, "title": "first"})
    site.mint, site.folder = lambda: belfry.token(alice, "feed"), build(unpacked, "react", belfry)
    page.goto(site.url)
    expect(page.locator("li")).to_have_text(["firstDone"])
    expect(page.locator("belfry-feed .badge")).to_have_text("1")
    page.locator("belfry-feed .bell").click()
    expect(page.locator("belfry-feed").get_by_role("heading", name="Inbox")).to_be_visible()
    page.keyboard.press("Escape")  # the panel covers the page's own list
    expect(page.locator("belfry-feed").get_by_role("heading", name="Inbox")).to_be_hidden()
    belfry.publish({"to": alice, "title": "live"})
    expect(page.locator("li")).to_have_text(["liveDone", "firstDone"])
    page.locator("li", has_text="first").get_by_role("button").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("1 unread")
    expect(page.locator("belfry-feed .badge")).to_have_text("1")
    expect(page.locator("li")).to_have_text(["liveDone", "first"])


def test_a_vue_app_shows_the_bell_and_a_view_of_its_own(
    unpacked: Path, site: HostSite, belfry: Belfry, page: Page, alice: str
) -> None:
    belfry.publish({"to": alice, "title": "first"})
    site.mint, site.folder = lambda: belfry.token(alice, "feed"), build(unpacked, "vue", belfry)
    page.goto(site.url)
    expect(page.locator("li")).to_have_text(["first Done"])
    expect(page.locator("belfry-feed .badge")).to_have_text("1")
    page.locator("li").get_by_role("button").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("0 unread")


def test_a_page_that_a_server_rendered_comes_alive(
    unpacked: Path, site: HostSite, belfry: Belfry, page: Page, alice: str
) -> None:
    belfry.publish({"to": alice, "title": "first"})
    dist = build(unpacked, "ssr", belfry)
    vite = ("node", TOOLS / "vite/bin/vite.js", "build", "--ssr", "src/server.tsx", "--outDir", "server")
    run(*vite, folder=dist.parent, VITE_BELFRY_URL=belfry.url)
    script = 'import("./server/server.js").then(({ render }) => console.log(render()))'
    html = run("node", "-e", script, folder=dist.parent).strip()
    assert f'<belfry-feed server="{belfry.url}" token-url="/belfry-token"></belfry-feed>' in html
    (dist / "index.html").write_text((dist / "index.html").read_text().replace("<!--app-->", html))
    site.mint, site.folder = lambda: belfry.token(alice, "feed"), dist
    page.goto(site.url)
    expect(page.locator("li")).to_have_text(["first"])
    expect(page.locator("belfry-feed .badge")).to_have_text("1")
