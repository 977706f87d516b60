"""Addresses of files: what identifies one may be shown and written down; passwords and query strings, which may hold a key, may not."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

PROTOCOL = r"(?<![A-Za-z0-9+.-])[A-Za-z0-9+.-]++"
"""Also what stands before one without a space; it begins where such signs begin, so that long texts are read once."""
SLASHES = r"(?:\\*/){2}"
"""As they are, and as JSON may escape them."""
NAMED = r"(?:(?:[A-Za-z\d][\w-]*\.)+(?:[A-Za-z]{2,}|\d{1,3})|localhost|\[[\da-fA-F:.]+\])"
"""A server that nobody takes for a user: with a dot in its name, or a number."""
PASSWORD = rf"(?!{NAMED}:\d{{1,5}}[\\/?#])[^\s/?#\"<>:\[]*:(?:(?!:{SLASHES})(?:[^\s\"'<>]|[\"'](?![\s,:;)\]}}>]|$)))*"
"""A user and a password in which anything may stand, also what should have been encoded; a port and a path with "@" are none."""
ADDRESS = re.compile(
    rf"(?P<protocol>{PROTOCOL}:{SLASHES})"
    rf"(?P<user>[^\s/?#\"<>]*@(?={NAMED}(?::\d+)?(?:[^\w.:@-]|$))|{PASSWORD}@|[^\s/?#\"<>]*@|{PASSWORD}%40)?"
    rf"(?P<place>(?:(?!::{PROTOCOL}:{SLASHES}|;[\w-]+=)[^\s?#\"'<>])*)"
    r"(?P<query>(?:[?#]|;(?=[\w-]+=))(?:[^\s\"'<>]|['\"](?=[\w%&=-]))*?(?=[:,.;)\]}]*(?:[\s<>]|['\"](?![\w%&=-])|$)))?"
)
TIMES = 8
"""How often an address may be encoded."""
ENCODED = re.compile(
    rf"{PROTOCOL}(?!://)(?:%(?:25){{0,{TIMES}}}3A|:)(?:%(?:25){{0,{TIMES}}}2F|/){{2}}[^\s\"'<>&]*[^\s\"'<>&,.;:)\]}}]",
    re.IGNORECASE,
)
"""An address whose signs were written as numbers, maybe several times over, as in the query of another one."""
MAYBE = re.compile(r":\\*/|:%(?:25)*2F|%(?:25)*3A", re.IGNORECASE)
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
    """Cut passwords and query strings from all addresses in a text; where it is not clear what belongs to a password, more is cut."""
    if not MAYBE.search(text):
        return text
    return ADDRESS.sub(lambda found: f"{found['protocol']}{found['place']}", ENCODED.sub(_recoded, text))


def _recoded(found: re.Match[str]) -> str:
    """Cut the same from an address that is encoded, and encode it again; one without secrets stays as it is."""
    text, times = found[0], 0
    while "://" not in text and times <= TIMES:
        text, times = unquote(text), times + 1
    cut = shown(text)
    if cut == text:
        return found[0]
    for _ in range(times):
        cut = quote(cut, safe="")
    return cut


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
