"""The web page for trying the models: static files, whose script calls the HTTP routes like any client.

The files need no token: they contain no secrets, and a browser sends no token when it opens a page.
"""

from pathlib import Path
from time import perf_counter

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.telemetry.metrics import RouteMetrics
from service.telemetry.shared_metrics import MetricsPage

_FOLDER = Path(__file__).parent / "web"
_INDEX = "index.html"
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    # This allows only the server's own files and routes, no text as markup, and no frame around the page.
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


def web_page(page: MetricsPage, grpc_port: int, *, reflection: bool) -> list[Route]:
    """Returns the routes: the page at `/`, and its other files under `/web/`.

    Args:
        page: the metrics page.
        grpc_port: the gRPC port, for the web page's examples.
        reflection: whether the server describes its API. If not, the web page leaves out what needs the description.
    """
    index = (_FOLDER / _INDEX).read_text()
    index = index.format(grpc_port=grpc_port, reflection="on" if reflection else "off")
    files = [file for file in _FOLDER.iterdir() if file.suffix in _MEDIA_TYPES and file.name != _INDEX]
    metrics = RouteMetrics(page, "GET", "/web/{file}")
    return [
        _route("/", index.encode(), ".html", RouteMetrics(page, "GET", "/")),
        *(_route(f"/web/{file.name}", file.read_bytes(), file.suffix, metrics) for file in files),
    ]


def _route(path: str, content: bytes, suffix: str, metrics: RouteMetrics) -> Route:
    async def respond(request: Request) -> Response:
        start = perf_counter()
        response = Response(content, headers=_HEADERS, media_type=_MEDIA_TYPES[suffix])
        metrics.handled(response.status_code, perf_counter() - start)
        return response

    return Route(path, respond)
