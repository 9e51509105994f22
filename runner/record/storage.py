"""Where a run directory lives: a local path or any pyarrow filesystem URI.

Invariant: a file is seen whole or not at all, and is on the disk when `put` returns.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import pyarrow as pa
from pyarrow import fs

from runner.errors import UsageError


class Storage(Protocol):
    """A directory of immutable files. Paths are relative, with "/". Failures are OSError."""

    @property
    def place(self) -> str:
        """How a person names this directory."""
        ...

    def put(self, path: str, data: Any) -> None:
        """Write bytes whole and durably, over what may be there; make directories as needed."""
        ...

    def get(self, path: str) -> pa.Buffer:
        """The bytes of a file. Raises FileNotFoundError."""
        ...

    def open(self, path: str) -> pa.NativeFile:
        """A file for reading at random. Raises FileNotFoundError."""
        ...

    def names(self, directory: str) -> list[str]:
        """The files in a directory, sorted, less hidden ones; none when it is not there."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file; no error when it is gone."""
        ...

    def move(self, path: str, to: str) -> None:
        """Rename a file."""
        ...

    def tidy(self, directory: str) -> None:
        """Remove what interrupted writes left in a directory, and the directory if it is empty."""
        ...


def storage_at(run_dir: str | Path | Storage) -> Storage:
    """The storage that a path or URI names; a storage names itself.

    Raises UsageError for an unknown kind of URI.
    """
    if not isinstance(run_dir, str | Path):
        return run_dir
    text = str(run_dir)
    if "://" not in text:
        return LocalStorage(text)
    try:
        filesystem, path = fs.FileSystem.from_uri(text)
    except (pa.ArrowException, ValueError, OSError, ImportError) as error:
        raise UsageError(
            f"run_dir={text} cannot be opened: {error}. Give a directory, or a URI such as "
            "s3://bucket/path or gs://bucket/path."
        ) from error
    if isinstance(filesystem, fs.LocalFileSystem):
        return LocalStorage(path)
    return RemoteStorage(filesystem, path, text)


class LocalStorage:
    """A directory of this machine or of a mounted network file system."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @property
    def place(self) -> str:
        return str(self.root)

    def put(self, path: str, data: Any) -> None:
        target = self.root / path
        self._make(target.parent)
        hidden = target.with_name(f".{target.name}.tmp")
        try:
            self._write(hidden, data)
            self._rename(hidden, target)
        except OSError:
            with contextlib.suppress(OSError):  # what ails the first may ail this too
                hidden.unlink(missing_ok=True)
            raise
        self._sync(target.parent)

    def get(self, path: str) -> pa.Buffer:
        return pa.py_buffer((self.root / path).read_bytes())

    def open(self, path: str) -> pa.NativeFile:
        return pa.OSFile(str(self.root / path))

    def names(self, directory: str) -> list[str]:
        try:
            found = os.listdir(self.root / directory)  # noqa: PTH208  names only, no stat
        except FileNotFoundError:
            return []
        return sorted(name for name in found if not name.startswith("."))

    def delete(self, path: str) -> None:
        self._unlink(self.root / path)

    def move(self, path: str, to: str) -> None:
        self._rename(self.root / path, self.root / to)
        self._sync((self.root / to).parent)

    def tidy(self, directory: str) -> None:
        folder = self.root / directory
        for left in folder.glob(".*.tmp"):
            self._unlink(left)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def _make(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        self._sync(folder.parent)

    def _write(self, path: Path, data: Any) -> None:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _rename(self, path: Path, to: Path) -> None:
        path.replace(to)

    def _unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def _sync(self, folder: Path) -> None:
        """Put a directory's names on the disk; without it a power cut can undo a rename."""
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


_PUTS_WHOLE = {"s3", "gcs", "abfs"}
"""Object stores show an object when its upload has ended, and never before."""


class RemoteStorage:
    """A directory of a pyarrow filesystem: an object store, HDFS and the like."""

    def __init__(self, filesystem: fs.FileSystem, root: str, place: str) -> None:
        self.filesystem = filesystem
        self.root = PurePosixPath(root)
        self.place = place

    def put(self, path: str, data: Any) -> None:
        if self.filesystem.type_name in _PUTS_WHOLE:
            self._write(path, data)
            return
        folder, name = path.rpartition("/")[::2]
        hidden = f"{folder}/.{name}.tmp" if folder else f".{name}.tmp"
        self.filesystem.create_dir(self._at(folder), recursive=True)
        self._write(hidden, data)
        self.filesystem.move(self._at(hidden), self._at(path))

    def get(self, path: str) -> pa.Buffer:
        with self.open(path) as file:
            return file.read_buffer()

    def open(self, path: str) -> pa.NativeFile:
        return self.filesystem.open_input_file(self._at(path))

    def names(self, directory: str) -> list[str]:
        found = self._infos(directory)
        return sorted(info.base_name for info in found if not info.base_name.startswith("."))

    def delete(self, path: str) -> None:
        try:
            self.filesystem.delete_file(self._at(path))
        except FileNotFoundError:
            return

    def move(self, path: str, to: str) -> None:
        self.filesystem.move(self._at(path), self._at(to))

    def tidy(self, directory: str) -> None:
        for info in self._infos(directory):
            if info.base_name.startswith(".") and info.base_name.endswith(".tmp"):
                self.filesystem.delete_file(info.path)

    def _infos(self, directory: str) -> list[Any]:
        selector = fs.FileSelector(self._at(directory), allow_not_found=True)
        return [info for info in self.filesystem.get_file_info(selector) if info.is_file]

    def _write(self, path: str, data: Any) -> None:
        # Closed only after the whole was written: closing completes an upload.
        stream = self.filesystem.open_output_stream(self._at(path))
        stream.write(data)
        stream.close()

    def _at(self, path: str) -> str:
        return str(self.root / path)
