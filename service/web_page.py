"""The page to try the models in a browser: a few static files, whose script calls the HTTP routes as any client does.

They need no token: they hold nothing secret, and a browser that opens a page sends none.
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FOLDER = Path(__file__).parent / "web"
_INDEX = "index.html"
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_GRPC_PORT = b"{grpc_port}"
"""Stands in the page for the port that its examples of gRPC call."""
_HEADERS = {
    # Nothing but the server's own files and routes; no text can become markup, nor this page a part of another.
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def web_page(grpc_port: int) -> list[Route]:
    """Returns the routes: the page at `/`, its other files under `/web/`.

    Args:
        grpc_port: the port of gRPC, for the page's examples.
    """
    return [
        _route("/" if file.name == _INDEX else f"/web/{file.name}", file, grpc_port)
        for file in _FOLDER.iterdir()
        if file.suffix in _MEDIA_TYPES
    ]


def _route(path: str, file: Path, grpc_port: int) -> Route:
    content = file.read_bytes().replace(_GRPC_PORT, str(grpc_port).encode())

    async def respond(request: Request) -> Response:
        return Response(content, headers=_HEADERS, media_type=_MEDIA_TYPES[file.suffix])

    return Route(path, respond)
