"""The hub's pages: in a real browser where there is one, and as text everywhere."""

import http.client
import os
from pathlib import Path

import msgspec
import pytest

from talkoot.core.ids import job_text
from talkoot.core.types import Trust
from talkoot.hub import views
from talkoot.wire import messages as m

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


def get(hub, path):
    connection = http.client.HTTPConnection(*hub.address.removeprefix("http://").split(":"), timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()


@pytest.fixture
def busy(hub):
    """A hub with something to see."""
    a, b = hub.device("ada-laptop"), hub.device("babbage")
    first = hub.operator.submit(range(40), name="pi digits")
    while a.work(16) + b.work(16):
        pass
    hub.partly = hub.operator.submit(range(300), name="<script>alert(1)</script>", seed=2)
    a.work(60)
    b.work(30)
    a.take(9)
    old = hub.device("old-box")
    old.description = msgspec.structs.replace(old.description, python="3.9")
    old.exchange()
    hub.waiting = hub.operator.submit(range(5), seed=1, name="needs a giant", task_limits=big())
    hub.first = first
    return hub


def big():
    from talkoot.core.types import TaskLimits

    return TaskLimits(memory_bytes=2**40, time_s=10)


def test_the_first_page_shows_jobs_nodes_accounts_and_the_log(busy):
    status, text = get(busy, "/")
    assert status == 200
    for words in ("pi digits", "ada-laptop", "babbage", "treasury", "Signed checkpoint", "it lends 2,048 MiB of memory"):
        assert words in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert 'style="' not in text  # the policy would drop it


def test_a_job_page_works_without_javascript(busy):
    path = f"/jobs/{job_text(busy.first)}"
    status, text = get(busy, path + "?task=3")
    assert status == 200
    assert "the answer is final" in text
    assert text.count('class="cell s-final"') == 40
    assert get(busy, path + "/tasks/3")[0] == 200


@pytest.mark.parametrize("path", ["/jobs/nonsense", "/jobs/job_aaaaaaaaaaaaaaaaaaaaaaaaaa", "/jobs/job_/tasks/1"])
def test_a_page_that_is_not_there_says_so(steady, path):
    status, text = get(steady, path)
    assert status == 404
    assert "Not there" in text


def test_nothing_leads_out_of_the_folder_of_static_files(steady):
    for path in ("/static/../serve.py", "/static/%2e%2e/serve.py", "/static//etc/passwd"):
        assert get(steady, path)[0] == 404
    assert get(steady, "/static/vendor/htmx.min.js")[0] == 200


def test_a_convicted_node_is_shown_with_the_evidence(hub, monkeypatch):
    hub.device("liar")
    row = views.nodes(lambda *_: [(1, b"", "liar", "eve", "convicted", 0, b"", 0, 5, 2, 3, 0, "task 3: it answered x")])[0]
    monkeypatch.setattr(views, "nodes", lambda query: (row,))
    text = get(hub, "/")[1]
    assert "Convicted:</b> task 3: it answered x" in text


@pytest.fixture
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser at {CHROMIUM}")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


def watched(page):
    """Everything that the page complains of."""
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


def test_the_pages_live_in_a_browser(busy, browser):
    shots = os.environ.get("TALKOOT_SCREENSHOTS", "")

    def shoot(page, name):
        if shots:
            page.screenshot(path=f"{shots}/{name}.png", full_page=True)

    page = browser.new_page(viewport={"width": 1200, "height": 900})
    complaints = watched(page)
    page.goto(busy.address + "/")
    assert page.locator(".jobs .card").count() == 3
    shoot(page, "hub")
    busy.operator.submit(range(3), name="a newcomer", verifier=Trust())
    page.get_by_role("link", name="a newcomer").wait_for(timeout=10_000)  # fetched by htmx, without a reload
    page.get_by_role("link", name="<script>alert(1)</script>").click()
    page.locator(".cell").first.wait_for()
    assert page.locator(".cell").count() == 200
    page.locator(".cell").nth(2).click()
    page.locator("#story li").first.wait_for()
    assert "Task 2" in page.locator("#story h2").inner_text()
    assert page.url.endswith(job_text(busy.partly))  # shown in place
    with page.expect_response(lambda response: response.url.endswith("/fragment"), timeout=10_000):
        pass
    assert "Task 2" in page.locator("#story h2").inner_text()  # the refresh leaves it alone
    shoot(page, "job")
    assert complaints == []
    page.close()


def test_the_pages_fit_a_phone_in_the_dark(busy, browser):
    shots = os.environ.get("TALKOOT_SCREENSHOTS", "")
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    complaints = watched(page)
    for name, path in (("phone-hub", "/"), ("phone-job", f"/jobs/{job_text(busy.partly)}?task=1")):
        page.goto(busy.address + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        if shots:
            page.screenshot(path=f"{shots}/{name}.png", full_page=True)
    assert complaints == []
    page.close()


def test_a_job_is_seen_by_its_project_only_over_the_api(busy):
    outsider = busy.member("contributor")
    assert len(outsider.call("/v1/view/jobs", m.ViewJobs(), m.JobRows).jobs) == 3
