"""Requests to an application in this process."""

import asyncio

import httpx
import pytest


class Client:
    """Sends one request at a time; ``asyncio`` runs only while it is answered."""

    def __init__(self, application):
        self._transport = httpx.ASGITransport(application)

    def send(self, method, path, **options):
        async def ask():
            async with httpx.AsyncClient(transport=self._transport, base_url="http://here") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def get(self, path, **options):
        return self.send("GET", path, **options)

    def post(self, path, **options):
        return self.send("POST", path, **options)


@pytest.fixture
def client_of():
    return Client
