"""The recorder's room: table schemas, durable segments, the manifest, the lease, the journal."""

from runner.record import manifest
from runner.record.journal import Steps
from runner.record.lease import Lease, LeaseLost, acquire, check_writable
from runner.record.manifest import Attempt, Manifest, compare
from runner.record.memory import plain_memory
from runner.record.packed import Packed, pack
from runner.record.prompts import full_texts, rebuild
from runner.record.recorder import NotWritten, Recorder
from runner.record.schema import EPISODES, SEATS, SERVERS, STEPS, TABLES
from runner.record.segments import check_ends, read
from runner.record.storage import Storage, storage_at

__all__ = [
    "EPISODES",
    "SEATS",
    "SERVERS",
    "STEPS",
    "TABLES",
    "Attempt",
    "Lease",
    "LeaseLost",
    "Manifest",
    "NotWritten",
    "Packed",
    "Recorder",
    "Steps",
    "Storage",
    "acquire",
    "check_ends",
    "check_writable",
    "compare",
    "full_texts",
    "manifest",
    "pack",
    "plain_memory",
    "read",
    "rebuild",
    "storage_at",
]
