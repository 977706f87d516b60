"""Addresses of files: what identifies one may be shown and written down; passwords and query strings, which may hold a key, may not."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

ADDRESS = re.compile(
    r"(?P<protocol>\b[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s/?#\"<>]*@)?(?P<place>(?:(?!::[A-Za-z][A-Za-z0-9+.-]*://|;[\w-]+=)[^\s?#\"'<>])*)"
    r"(?P<query>(?:[?#]|;(?=[\w-]+=))(?:[^\s\"'<>]|['\"](?=[\w%&=-]))*?(?=[:,.;)\]}]*(?:[\s<>]|['\"](?![\w%&=-])|$)))?"
)
CREDENTIALS = re.compile(
    r"x-(amz|goog|oss|ms)-.*|.*(signature|token|secret|password|credential|expires|apikey|api_key|auth).*|sig|se|sp|sv|st|sr|spr|ske|sks|skt|skv|skoid|sktid"
    r"|key|key-pair-id|policy|awsaccesskeyid|googleaccessid|download",
    re.IGNORECASE,
)
"""Names in query strings that say who asks and until when, and not for which file."""


def is_remote(path: str) -> bool:
    """Whether a path is an address."""
    return "://" in path


def shown(text: str) -> str:
    """Cut passwords and query strings from all addresses in a text."""
    if "://" not in text:
        return text
    return ADDRESS.sub(lambda found: f"{found['protocol']}{found['place']}", text)


def cleaned(value: Any) -> Any:
    """Do the same in all texts of a nested table, names included."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {cleaned(name): cleaned(inner) for name, inner in value.items()}
    return [cleaned(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def identity(url: str) -> str:
    """Give what identifies the file of an address: a link that was signed again is the same one."""
    query = [
        (name, value)
        for name, value in parse_qsl(urlsplit(url).query, keep_blank_values=True)
        if not CREDENTIALS.fullmatch(name)
    ]
    return f"{shown(url)}?{urlencode(sorted(query))}" if query else shown(url)


def name(path: str) -> str:
    """Give the path of a file, or that in its address: what its ending is read from."""
    return urlsplit(path).path if is_remote(path) else path
