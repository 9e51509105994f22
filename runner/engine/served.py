"""An engine that is one server process of its own: what all of these do alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from runner.config import ModelConfig
from runner.engine.base import Endpoint, EngineStats, Place
from runner.engine.process import Command
from runner.engine.server import HttpServer, ServerKnobs

Knobs = TypeVar("Knobs", bound=ServerKnobs)


class ServedEngine(ABC, Generic[Knobs]):
    """Fulfils `Engine`; a kind of server adds its command line, its slots and its load signals."""

    name: ClassVar[str]
    n_ports: ClassVar[int] = 1
    """Ports that the command gets; the first is for HTTP."""

    def __init__(
        self,
        config: Knobs,
        model: ModelConfig,
        *,
        log_path: Path,
        place: Place = Place(),  # noqa: B008  # frozen
        bind: str | None = None,
    ) -> None:
        """`bind` is the address to listen on where it is not that of `place`."""
        self._config = config
        self._model = model
        self._place = place
        self._server = HttpServer(
            self.name,
            self._command,
            config,
            host=place.host,
            bind=bind,
            log_path=log_path,
            health=None if place.rank else "/health",
            n_ports=self.n_ports,
        )

    @property
    def pid(self) -> int | None:
        """Pid of the server process, once it was started."""
        return self._server.pid

    @property
    def shown(self) -> str:
        """The command line, as it would run on the first port of the range."""
        first = self._config.port_range[0]
        return self._command([first + i for i in range(self.n_ports)], "***").shown

    async def start(self) -> Endpoint:
        """Prepare, start the server and wait until it is healthy."""
        await self._prepare()
        await self._server.start()
        try:
            return await self._endpoint()
        except BaseException:
            await self.stop()
            raise

    @abstractmethod
    async def stats(self) -> EngineStats:
        """Load now; rates since an earlier call."""

    async def stop(self) -> None:
        """End the process with all it started."""
        await self._server.stop()

    async def _prepare(self) -> None:
        """What must be done before each start, in the process that owns the server."""
        return

    @abstractmethod
    async def _endpoint(self) -> Endpoint:
        """Where the server, which is healthy now, answers."""

    @abstractmethod
    def _command(self, ports: Sequence[int], api_key: str) -> Command:
        """What to run; called anew when a port turns out to be taken."""

    def _answers(
        self,
        slots: int,
        *,
        llguidance: bool = False,
        meta_info: bool = False,
        sessions: bool = False,
    ) -> Endpoint:
        return Endpoint(
            url=f"{self._server.url}/v1",
            model=self._model.name,
            api_key=self._server.api_key,
            slots=slots,
            llguidance=llguidance,
            meta_info=meta_info,
            sessions=sessions,
        )
