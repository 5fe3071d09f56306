"""Every metric that dashboards and alerts ask for is one that a running API or worker exports."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dev.mailbox import Mailbox
from dev.ports import any_port
from tests.integration.deploy.children import Children
from tests.integration.deploy.compose import ROOT

KEY = "key-of-the-scraped-api"
DEFINITIONS = {
    "observed": """
name: observed
input: {type: object, required: [email], properties: {email: {type: string}}}
steps:
  - {id: hello, type: email, with: {to: "{{ input.email }}", subject: Hello, text: observed}}
  - {id: rest, type: delay, for: 1s}
""",
    "observed-failing": """
name: observed-failing
steps:
  - {id: call, type: http, retry: {attempts: 1}, with: {url: "http://127.0.0.1:9/"}}
""",
}
PROMETHEUS = ROOT / "deploy/prometheus"
DASHBOARD = ROOT / "deploy/grafana/dashboards/sojourn.json"
# What Prometheus itself makes, with the labels that a series of ours gets from a scrape.
OWN = {"up": set[str](), "ALERTS": {"alertname", "alertstate"}}
SCRAPED = {"job", "instance"}
# Only exported while there are some: no run is blocked here.
RARE = {"sojourn_runs_blocked": {"workspace", "definition"}}
# Words of PromQL: what may stand before a bracket, and what joins.
WORDS = frozenset(("by", "and", "or", "unless", "on", "offset", "sum", "max", "min", "rate"))
WORDS |= {"absent", "vector", "histogram_quantile", "topk"}
NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"


class Query:
    """The metrics that a PromQL expression names, and the labels it wants of each."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.metrics: set[str] = set()
        self.selected: dict[str, set[str]] = defaultdict(set)
        self.grouped: set[str] = set()
        bare = re.sub(r"\[[^\]]*\]", "", text)
        for group in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", bare):
            self.grouped |= {name.strip() for name in group.split(",")} - {"le"}
        bare = re.sub(r"\b(by|on)\s*\([^)]*\)", r"\1", bare)
        for metric, inside in re.findall(rf"({NAME})\{{([^}}]*)\}}", bare):
            self.selected[metric] |= set(re.findall(rf"({NAME})\s*(?:=~|!~|!=|=)", inside))
        bare = re.sub(r"\{[^}]*\}", "", bare)
        bare = re.sub(r"\boffset\s+\w+", "", bare)
        self.metrics = set(re.findall(rf"(?<![\w.]){NAME}", bare)) - WORDS


def queries() -> Iterator[Query]:
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield Query(rule["expr"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield Query(target["expr"])


async def observe(children: Children, api: httpx2.AsyncClient, worker: str) -> dict[str, str]:
    """Run both definitions, then scrape both processes as the configuration says."""

    async def ready() -> bool:
        try:
            return (await api.get("/readyz")).status_code == 200
        except httpx2.TransportError:
            return False

    await children.until(ready, "the API is ready")
    for name, source in DEFINITIONS.items():
        stored = await api.post(
            "/api/v1/definitions?publish=true",
            content=source,
            headers={"Content-Type": "application/yaml"},
        )
        assert stored.status_code == 201, stored.text
        data = {"input": {"email": "ada@example.com"}} if name == "observed" else {}
        started = await api.post(f"/api/v1/definitions/{name}/runs", json=data)
        run = started.json()["id"]

        async def ended(run: str = run) -> bool:
            return (await api.get(f"/api/v1/runs/{run}")).json()["finished_at"] is not None

        await children.until(ended, f"{name} ends")
    assert (await api.get("/api/v1/runs/none")).status_code == 404
    paths = {job["job_name"]: job["metrics_path"] for job in jobs()}
    async with httpx2.AsyncClient() as anonymous:
        assert (await anonymous.get(f"{api.base_url}{paths['api']}")).status_code == 401
        pages = {
            "api": await api.get(paths["api"]),
            "worker": await anonymous.get(f"{worker}{paths['worker']}"),
        }
    assert {page.status_code for page in pages.values()} == {200}
    return {name: page.text for name, page in pages.items()}


def jobs() -> list[dict[str, Any]]:
    return yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]


def exported(pages: dict[str, str]) -> dict[str, set[str]]:
    """Names of samples and their labels, over all pages; each page must be Prometheus text."""
    found: dict[str, set[str]] = defaultdict(set)
    for page in pages.values():
        for family in text_string_to_metric_families(page):
            if family.name in RARE:
                found[family.name] |= RARE[family.name]
            for sample in family.samples:
                found[sample.name] |= set(sample.labels)
    return found


async def test_dashboards_and_alerts_ask_for_what_is_exported(
    temporal_address: str, database_url: str, smtp: Mailbox, tmp_path: Path
) -> None:
    children = Children(tmp_path)
    api_port, worker_port = any_port(), any_port()
    settings = {
        "DATABASE_URL": database_url,
        "TEMPORAL_ADDRESS": temporal_address,
        "SOJOURN_TASK_QUEUE": f"observed-{uuid4().hex[:8]}",
        "SMTP_URL": smtp.url,
        "SOJOURN_MAIL_FROM": "Sojourn <observed@example.com>",
    }
    [api_job] = [job for job in jobs() if job["job_name"] == "api"]
    headers = {"Authorization": f"{api_job['authorization']['type']} {KEY}"}
    try:
        children.start("api", **settings, SOJOURN_API_KEY=KEY, SOJOURN_PORT=str(api_port))
        children.start("worker", **settings, SOJOURN_METRICS_PORT=str(worker_port))
        base = f"http://127.0.0.1:{api_port}"
        async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=60) as api:
            pages = await observe(children, api, f"http://127.0.0.1:{worker_port}")
    finally:
        children.kill()
    series = {**exported(pages), **OWN}
    # The check is a real one.
    assert not Query("sum(sojourn_runs_lost)").metrics <= set(series)
    for query in queries():
        assert query.metrics, query.text
        assert query.metrics <= set(series), f"not exported: {query.text}"
        for metric, labels in query.selected.items():
            assert labels <= series[metric] | SCRAPED, f"{metric} of {query.text}"
        has = SCRAPED.union(*(series[metric] for metric in query.metrics))
        assert query.grouped <= has, query.text


def test_a_query_is_taken_apart() -> None:
    query = Query('a_total{x=~"1|2"} / sum by (y, le) (rate(b_bucket[5m] offset 5m)) > 0.05')
    assert query.metrics == {"a_total", "b_bucket"}
    assert query.selected == {"a_total": {"x"}}
    assert query.grouped == {"y"}


def test_every_alert_says_what_it_is_and_how_bad() -> None:
    [group] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(names) == len(set(names))
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description"}
    told = {test["alertname"] for test in _alert_tests()}
    assert {"SojournNoPollers", "SojournStartsStuck", "SojournWorkerDown"} <= told <= set(names)


def _alert_tests() -> Iterator[dict[str, Any]]:
    for test in yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]:
        yield from test.get("alert_rule_test", [])


def test_the_dashboard_is_provisioned_as_compose_mounts_it() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    provisioning = ROOT / "deploy/grafana/provisioning"
    [source] = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == source["uid"]
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    [provider] = yaml.safe_load((provisioning / "dashboards/sojourn.yaml").read_text())["providers"]
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home == Path(provider["options"]["path"], DASHBOARD.name)


@pytest.mark.parametrize("file", ["collector.yaml", "forward.yaml"])
def test_the_collector_uses_every_part_that_it_defines(file: str) -> None:
    content = yaml.safe_load((ROOT / "deploy/otel" / file).read_text())
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    given = compose["services"]["otel-collector"]["environment"]
    for kind in ("receivers", "processors", "exporters"):
        used = {
            name for pipe in content["service"]["pipelines"].values() for name in pipe.get(kind, [])
        }
        assert used == set(content[kind])
    variables = set(re.findall(r"\$\{env:(\w+)\}", (ROOT / "deploy/otel" / file).read_text()))
    assert variables <= set(given)
    scraped = content["receivers"].get("prometheus", {}).get("config", {}).get("scrape_configs", [])
    places = {job["job_name"]: job["dns_sd_configs"][0] for job in jobs()}
    for job in scraped:
        [place] = job["dns_sd_configs"]
        assert place.items() <= places[job["job_name"]].items()
