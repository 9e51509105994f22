"""Why an HTTP request got no answer, in the words of the operating system."""

from __future__ import annotations

import os

import aiohttp


def reason(error: aiohttp.ClientError | TimeoutError) -> str:
    """`Connection refused` rather than the name of an exception."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno or 0
        return os.strerror(number) if number > 0 else str(error.os_error.strerror)
    return str(error) or type(error).__name__
