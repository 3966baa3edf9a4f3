"""What does not need one another is asked of the API server at the same time: a look waits for few calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient

from hardening_operator.controller.owned import together
from hardening_operator.controller.runtime.api import KubernetesApi
from tests.operator.controller.emulator import ApiServer
from tests.operator.controller.kubelet import Kubelet
from tests.operator.controller.operator_in_hand import Clock, OperatorInHand, submit

PATIENCE = 30
TRAININGS = ("first-r1-train-attacker", "first-r1-train-defender")


class MeetingApi(KubernetesApi):
    """Holds what is created for a training, Jobs apart, until there are four at a time."""

    def __init__(self, client: ApiClient) -> None:
        super().__init__(client)
        self.meeting = asyncio.Barrier(4)

    async def create(self, document: Any) -> dict[str, Any] | None:
        if document["kind"] != "Job" and document["metadata"]["name"] in TRAININGS:
            async with asyncio.timeout(PATIENCE):
                await self.meeting.wait()
        return await super().create(document)


async def test_what_both_trainings_need_is_made_at_once_and_then_their_jobs(
    server: ApiServer, client: ApiClient, clock: Clock, kubelet: Kubelet
) -> None:
    operator = OperatorInHand(server, MeetingApi(client), clock)
    await submit(server)
    await operator.settle()
    while not set(TRAININGS) <= set(server.names("jobs")):
        for job in kubelet.open_jobs():
            await kubelet.succeed(job)
        await operator.settle()
    for training in TRAININGS:
        made = [plural for method, plural, name in server.calls if (method, name) == ("POST", training)]
        assert sorted(made[:2]) == ["configmaps", "networkpolicies"]
        assert made[2:] == ["jobs"]


async def test_the_first_fault_is_raised_once_nothing_goes_on() -> None:
    begun, ended = asyncio.Event(), []

    async def fails() -> None:
        await begun.wait()
        raise ValueError("the first fault")

    async def lasts() -> None:
        begun.set()
        for _ in range(10):
            await asyncio.sleep(0)
        ended.append("lasts")

    with pytest.raises(ValueError, match="the first fault"):
        await together(fails(), lasts())
    assert ended == ["lasts"]
