"""Values of a recipe's `cluster:` that are kept as text: amounts, times, words of job scripts; and secrets in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from dask.utils import parse_bytes, parse_timedelta

PLAIN = re.compile(r"[A-Za-z0-9_.,:|&*()\[\]!=@+/%~-]+")
"""What a name in the header of a job script may consist of; anything else could end the line or the word."""
SECRET = re.compile(r"[A-Z0-9_]*(?:SECRET|PASSWORD|PASSWD|TOKEN|ACCESS_KEY|API_KEY)[A-Z0-9_]*")


def secrets_in(data: object) -> Iterator[str]:
    """Yield the names in a recipe that look like variables with secrets: NAME=... in a text, or NAME: text.

    >>> list(secrets_in({"prologue": ["export AWS_SECRET_ACCESS_KEY=x"], "env": {"API_TOKEN": "y"}}))
    ['AWS_SECRET_ACCESS_KEY', 'API_TOKEN']
    """
    if isinstance(data, str):
        yield from (match[1] for match in re.finditer(rf"\b({SECRET.pattern})\s*=", data))
    elif isinstance(data, Mapping):
        for name, value in data.items():
            if isinstance(value, str) and SECRET.fullmatch(str(name)):
                yield str(name)
            yield from secrets_in(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from secrets_in(value)


def seconds_of_walltime(text: str) -> float:
    """Return the seconds of '2 h', 90:00 (minutes), 01:30:00 or 1-12:00:00 (a day and a half).

    >>> seconds_of_walltime("1-12:00:00") / 3600, seconds_of_walltime("90:00"), seconds_of_walltime("2 h")
    (36.0, 5400.0, 7200.0)
    """
    if match := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        total = float(seconds + 60 * (minutes + 60 * (hours + 24 * days)))
    else:
        total = float(parse_timedelta(time_text("walltime", text)))
    if total <= 0:
        raise ValueError(f"walltime is {text!r}: expected more than 0")
    return total


def bytes_text(name: str, text: str) -> str:
    """Return an amount of memory unchanged; raises ValueError if it is not one."""
    try:
        parse_bytes(text)
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}: expected an amount, e.g. 4 GiB") from error
    return text


def time_text(name: str, text: str) -> str:
    """Return a time unchanged; raises ValueError if it is not one."""
    try:
        parse_timedelta(text)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{name} is {text!r}: expected a time, e.g. '2 h' or '30 s'") from error
    return text


def seconds_text(text: str) -> float:
    """Return the seconds of a checked time."""
    return float(parse_timedelta(text))


def plain(value: str) -> str:
    """Return a word for a job script's header unchanged; raises ValueError if a shell could read more than a word."""
    if not PLAIN.fullmatch(value):
        raise ValueError(f"got {value!r}, expected letters, digits and -_.,:/|&*()[]=@+ only: it goes into a script")
    return value
