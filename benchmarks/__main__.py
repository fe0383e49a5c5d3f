"""`make bench`: runs every benchmark and writes `benchmarks/results/` as JSON and as Markdown."""

import argparse
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from benchmarks import bulk, engines, observation, overload, peers, scaling, service, shadow, texts
from benchmarks.server import Server, empty_handler, serving
from textmodel import VersionFolder, load_engine
from textmodel.version_folder import versions

RESULTS = Path(__file__).parent / "results"
TEXTS = 4096
BULK_TEXTS = 25_000
ROUNDS = 3
SLOWER = {"MLServer": 16, "model.predict": 200}
"""For slow peers, the factor by which they get fewer requests, so that a run takes seconds. A peer is one process."""
IN_TURNS = tuple(
    case for case in service.CASES if (case.texts, case.messages, case.in_flight) in {(1, 1, 1), (1, 1, 64), (64, 1, 8)}
)
SHADOWED = (
    *IN_TURNS,
    *(case for case in service.CASES if (case.texts, case.in_flight) == (64, 1)),
)
OVERLOADED = service.Case("unary, 1 text", 1, 1, 1024, 40_000)
"""A load under which a shadow yields. grpcio would refuse a part of it, so only the native transport gets it."""
DENSE = ("--pin", "imdb=1")
"""Serves the dense version of imdb; the version in service has n-grams."""


def main() -> int:
    """Runs the benchmarks, prints each figure as it comes, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with imdb-test.jsonl.gz, reuters.jsonl.gz")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument(
        "--mlserver-python", type=Path, help="interpreter that has MLServer and TensorFlow, to measure it"
    )
    parser.add_argument(
        "--only",
        choices=(
            *("engines", "service", "protocols", "processes", "observation", "shadow", "peers", "scaling"),
            *("overload", "bulk"),
        ),
        help="run one part, and keep the results of the others",
    )
    options = parser.parse_args()
    missing = [name for name in texts.FILES.values() if not (options.data_dir / name).exists()]
    if shutil.which("h2load") is None:
        parser.error("h2load is not installed (Debian package: nghttp2-client)")
    if missing:
        parser.error(f"--data-dir: {options.data_dir} lacks {', '.join(missing)}")
    if options.mlserver_python and not options.mlserver_python.exists():
        parser.error(f"--mlserver-python: {options.mlserver_python} does not exist")
    RESULTS.mkdir(exist_ok=True)
    parts: dict[str, Callable[[], Any]] = {
        "machine": _machine,
        "engines": lambda: _engines(options.models, options.data_dir),
        "service": lambda: _service(options.models, options.data_dir),
        "protocols": lambda: _protocols(options.models, options.data_dir),
        "processes": lambda: _processes(options.models, options.data_dir),
        "observation": lambda: _observation(options.models, options.data_dir),
        "shadow": lambda: _shadow(options.models, options.data_dir),
        "peers": lambda: _peers(options.models, options.data_dir, options.mlserver_python),
        "scaling": lambda: _scaling(options.models, options.data_dir),
        "overload": lambda: _overload(options.models, options.data_dir),
        "bulk": lambda: _bulk(options.models, options.data_dir),
    }
    results = json.loads((RESULTS / "latest.json").read_text()) if options.only else {}
    for name in ("machine", options.only) if options.only else parts:
        results[name] = parts[name]()
        results.setdefault("measured", {})[name] = _today()
        (RESULTS / "latest.json").write_text(json.dumps(results, indent=2) + "\n")  # now, since a later part may fail
    (RESULTS / "latest.md").write_text(_markdown(results))
    print(f"Wrote {RESULTS / 'latest.json'} and latest.md")
    return 0


def _machine() -> dict[str, Any]:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": cpu[1] if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "tensorflow": version("tensorflow"),
    }


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _engines(models: Path, data_dir: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for model in ("imdb", "reuters"):
        sample = texts.read(data_dir, model, TEXTS)
        for number in versions(models / model):
            for kind in ("compiled", "tensorflow"):
                rows += _engine(models / model / str(number), kind, f"{model}/{number}", sample)
    return rows


def _engine(
    version: Path, kind: Literal["compiled", "tensorflow"], name: str, sample: list[str]
) -> Iterator[dict[str, Any]]:
    engine = load_engine(version, kind)
    for count in engines.COUNTS:
        part = sample if kind == "compiled" or count > 1 else sample[:512]
        cost = engines.cost(engine, texts.batches(part, count))
        print(f"engine {kind:10}  {name:9}  {count:3} texts a call  {cost.wall:8.1f} us a text", flush=True)
        yield {"model": name, "engine": kind, "texts": count, **cost._asdict()}


def _service(models: Path, data_dir: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    sample = texts.read(data_dir, "imdb", TEXTS)
    for workers in (1, 2):
        with empty_handler(workers) as server:
            for case in (case for case in service.CASES if case.texts == case.messages == 1):
                rows.append(_row("empty handler", workers, service.measure(server, sample, case)))
        for name, flags in (
            ("native", ("--transport", "native")),
            ("native, dense", ("--transport", "native", *DENSE)),
            ("grpcio", ("--transport", "grpcio")),
        ):
            rows += _of_server(models, workers, name, flags, sample)
    return rows


def _of_server(models: Path, workers: int, name: str, flags: Sequence[str], sample: list[str]) -> list[dict[str, Any]]:
    """Measures this project's server with these flags: each case, its start and its memory."""
    with serving(models, "--workers", str(workers), *flags) as server:
        started, memory = server.start_seconds, server.memory_mib()
        rows = [
            _row(f"text-classifier, {name}", workers, service.measure(server, sample, case)) for case in service.CASES
        ]
        after = server.memory_mib()
        rows[-1] |= {"start_seconds": started, "memory_mib": memory, "memory_after_load_mib": after}
        print(f"start {started:.2f} s, memory {memory:.0f} MiB, after load {after:.0f} MiB", flush=True)
    return rows


def _protocols(models: Path, data_dir: Path) -> list[dict[str, Any]]:
    """Measures this project's server with each protocol, and a handler in Python over each transport."""
    sample = texts.read(data_dir, "imdb", TEXTS)
    with serving(models, "--transport", "native") as server, serving(models, "--transport", "grpcio") as grpcio:
        asked = {
            "Classify": (server, service.CLASSIFY),
            "ModelInfer": (server, service.MODEL_INFER),
            "ModelInfer, raw": (server, service.RAW_MODEL_INFER),
        }
        handlers = {
            "GetModel, native": (server, service.GET_MODEL),
            "GetModel, grpcio": (grpcio, service.GET_MODEL),
        }
        single = [case for case in IN_TURNS if case.texts == 1]
        return _in_turns(asked, sample) + _in_turns(handlers, sample, single)


def _processes(models: Path, data_dir: Path) -> list[dict[str, Any]]:
    """Measures one process whose threads share the native transport, and one process for each CPU."""
    sample = texts.read(data_dir, "imdb", TEXTS)
    rows: list[dict[str, Any]] = []
    for engine in ("compiled", "tensorflow"):
        with ExitStack() as stack:
            asked = {}
            for layout, workers in (("one process", 1), ("a process for each CPU", 0)):
                flags = ("--transport", "native", "--engine", engine, "--workers", str(workers))
                server = stack.enter_context(serving(models, *flags))
                name = f"{engine}, {layout}"
                print(f"{name}: start {server.start_seconds:.2f} s, {server.memory_mib():.0f} MiB", flush=True)
                asked[name] = (server, service.CLASSIFY)
            rows += _in_turns(asked, sample, slower={name: 20 for name in asked if engine == "tensorflow"})
    return rows


def _observation(models: Path, data_dir: Path) -> list[dict[str, Any]]:
    """Measures this project's server with and without access log and tracing."""
    with observation.servers(models) as servers:
        asked = {name: (server, service.CLASSIFY) for name, server in servers.items()}
        return _in_turns(asked, texts.read(data_dir, "imdb", TEXTS))


def _shadow(models: Path, data_dir: Path) -> list[dict[str, Any]]:
    """Measures this project's server over each transport, with and without a shadow version."""
    sample = texts.read(data_dir, "imdb", TEXTS)
    rows: list[dict[str, Any]] = []
    for transport in shadow.TRANSPORTS:
        with shadow.servers(models, transport) as servers:
            asked = {name: (server, service.CLASSIFY) for name, server in servers.items()}
            for case in (*SHADOWED, OVERLOADED) if transport == "native" else SHADOWED:
                before = {name: shadow.Texts.of(server) for name, server in servers.items()}
                for row in _in_turns(asked, sample, [case]):
                    name = row["server"]
                    compared = shadow.Texts.of(servers[name]).compared_since(before[name])
                    if compared is not None:
                        row["server"] = f"{name}, {compared:.0%} compared"
                        print(f"{name:15}  {compared:.0%} of the texts compared", flush=True)
                    rows.append(row)
    return rows


def _peers(models: Path, data_dir: Path, mlserver_python: Path | None) -> list[dict[str, Any]]:
    """Measures this project's server and each peer, all with the dense version of imdb."""
    sample = texts.read(data_dir, "imdb", TEXTS)
    version = models / "imdb" / "1"
    with ExitStack() as stack:
        servers = {
            "text-classifier": (stack.enter_context(serving(models, *DENSE)), service.CLASSIFY),
            "model.predict": (stack.enter_context(peers.keras_predict(version)), service.CLASSIFY),
        }
        if mlserver_python:
            servers["MLServer"] = (stack.enter_context(peers.mlserver(mlserver_python, version)), service.MODEL_INFER)
        else:
            print("MLServer is left out: give --mlserver-python", flush=True)
        return _in_turns(servers, sample)


def _in_turns(
    asked: Mapping[str, tuple[Server, service.Protocol]],
    sample: Sequence[str],
    cases: Sequence[service.Case] = IN_TURNS,
    slower: Mapping[str, int] = SLOWER,
) -> list[dict[str, Any]]:
    """Calls each in turn, `ROUNDS` times. Returns the rounds of median throughput.

    Args:
        asked: the servers and protocols to measure, by name.
        sample: the texts.
        cases: the loads.
        slower: the factors by which some get fewer requests.
    """
    rows: list[dict[str, Any]] = []
    for case in cases:
        figures: dict[str, list[service.Figures]] = {name: [] for name in asked}
        for _ in range(ROUNDS):
            for name, (server, protocol) in asked.items():
                fewer = replace(case, requests=max(service.BODIES * 4, case.requests // slower.get(name, 2)))
                figures[name].append(service.measure(server, sample, fewer, protocol))
        for name, rounds in figures.items():
            middle = sorted(rounds, key=lambda each: each.texts_per_second)[len(rounds) // 2]
            workers = 1 if name in SLOWER or "one process" in name else len(os.sched_getaffinity(0))
            rows.append(_row(name, workers, middle))
    return rows


def _scaling(models: Path, data_dir: Path) -> dict[str, Any]:
    results = scaling.measure(VersionFolder(models / "imdb" / "1"), texts.read(data_dir, "imdb", TEXTS))
    scaling.plot(results, RESULTS / "scaling.png")
    return {name: dict(curves) for name, curves in results.items()}


def _overload(models: Path, data_dir: Path) -> dict[str, list[dict[str, Any]]]:
    results = overload.measure(models, texts.read(data_dir, "imdb", TEXTS))
    overload.plot(results, RESULTS / "overload.png")
    return {name: [point._asdict() for point in points] for name, points in results.items()}


def _bulk(models: Path, data_dir: Path) -> list[dict[str, Any]]:
    rows = []
    for speed in bulk.measure(models / "imdb" / "1", texts.read(data_dir, "imdb", BULK_TEXTS)):
        rows.append(speed._asdict())
        print(f"bulk {speed.way:30}  {speed.workers} workers  {speed.files} files", end="")
        print(f"  {speed.texts_per_second:8.0f} texts/s  {speed.cpu_us_per_text:5.1f} us CPU a text", end="")
        print(f"  start {speed.start_seconds:4.1f} s  all {speed.seconds:5.1f} s", flush=True)
    return rows


def _row(server: str, workers: int, figures: service.Figures) -> dict[str, Any]:
    print(
        f"{server:15}  {workers} workers  {figures.case:24}  {figures.in_flight:2} in flight"
        f"  {figures.requests_per_second:8.0f} requests/s  {figures.texts_per_second:8.0f} texts/s"
        f"  p50 {figures.p50_ms:7.2f} ms  p99 {figures.p99_ms:7.2f} ms"
        f"  {figures.server_cpu_us_per_text:6.1f} us CPU a text",
        flush=True,
    )
    return {"server": server, "workers": workers, **asdict(figures)}


def _markdown(results: dict[str, Any]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    dates = ", ".join(f"{part} {day}" for part, day in results["measured"].items() if part != "machine")
    engine_rows = [
        (row["model"], row["engine"], row["texts"], f"{row['wall']:.1f}", f"{row['cpu']:.1f}")
        for row in results["engines"]
    ]
    service_tables = (
        _table(SERVICE_COLUMNS, _service_rows(results[part]))
        for part in ("service", "protocols", "processes", "observation", "shadow", "peers")
        if part in results
    )
    starts = [
        (
            row["server"],
            row["workers"],
            f"{row['start_seconds']:.2f}",
            f"{row['memory_mib']:.0f}",
            f"{row['memory_after_load_mib']:.0f}",
        )
        for row in results["service"]
        if "start_seconds" in row
    ]
    bulk_rows = [
        (
            *(row[name] for name in ("way", "workers", "files")),
            f"{row['texts_per_second']:,.0f}",
            *(f"{row[name]:.1f}" for name in ("cpu_us_per_text", "start_seconds", "seconds")),
        )
        for row in results["bulk"]
    ]
    return "\n\n".join(
        [
            f"Measured on {machine}. Dates: {dates}.",
            _table(("model", "engine", "texts a call", "us a text", "us CPU a text"), engine_rows),
            *service_tables,
            _table(("server", "workers", "start to SERVING, s", "memory, MiB", "memory after load, MiB"), starts),
            _table(OVERLOAD_COLUMNS, _overload_rows(results.get("overload", {}))),
            _table(("way", "workers", "files", "texts/s", "us CPU a text", "start, s", "all, s"), bulk_rows) + "\n",
        ]
    )


SERVICE_COLUMNS = (
    *("server", "workers", "case", "in flight", "requests/s", "texts/s", "p50 ms", "p99 ms"),
    *("server us CPU a text", "load us CPU a text"),
)


OVERLOAD_COLUMNS = (
    *("case, one worker on one CPU", "load", "offered/s", "answered/s", "of the peak"),
    *("p50 ms", "p99 ms", "refused", "of them with RetryInfo", "refusal p50 ms", "refusal p99 ms", "late"),
)


def _overload_rows(results: dict[str, list[dict[str, Any]]]) -> list[Sequence[object]]:
    return [
        (
            *(name, point["factor"], f"{point['offered']:,.0f}", f"{point['answered']:,.0f}"),
            f"{point['answered'] / max(each['answered'] for each in points):.0%}",
            *map(_milliseconds, (point["p50_ms"], point["p99_ms"])),
            *(f"{point[share]:.0%}" for share in ("refused", "retry_info")),
            *map(_milliseconds, (point["refusal_p50_ms"], point["refusal_p99_ms"])),
            f"{point['late']:.0%}",
        )
        for name, points in results.items()
        for point in points
    ]


def _milliseconds(latency: float | None) -> str:
    return "" if latency is None else f"{latency:.1f}"


def _service_rows(rows: Sequence[dict[str, Any]]) -> list[Sequence[object]]:
    return [
        (
            *(row["server"], row["workers"], row["case"], row["in_flight"]),
            *(f"{row[name]:,.0f}" for name in ("requests_per_second", "texts_per_second")),
            *(f"{row[name]:.2f}" for name in ("p50_ms", "p99_ms")),
            *(f"{row[name]:.1f}" for name in ("server_cpu_us_per_text", "load_cpu_us_per_text")),
        )
        for row in rows
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
