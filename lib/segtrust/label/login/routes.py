"""Routes of ``/auth/``: as MONAI Label has them, so that 3D Slicer's own dialog asks for the password."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from monailabel.endpoints.user.auth import RBAC, User

from segtrust.label.login.credentials import Basic
from segtrust.label.login.gate import Gate, Refused

__all__ = ["router_of"]


def router_of(gate: Gate) -> APIRouter:
    """Routes that ask this gate.

    Args:
        gate: who is let in.

    Returns:
        ``GET /auth/``, ``POST /auth/token``, ``GET /auth/token/valid``, as MONAI Label has them.
    """
    router = APIRouter(prefix="/auth", tags=["Log-in"])

    @router.get("/", summary="Whether this server asks for a log-in")
    def is_enabled(request: Request) -> dict[str, Any]:
        # a client whose address has a key is in already: 3D Slicer must not ask for a password
        is_in = bool(request.scope.get("segtrust.key_in_path"))
        return {"enabled": gate.is_required and not is_in, "client_id": "", "realm": ""}

    @router.post("/token", summary="A token for a name and a password")
    async def token(
        request: Request, username: Annotated[str, Form()] = "", password: Annotated[str, Form()] = ""
    ) -> dict[str, Any]:
        if not gate.is_required:
            return {"access_token": None, "token_type": None}
        address = request.client.host if request.client else ""
        try:
            text, seconds = await gate.log_in(Basic(username, password), address)
        except Refused as refused:
            waits = {"Retry-After": str(int(refused.wait) + 1)} if refused.wait else None
            raise HTTPException(refused.status, refused.detail, headers=waits) from None
        return {"access_token": text, "token_type": "Bearer", "expires_in": int(seconds)}

    @router.get("/token/valid", summary="Who is logged in")
    def valid(user: Annotated[User, Depends(RBAC("*"))]) -> dict[str, Any]:
        return {"username": user.username, "roles": user.roles}

    return router
