"""What is known of a model without loading it: its `config.json`, the size of its weights.

Looked up in a directory, in Hugging Face's cache, and for the config among the `shapes` that come
along and on the hub itself; whatever
cannot be had there is None, never an error.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from runner.engine.shapes import SHAPES

HUB_TIMEOUT_S = 5.0
"""Longest wait for the hub: an estimate is not worth more."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def read_config(path: str) -> Mapping[str, Any] | None:
    """The `config.json` of a model, given as a directory or a hub id; None if it cannot be had.

    Of models that come along as configurations, what is known of it: some may be read by those only
    who have agreed to a licence.
    """
    for folder in _folders(path):
        if (folder / "config.json").is_file():
            return _read(folder / "config.json")
    if path in SHAPES and not Path(path).exists():
        return SHAPES[path]
    return _from_hub(path) if _HUB_ID.fullmatch(path) and not Path(path).exists() else None


def read_weight_bytes(path: str) -> int | None:
    """Bytes of a model's weights, if they lie on this machine."""
    for folder in _folders(path):
        index = _read(folder / "model.safetensors.index.json") or {}
        total = index.get("metadata", {}).get("total_size")
        if total:
            return int(total)
        files = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        if files:
            return files
    return None


def _folders(path: str) -> list[Path]:
    """Where the model's files may lie on this machine; the newest snapshot of the cache first."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        return [folder]
    if not _HUB_ID.fullmatch(path):
        return []
    snapshots = _hub_cache() / f"models--{path.replace('/', '--')}" / "snapshots"
    return sorted(snapshots.glob("*"), key=lambda one: one.stat().st_mtime, reverse=True)


def _hub_cache() -> Path:
    given = os.environ.get("HF_HUB_CACHE")
    return Path(given) if given else _hub_home() / "hub"


def _hub_home() -> Path:
    given = os.environ.get("HF_HOME")
    return Path(given or "~/.cache/huggingface").expanduser()


def _from_hub(hub_id: str) -> Mapping[str, Any] | None:
    """Fetched with the user's own token, if the hub answers at once.

    Not by `huggingface_hub`: it tries an unreachable hub six times, for half a minute.
    """
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("", "0", "false", "no"):
        return None
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        request = Request(f"{hub.rstrip('/')}/{hub_id}/resolve/main/config.json")
        if token := _token():  # Unredirected: meant for the hub, not for where it points.
            request.add_unredirected_header("Authorization", f"Bearer {token}")
        with urlopen(request, timeout=HUB_TIMEOUT_S) as response:
            content = json.load(response)
    except (OSError, ValueError, HTTPException):  # Unreachable, gated, or no such model.
        return None
    return content if isinstance(content, dict) else None


def _token() -> str:
    if given := os.environ.get("HF_TOKEN"):
        return given
    file = _hub_home() / "token"
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


def _read(file: Path) -> Mapping[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
