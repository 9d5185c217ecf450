"""What the core costs: overhead on short tasks, CPU per no-op task by process, SQL and log bytes per task.

    python bench/core.py [--json] [--runs N]

Starts a hub and two nodes of two strangers as real processes (each node one slot, the strongest sandbox there is, FULL
sync) and a driver in this process. Prints medians. Nothing is answered from memory: every run has another seed.
"""

import argparse
import json
import os
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import talkoot

TALKOOT = [sys.executable, "-m", "talkoot.cli.main"]
TICK = os.sysconf("SC_CLK_TCK")


def no_op(x):
    return x


def ten_ms(x):
    import time

    end = time.perf_counter() + 0.010
    while time.perf_counter() < end:
        pass
    return x


def start(arguments, home):
    environment = {**os.environ, "TALKOOT_HOME": str(home), "TALKOOT_PROGRESS": "0"}
    log = (home / "log").open("wb")
    return subprocess.Popen([*TALKOOT, *arguments], env=environment, stdout=log, stderr=subprocess.STDOUT)


def wait_for(home, pattern, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = re.search(pattern, (home / "log").read_text())
        if found:
            return found[0]
        time.sleep(0.05)
    raise SystemExit(f"no {pattern!r} within {seconds} s:\n{(home / 'log').read_text()}")


def cpu_s(pid):
    """User and system seconds of one process (the agents' workers are their own processes, and not counted)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return sum(map(int, fields[11:13])) / TICK


def measure(hub, processes, function, count, seed, **options):
    before = {name: cpu_s(p.pid) for name, p in processes.items()}
    own, begun = time.process_time(), time.perf_counter()
    answered = sum(1 for _ in hub.map(function, range(count), seed=seed, **options))
    wall, client = time.perf_counter() - begun, time.process_time() - own
    assert answered == count
    spent = {name: cpu_s(p.pid) - before[name] for name, p in processes.items()}
    return wall, client, spent["hub"], spent["a"] + spent["b"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=5000)
    chosen = parser.parse_args()
    os.environ["TALKOOT_PROGRESS"] = "0"
    with tempfile.TemporaryDirectory() as folder:
        homes = {name: Path(folder, name) for name in ("hub", "a", "b")}
        processes = {}
        for home in homes.values():
            home.mkdir()
        try:
            processes["hub"] = start(["up", "--port", "0"], homes["hub"])
            wait_for(homes["hub"], r"talkoot1[a-z2-7]{50,}")
            os.environ["TALKOOT_HOME"] = str(homes["hub"])
            for name in "ab":
                ticket = json.loads(subprocess.check_output([*TALKOOT, "invite", "--json"]))["ticket"]
                processes[name] = start(["join", ticket, "--cpus", "1", "--name", name], homes[name])
            for name in "ab":
                wait_for(homes[name], "is lent to")
            result = figures(chosen, processes, homes["hub"] / "hub" / "hub.db")
        finally:
            for process in reversed(processes.values()):
                process.send_signal(signal.SIGTERM)
            for process in processes.values():
                process.wait(20)
    print(json.dumps(result, indent=None if chosen.json else 2))


def figures(chosen, processes, database):
    result = {"machine": f"{os.cpu_count()} cores", "runs": chosen.runs}
    trust, quorum = talkoot.trust(), talkoot.quorum(2)
    with talkoot.connect() as hub:
        measure(hub, processes, no_op, 200, 10**6)
        ideal_s = 1000 * 0.010 / 2
        walls = [measure(hub, processes, ten_ms, 1000, run, verify=trust)[0] for run in range(chosen.runs)]
        result["thousand_tasks_of_10_ms_s"] = round(statistics.median(walls), 3)
        result["overhead_beyond_ideal"] = round(statistics.median(walls) / ideal_s - 1, 4)
        for name, verify in (("trust", trust), ("quorum2", quorum)):
            rows = [measure(hub, processes, no_op, chosen.tasks, 100 + run, verify=verify) for run in range(chosen.runs)]
            wall, client, hub_s, nodes = (statistics.median(column) for column in zip(*rows, strict=True))
            per = 1e6 / chosen.tasks
            result[name] = {
                "tasks_per_s": round(chosen.tasks / wall),
                "client_us": round(client * per),
                "hub_us": round(hub_s * per),
                "agents_us": round(nodes * per),
            }
        single, latencies = hub.options(verify=trust, seed=7), []
        for i in range(200):
            begun = time.perf_counter()
            single.submit(no_op, i).result()
            latencies.append((time.perf_counter() - begun) * 1e3)
        result["submit_to_answer_ms"] = {
            "p50": round(statistics.median(latencies), 2),
            "p99": round(statistics.quantiles(latencies, n=100)[98], 2),
        }
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    ((log, tasks),) = db.execute(
        "SELECT (SELECT sum(length(public) + length(salt) + length(payload) + length(leaf)) FROM log), count(*) FROM tasks"
    )
    result["log_bytes_per_task"] = round(log / tasks)
    result["database_bytes_per_task"] = round(database.stat().st_size / tasks)
    db.close()
    return result


if __name__ == "__main__":
    main()
