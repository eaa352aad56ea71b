"""The demo's stage: each task gets a fresh environment, and the tool hosts work on the present one."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from examples.demo.environment import Environment, build_environment
from producers.home.home import Home, TenantHome
from producers.kafka.connection import Connection
from producers.tools import ToolFunction, collect_tools
from producers.tools.host import HostSettings, ToolHost
from producers.tools.registration import register_tool


class Stage:
    """The present environment of one suite. Tasks run one at a time; no call may run while `fresh` changes it."""

    def __init__(self, directory: Path, suite: str) -> None:
        self._directory, self._suite = directory, suite
        self._count = 0
        self.environment = self.fresh()

    def fresh(self) -> Environment:
        """Set a new environment with the same seed as every other, and return it."""
        self._count += 1
        self.environment = build_environment(self._directory / f"{self._suite}-{self._count:02d}", self._suite)
        return self.environment

    def tools(self) -> dict[str, tuple[ToolFunction, ...]]:
        """Return the tools of each app. A call acts on the environment that is set at that moment."""
        return {
            app: tuple(self._redirected(app, found) for found in collect_tools(store))
            for app, store in self.environment.tools().items()
        }

    def _redirected(self, app: str, found: ToolFunction) -> ToolFunction:
        attribute = getattr(found.function, "__name__", found.name)

        @functools.wraps(found.function)
        def call(*args: object, **kwargs: object) -> object:
            method: Callable[..., object] = getattr(self.environment.tools()[app], attribute)
            return method(*args, **kwargs)

        return replace(found, function=call)


class RunningHosts:
    """Tool hosts of one tenant, each in a thread of this process."""

    def __init__(
        self,
        home: Home,
        folder: TenantHome,
        offered: Mapping[str, Sequence[ToolFunction]],
        *,
        group_managed: bool,
    ) -> None:
        """Register and start a host for each app with the tools that it offers."""
        self._hosts: list[tuple[ToolHost, threading.Thread, Connection]] = []
        for app, tools in offered.items():
            key = register_tool(home, folder, app, tools)
            connection = Connection(home, folder, key, app)
            settings = HostSettings(
                bootstrap=home.bootstrap,
                group_managed=group_managed,
                executed_path=folder.path / "executed" / f"{app}.db",
            )
            host = ToolHost(connection, app, tools, settings)
            thread = threading.Thread(target=host.run, name=f"host-{app}", daemon=True)
            thread.start()
            self._hosts.append((host, thread, connection))

    def executed(self) -> int:
        """Return the number of calls that the hosts have executed."""
        return sum(host.tally.executed for host, _, _ in self._hosts)

    def stop(self) -> None:
        """Stop every host, after the calls that are running."""
        for host, _, _ in self._hosts:
            host.stop()
        for _, thread, connection in self._hosts:
            thread.join(30)
            connection.close()
