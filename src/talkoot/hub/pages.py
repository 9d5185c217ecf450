"""The hub's pages: to be read in a browser on this machine. No forms, no scripts of our own, no content of answers.

Every page works without JavaScript; with it, htmx fetches the parts that change every few seconds. Widths of bars are
attributes of SVG shapes, because the content security policy allows no styles in the page.
"""

from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

import talkoot
from talkoot.core import confidence, pricing
from talkoot.core.errors import NotFound, TalkootError
from talkoot.core.ids import job_text, key_text, parse_job
from talkoot.crypto.checkpoint import open_checkpoint
from talkoot.hub import task_view, views
from talkoot.hub.offers import Query
from talkoot.hub.service import Service
from talkoot.wire import messages as m

JOBS_SHOWN: Final = 50
TASKS_SHOWN: Final = 200
BAR: Final = ("final", "provisional", "disputed", "running", "queued", "waiting", "failed", "cancelled")
"""States in the order in which a progress bar has them."""
_HERE: Final = Path(__file__).parent


def page_routes(service: Service) -> list[BaseRoute]:
    """The routes of all pages."""
    pages = _Pages(service)
    return [
        Route("/", pages.hub, methods=["GET"]),
        Route("/fragments/hub", pages.hub_fragment, methods=["GET"]),
        Route("/jobs/{job}", pages.job, methods=["GET"]),
        Route("/jobs/{job}/fragment", pages.job_fragment, methods=["GET"]),
        Route("/jobs/{job}/tasks/{index:int}", pages.task, methods=["GET"]),
        Mount("/static", StaticFiles(directory=_HERE / "static")),
    ]


class _Pages:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._templates = _environment()

    async def hub(self, request: Request) -> Response:
        return self._page("hub.html", await self._service.read(self._hub_facts))

    async def hub_fragment(self, request: Request) -> Response:
        return self._page("_hub.html", await self._service.read(self._hub_facts))

    async def job(self, request: Request) -> Response:
        index = request.query_params.get("task", "")
        chosen = int(index) if index.isascii() and index.isdigit() and len(index) < 12 else None
        return await self._show("job.html", request, lambda query, job: self._job_facts(query, job, chosen))

    async def job_fragment(self, request: Request) -> Response:
        return await self._show("_job.html", request, lambda query, job: self._job_facts(query, job, None))

    async def task(self, request: Request) -> Response:
        index = request.path_params["index"]
        return await self._show("_task.html", request, lambda query, job: _task_facts(query, job, index))

    async def _show(self, template: str, request: Request, facts: Any) -> Response:
        try:
            job = parse_job(request.path_params["job"])
            return self._page(template, await self._service.read(lambda query: facts(query, job)))
        except ValueError:
            return self._missing(NotFound("that is not the id of a job", hint="it begins with job_"))
        except NotFound as error:
            return self._missing(error)

    def _missing(self, error: TalkootError) -> Response:
        return self._page("missing.html", {"error": error, "hub": {"name": self._service.settings.name}}, 404)

    def _page(self, template: str, facts: dict[str, Any], status: int = 200) -> Response:
        html = self._templates.get_template(template).render(facts, version=talkoot.__version__)
        return Response(html, status, {"cache-control": "no-store"}, "text/html")

    def _hub_facts(self, query: Query) -> dict[str, Any]:
        service = self._service
        hub = views.hub(query, service.settings.name, talkoot.__version__, service.key, service.origin)
        head = open_checkpoint(hub.checkpoint, service.origin, service.hub)
        rows = views.jobs(query, views.ANYBODY, JOBS_SHOWN)
        return {
            "hub": hub,
            "jobs": rows,
            "root": head.root.hex(),
            "live": sum(not row.ended_ms for row in rows),
            "present": sum(node.state == "present" for node in hub.nodes),
        }

    def _job_facts(self, query: Query, job: bytes, chosen: int | None) -> dict[str, Any]:
        view = views.job(query, views.ANYBODY, m.ViewJob(job, TASKS_SHOWN))
        facts = {"view": view, "hub": {"name": self._service.settings.name}, "task": None}
        return facts if chosen is None else facts | _task_facts(query, job, chosen)


def _task_facts(query: Query, job: bytes, index: int) -> dict[str, Any]:
    return {"task": task_view.task(query, views.ANYBODY, m.ViewTask(job, index))}


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "credits": pricing.credits_text,
        "job_text": job_text,
        "key_text": key_text,
        "ppm": confidence.text,
        "clock": views.clock_text,
        "bar": bar,
        "number": lambda value: f"{value:,}",
        "mib": lambda size: f"{size / 2**20:,.0f} MiB",
    }
    return environment


def bar(progress: m.Progress) -> list[tuple[str, int, str, str]]:
    """(state, count, start, width) of the parts of a progress bar that are not empty; lengths in percent."""
    parts, start = [], 0.0
    for state in BAR:
        count = getattr(progress, state)
        if count:
            width = 100 * count / progress.total
            parts.append((state, count, f"{start:.3f}%", f"{width:.3f}%"))
            start += width
    return parts
