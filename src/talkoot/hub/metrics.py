"""A few counters and gauges of a running hub, in the text format of Prometheus."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from talkoot.hub.offers import Query
from talkoot.hub.service import Service

MEDIA_TYPE: Final = CONTENT_TYPE_LATEST
_STATES: Final = ("waiting", "queued", "running", "provisional", "disputed")


async def text(service: Service, requests: Mapping[tuple[str, str], int]) -> bytes:
    """All of it, as of now."""
    facts = await service.read(_facts)
    counts = service.writer.counts
    gauges = facts | {
        "talkoot_write_queue_commands": service.writer.waiting,
        "talkoot_parked_requests": len(service.waiting),
    }
    totals = {
        "talkoot_commands": counts.commands,
        "talkoot_commands_refused": counts.refused,
        "talkoot_commits": counts.groups,
        "talkoot_commit_seconds": counts.busy_s,
    }
    registry = CollectorRegistry()
    registry.register(_Told(gauges, totals, requests))
    return generate_latest(registry)


def _facts(query: Query) -> dict[str, float]:
    live = "SELECT {} FROM jobs WHERE state IN ('open', 'sealed')"
    sums = ", ".join(f"coalesce(sum({state}), 0)" for state in _STATES)
    tasks = query(live.format(sums))[0]
    return {
        "talkoot_log_entries": query("SELECT coalesce(max(position), 0) FROM log")[0][0],
        "talkoot_nodes_present": query("SELECT count(*) FROM nodes WHERE state = 'present'")[0][0],
        "talkoot_jobs_live": query(live.format("count(*)"))[0][0],
        **{f"talkoot_tasks_{state}": count for state, count in zip(_STATES, tasks, strict=True)},
    }


class _Told(Collector):
    def __init__(self, gauges: Mapping[str, float], totals: Mapping[str, float], requests: Mapping[tuple[str, str], int]) -> None:
        self._gauges, self._totals, self._requests = gauges, totals, requests

    def collect(self) -> Iterable[Metric]:
        for name, value in self._gauges.items():
            yield GaugeMetricFamily(name, name.removeprefix("talkoot_").replace("_", " "), value)
        for name, value in self._totals.items():
            yield CounterMetricFamily(name, name.removeprefix("talkoot_").replace("_", " "), value)
        family = CounterMetricFamily("talkoot_requests", "requests answered", labels=["path", "outcome"])
        for labels, value in self._requests.items():
            family.add_metric(labels, value)
        yield family
