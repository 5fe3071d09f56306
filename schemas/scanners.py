"""Tells people from machines among those who ask for a mail's pixel and links."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

# A scanner at the recipient's server looks at a mail before its recipient can.
TOO_SOON = timedelta(seconds=1.5)
_PREFETCH = ("purpose", "sec-purpose", "x-purpose", "x-moz")
_AHEAD = re.compile(r"prefetch|prerender|preview|instant", re.IGNORECASE)
# Apple's Mail Privacy Protection fetches every image ahead, under this name and no more.
_APPLE = re.compile(r"Mozilla/5\.0")
# Security gateways, link previews, crawlers, and programs that are no browser.
_SCANNER = re.compile(
    r"bot\b|bot/|crawl|spider|slurp|scan|preview|monitor|validator|checker|fetcher|safelinks"
    r"|barracuda|proofpoint|mimecast|messagelabs|symantec|fireeye|trend ?micro|sophos|forcepoint"
    r"|cloudmark|ironport|trustwave|bitdefender|kaspersky|avast|zscaler|fortinet|checkpoint"
    r"|protocol discovery|existence discovery|skypeuripreview|facebookexternalhit|whatsapp"
    r"|headless|phantomjs|selenium|playwright|puppeteer"
    r"|^python|^curl|^wget|^java/|^go-http-client|^okhttp|^axios|^node|^ruby|^perl|^libwww|^php"
    r"|^apache-httpclient|^aiohttp|httpx|^dart|^got ",
    re.IGNORECASE,
)


def why_bot(
    method: str, headers: Mapping[str, str], *, at: datetime, sent_at: datetime | None
) -> str | None:
    """Say why a request does not count; None for one that does.

    `headers` has lower-case names. `sent_at` is when the mail left, None where that is not known.
    The image proxies of Gmail and Yahoo count: they ask when the mail is opened.
    """
    if method == "HEAD":
        return "head"
    if any(_AHEAD.search(headers.get(name, "")) for name in _PREFETCH):
        return "prefetch"
    if sent_at is None or at - sent_at < TOO_SOON:
        return "too_soon"
    agent = headers.get("user-agent", "").strip()
    if _APPLE.fullmatch(agent):
        return "apple_mpp"
    if not agent or _SCANNER.search(agent):
        return "scanner"
    return None
