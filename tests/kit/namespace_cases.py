"""Tries the whole corpus of targets inside a namespace and prints what came of it, as JSON.

`unshare -Urnm python -m tests.kit.namespace_cases`
"""

import asyncio
import json
import os
import socket
import sys
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities._gmail import GmailProvider
from activities._models import request as ask_model
from activities._questions import Choice, Endpoint, ModelFault, Question
from activities._ssrf import is_public
from activities.errors import ActionError
from activities.registry import load
from activities.services import Services
from activities.vault import Connection, Vault
from tests.kit.namespace import OWN_IPV6, RESOLVER, WEB, Names, Sniffer, World, build
from tests.kit.targets import HOSTILE_URLS, INTERNAL, METADATA, PUBLIC

HOME = "93.184.216.34"
REDIRECT_CODES = (301, 302, 303, 307, 308)
REDIRECT_TARGETS = (
    "http://127.0.0.1/",
    "http://[::1]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://10.0.0.1/",
    "http://2130706433/",
    "http://mixed4.test/",
    "http://[::ffff:169.254.169.254]/",
)
REBINDS = 6
# Each list is one answer of the name server, the last one for ever.
ZONE = {
    "rebind.test": [[HOME], ["127.0.0.1"]],
    "unguarded.test": [[HOME], ["127.0.0.1"]],
    "rebind6.test": [["2606:4700:4700::1111"], ["::1"]],
    "mixed4.test": [[HOME, "10.0.0.1"]],
    "mixed6.test": [[HOME, "::1"]],
    "mixedlast.test": [[HOME, "8.8.8.8", "1.1.1.1", "169.254.169.254"]],
    "mapped.test": [["::ffff:169.254.169.254"]],
    "metadata.test": [["169.254.169.254"]],
    "local.test": [["127.0.0.1", "::1"]],
    "ula.test": [["fd00:ec2::254"]],
    **{f"good{n}.test": [[one]] for n, one in enumerate(("1.1.1.1", "8.8.8.8", "11.0.0.1"))},
    "both.test": [[HOME, "2606:4700:4700::1111"]],
}
REFUSED_NAMES = ("mixed4", "mixed6", "mixedlast", "mapped", "metadata", "local", "ula")
# Not the ones that are IPv4 written as NAT64: nobody answers those here as the host they mean.
LEGITIMATE = [one for one in PUBLIC if not one.startswith("64:")]
CONTROLS = ("169.254.169.254", "10.0.0.1", "::1", "fd00:ec2::254", "127.0.0.1")


def literal(address: str) -> str:
    """Write an address as the host of a URL."""
    return f"[{address}]" if ":" in address else address


class GivenVault(Vault):
    """Connections that a test names by their URL; there is no database in a namespace."""

    async def connection(self, workspace: str, name: str, *kinds: str) -> Connection:
        url = f"http://{bytes.fromhex(name).decode()}/"
        secret = "whsec_" + "a2" * 16
        return Connection(name, kinds[0], {"url": url}, {"secret": secret})


class Cases:
    """Runs actions as a worker does, and counts what they came to."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._functions = {
            getattr(function, "__temporal_activity_definition").name: function
            for function in load().activities(services)
        }
        self.counts: Counter[str] = Counter()
        self.codes: dict[str, Counter[str]] = {}
        self.passed: list[str] = []

    async def refused(self, group: str, name: str, params: dict[str, Any]) -> None:
        """Run an action that must be refused."""
        self.counts[group] += 1
        code = await self.run(name, params)
        self.codes.setdefault(group, Counter())[code] += 1
        if code not in ("FORBIDDEN", "INVALID_INPUT", "HTTP_ERROR"):
            self.passed.append(f"{group}: {params} gave {code}")

    async def run(self, name: str, params: dict[str, Any]) -> str:
        """Give the code of an action's failure, or OK."""
        environment = ActivityEnvironment()
        environment.info = replace(
            ActivityEnvironment.default_info(), start_to_close_timeout=timedelta(seconds=5)
        )
        step = {"workspace": "w", "definition": "d", "run_id": "r", "path": "p"}
        try:
            await environment.run(self._functions[name], params, step)
        except ApplicationError as error:
            return str(error.type)
        return "OK"


async def http_cases(cases: Cases) -> None:
    """Try addresses, URL forms, redirects and names with the http action."""
    addresses = [one for one in METADATA + INTERNAL if "%" not in one]
    for address in addresses:
        url = f"http://{literal(address)}/"
        await cases.refused("addresses", "http", {"url": url})
    for form in HOSTILE_URLS:
        await cases.refused("url_forms", "http", {"url": form.format(port=WEB)})
    for code in REDIRECT_CODES:
        for target in REDIRECT_TARGETS:
            url = f"http://{HOME}/redirect/{code}/{target.encode().hex()}"
            given = {"url": url, "follow_redirects": True, "method": "POST", "body": "x"}
            await cases.refused("redirects", "http", given)
    for name in REFUSED_NAMES:
        await cases.refused("names", "http", {"url": f"http://{name}.test/"})
    for name in ("rebind.test", "rebind6.test"):
        cases.counts["rebinds"] += REBINDS
        codes = [await cases.run("http", {"url": f"http://{name}/"}) for _ in range(REBINDS)]
        if codes != ["OK"] + ["FORBIDDEN"] * (REBINDS - 1):
            cases.passed.append(f"{name} gave {codes}")


async def other_cases(cases: Cases) -> None:
    """Try what else sends requests: webhooks, MCP servers, models, tokens, mail servers."""
    hosts = [literal(one) for one in (*CONTROLS, "::ffff:169.254.169.254", "mixed4.test")]
    client, services = cases.services.ai_http, cases.services
    for host in hosts:
        url = f"http://{host}/v1"
        hook = {"connection": host.encode().hex(), "event": "a", "data": {}}
        await cases.refused("webhooks", "webhook", hook)
        await cases.refused("mcp", "mcp", {"url": url, "tool": "t", "arguments": {}})
        for provider in ("openai", "anthropic", "google"):
            cases.counts["models"] += 1
            endpoint = Endpoint(provider, "m", "c", base_url=url, api_key="key-of-a-model")
            question = Question((Choice("m"),), [{"role": "user", "content": "hi"}])
            try:
                await ask_model(endpoint, client, question, 5)
                cases.passed.append(f"{provider} at {url} answered")
            except (ActionError, ModelFault):
                pass
        cases.counts["tokens"] += 1
        config = {"user": "a@example.com", "client_id": "c", "token_url": url}
        secrets = {"client_secret": "secret", "refresh_token": "token"}
        try:
            await GmailProvider(Connection("g", "gmail", config, secrets), services.http).token()
            cases.passed.append(f"a token at {url}")
        except ActionError:
            pass
        for port in (25, 587, 993):
            cases.counts["mail"] += 1
            try:
                (await services.mail_targets.connect(host.strip("[]"), port, 5)).close()
                cases.passed.append(f"a mail server at {host}:{port}")
            except ActionError:
                pass


async def legitimate(cases: Cases) -> int:
    """Try public targets; gives how many answered."""
    urls = [f"http://{literal(one)}/" for one in LEGITIMATE]
    urls += [f"http://{name}/" for name in ZONE if name.startswith(("good", "both"))]
    codes = [await cases.run("http", {"url": url}) for url in urls]
    bad = [url for url, code in zip(urls, codes, strict=True) if code != "OK"]
    cases.passed += [f"{url} was refused" for url in bad]
    return len(urls) - len(bad)


def naive(url: str) -> bool:
    """Fetch as a client without a guard does."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(url, timeout=2).read() == b"reached"
    except OSError:
        return False


def checked_first(name: str) -> bool:
    """Fetch as a client does that judges a name, and then lets the library resolve it again."""
    answers = {str(one[4][0]) for one in socket.getaddrinfo(name, WEB, type=socket.SOCK_STREAM)}
    return all(is_public(ip_address(one)) for one in answers) and naive(f"http://{name}/")


async def main() -> dict[str, Any]:
    """Run everything; the control comes last, and is counted apart."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        os.environ[name] = f"http://10.0.0.1:{WEB}"
    services = Services()
    services.__dict__["vault"] = GivenVault(None, None)
    cases = Cases(services)
    allowed = {HOME, RESOLVER, OWN_IPV6, *LEGITIMATE, "2606:4700:4700::1111"}
    async with World() as world, Names(ZONE) as names:
        with Sniffer(allowed) as guarded:
            await http_cases(cases)
            await other_cases(cases)
            good = await legitimate(cases)
        outside = {one: n for one, n in world.reached.items() if one not in allowed}
        with Sniffer(allowed) as control:
            for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                os.environ.pop(proxy, None)
            urls = [f"http://{literal(one)}/" for one in (*METADATA, *INTERNAL) if "%" not in one]
            with ThreadPoolExecutor(32) as pool:
                loop = asyncio.get_running_loop()
                tries = [loop.run_in_executor(pool, naive, url) for url in urls]
                fetched = await asyncio.gather(*tries)
            before = world.reached["127.0.0.1"]
            rebound = await asyncio.to_thread(checked_first, "unguarded.test")
            rebound = rebound and world.reached["127.0.0.1"] > before
        reached = set(world.reached) - set(outside)
    await services.aclose()
    return {
        "counts": dict(cases.counts),
        "codes": cases.codes,
        "passed": cases.passed,
        "packets": dict(guarded.packets),
        "dropped": guarded.dropped + control.dropped,
        "connections": outside,
        "legitimate": good,
        "asked": sum(names.asked.values()),
        "control": {
            "fetched": sum(fetched),
            "of": len(urls),
            "packets": sum(control.packets.values()),
            "sinks": sorted(set(CONTROLS) & reached),
            "rebound": rebound,
        },
    }


if __name__ == "__main__":
    build()
    sys.stdout.write(json.dumps(asyncio.run(main())))
