"""An API server in memory, and an operator in hand whose every look the test makes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from kmock import Server
from kubernetes.aio.client import ApiClient, Configuration

from hardening_operator.controller.runtime.api import KubernetesApi
from tests.operator.controller.emulator import ApiServer
from tests.operator.controller.kubelet import Kubelet
from tests.operator.controller.operator_in_hand import Clock, OperatorInHand


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[ApiServer]:
    async with ApiServer(clock=clock) as handler, Server(handler):
        yield handler.declare()


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[ApiClient]:
    async with ApiClient(Configuration(host=str(server.url).rstrip("/"))) as client:
        yield client


async def at_once(_seconds: float) -> None:
    """Sleep for no time."""


@pytest.fixture
def api(client: ApiClient) -> KubernetesApi:
    return KubernetesApi(client, sleep=at_once)


@pytest.fixture
def operator(server: ApiServer, api: KubernetesApi, clock: Clock) -> OperatorInHand:
    return OperatorInHand(server, api, clock)


@pytest.fixture
def kubelet(server: ApiServer, clock: Clock) -> Kubelet:
    return Kubelet(server, clock)
