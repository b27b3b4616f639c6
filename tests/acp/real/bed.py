"""Where real agents run behind the proxy: a home, a repository, and the model."""

import json
import os

from tests.acp.client import PROXY
from tests.acp.real.agents import AcpAgent
from tests.acp.real.client import RealClient
from tests.agents.real.agents import Place
from tests.agents.real.offline import Offline


class Bed:
    """Starts agents in one place."""

    def __init__(self, place: Place, network: Offline) -> None:
        self.place = place
        self.network = network
        self._clients: list[RealClient] = []
        self._prepared: set[str] = set()
        self._seen = 0

    def prepare(self, agent: AcpAgent) -> None:
        """Make the settings of *agent*, once: others may be added to them."""
        if agent.name not in self._prepared:
            self._prepared.add(agent.name)
            agent.prepare(self.place)

    def start(self, agent: AcpAgent) -> RealClient:
        """Start *agent* behind the proxy, and initialize it."""
        self.prepare(agent)
        path = os.pathsep.join((str(agent.install()), os.environ["PATH"]))
        command = (*PROXY, *self.place.enter, agent.command, *agent.arguments)
        client = RealClient(
            command,
            self.place.directory,
            self.place.home / f"{agent.name}.log",
            **{"PATH": path, **agent.environment(self.place)},
        )
        self._clients.append(client)
        client.initialize()
        return client

    def asked(self) -> str:
        """Return what the model was sent since this was called last."""
        requests = self.network.requests()
        new, self._seen = requests[self._seen :], len(requests)
        return json.dumps(new)

    def kill(self, client: RealClient) -> None:
        """Kill a proxy and its agent in the midst of what they do."""
        client.process.kill()
        self.network.kill_all()
        client.kill()

    def close(self) -> None:
        """End what still runs."""
        for client in self._clients:
            self.kill(client)
