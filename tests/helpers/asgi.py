"""Requests to an application in this process, without a server and without a network."""

import asyncio

import httpx

__all__ = ["Client", "ask"]


def ask(application, method, path, **options):
    """Send one request to an ASGI application, and return its answer."""

    async def send():
        # errors that nobody foresaw become an answer too, as a server sends it
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


class Client:
    """Sends requests to one application; ``asyncio`` runs only while one is answered."""

    def __init__(self, application):
        self._application = application

    def get(self, path, **options):
        return ask(self._application, "GET", path, **options)

    def post(self, path, **options):
        return ask(self._application, "POST", path, **options)
