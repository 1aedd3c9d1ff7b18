"""The command `edge-runtime`."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import signal
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from edge_runtime import config as configuration
from edge_runtime.errors import EdgeRuntimeError, StorageError

EPILOG = """\
commands:
  edge-runtime bench [MODEL ...]    time models on this node, or its layers (--table FILE.json)
  edge-runtime config [--default]   print the settings in force, or the commented defaults
  edge-runtime doctor               check that the models compute here what they did where they were made
  edge-runtime enroll NAME PHOTO... say who is known, from photos or --camera; --list, --remove NAME
  edge-runtime outbox               say what waits on disk for the broker (--list: each event)
  edge-runtime replay CLIP          print the events of a clip, the same each time, or why they came (--explain)
  edge-runtime schema               print the JSON Schema of an event
  edge-runtime version              print the version
  edge-runtime zones [--png FILE]   check and print zones, lines and slots, or draw them on a frame

examples:
  edge-runtime --camera demo                        watch the shipped clip: page, broker and events at once
  edge-runtime --camera 0 --broker mqtt://hub       a camera, events to a broker on the machine `hub`
  edge-runtime --camera clip.mp4 --once --fast --events out.jsonl --stats stats.json

exit codes: 0 done, 2 usage or configuration, 3 camera or clip, 4 model, 5 storage, 6 broker (--need-broker), 1 other,
130 stopped by a second Ctrl-C
"""

DEMO_PORT = "8080"

SHORT = {
    "camera": ("camera", "source", "SOURCE", "0 | picamera | rtsp://... | FILE | demo | synthetic"),
    "broker": ("mqtt", "broker", "URL", "mqtt://host[:port] | embedded | none"),
    "profile": ("mqtt", "profile", "{edge,frigate}", "frigate: speak Frigate's topics as well"),
    "web": ("web", "listen", "[HOST:]PORT", "serve the live page; loopback unless a host is given"),
    "state": ("node", "state", "DIR", "folder for the outbox, the gallery and the node's identity"),
}
"""Options that are short for a setting: its section and key, what the option takes, and what it does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = {
        "bench": _bench,
        "config": _config,
        "doctor": _doctor,
        "enroll": _enroll,
        "outbox": _outbox,
        "replay": _replay,
        "schema": _schema,
        "version": _version,
        "zones": _zones,
    }
    debug = "--debug" in arguments
    try:
        if arguments == ["--version"]:
            arguments = ["version"]
        if arguments and not arguments[0].startswith("-"):
            if arguments[0] not in commands:
                _parser().error(f"unknown command {arguments[0]}; known: {', '.join(commands)}")
            return commands[arguments[0]](arguments[1:])
        return _run(arguments)
    except EdgeRuntimeError as error:
        if debug:
            raise
        print(f"edge-runtime: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 0  # whoever read our output has seen enough
    except KeyboardInterrupt:
        print("edge-runtime: stopped at once; what was not sent is kept", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-runtime",
        description="Sees what matters in front of a camera, and says so over MQTT.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _settings_options(parser, *SHORT)
    parser.add_argument("--once", action="store_true", help="play a clip once, then end (the demo loops otherwise)")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--realtime", action="store_true", help="play a clip by its time stamps (the default)")
    pace.add_argument("--fast", action="store_true", help="process every frame of a clip, as fast as possible")
    parser.add_argument("--events", metavar="FILE|-", help="write each event as a JSON line")
    parser.add_argument("--record", type=Path, metavar="OUT.mp4", help="write the annotated video")
    parser.add_argument("--stats", type=Path, metavar="FILE", help="write the counters as JSON at the end")
    parser.add_argument("--need-broker", action="store_true", help="fail (6) if the broker is not there at the start")
    parser.add_argument("--debug", action="store_true", help="show a traceback instead of one line")
    return parser


def _settings_options(parser: argparse.ArgumentParser, *short: str) -> None:
    """Let a command take settings, and those of the `SHORT` options that it heeds."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML settings; see `edge-runtime config --default`"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, as camera.fps=10")
    for name in short:
        _, _, metavar, text = SHORT[name]
        choices = ("edge", "frigate") if name == "profile" else None
        parser.add_argument(f"--{name}", metavar=metavar, choices=choices, help=text)


def _configured(args: argparse.Namespace) -> configuration.Config:
    """The settings in force: file, `--set`, then the options that are short for a setting."""
    config = configuration.load(args.config, args.set)
    for name, (section, key, _, _) in SHORT.items():
        value = getattr(args, name, None)
        if value is not None:
            changed = dataclasses.replace(getattr(config, section), **{key: value})
            config = dataclasses.replace(config, **{section: changed})
    return config


def _run(arguments: Sequence[str]) -> int:
    args = _parser().parse_args(arguments)
    config = _configured(args)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if config.camera.source == "demo":
        config = _demonstrated(config, args)
    # These bring OpenCV and ONNX Runtime along: `--help` and a wrong setting answer without them.
    from edge_runtime.capture.source import masked
    from edge_runtime.clock import SystemClock
    from edge_runtime.runner import Run, Runner

    stop: list[float] = []

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        # Asked again: at once. What comes within a second is the same wish, sent to the process and to its group.
        if stop and time.monotonic() - stop[0] > 1.0:
            raise KeyboardInterrupt
        stop.append(time.monotonic())

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    if args.stats is not None and not args.stats.parent.is_dir():
        raise StorageError(f"{args.stats}: there is no such folder; check --stats")
    asked = Run(args.once, args.fast, args.events, args.record, args.stats, args.need_broker, args.config)
    say(f"camera: {masked(config.camera.source)}; stop with Ctrl-C")
    health = Runner(config, asked, SystemClock(), say, lambda: bool(stop)).run()
    say(health.table())
    return 0


def _demonstrated(config: configuration.Config, args: argparse.Namespace) -> configuration.Config:
    """The demo shows everything that is installed, where the command line does not say otherwise."""
    asked = {text.partition("=")[0].strip() for text in args.set}
    if args.broker is None and "mqtt.broker" not in asked and importlib.util.find_spec("amqtt"):
        config = dataclasses.replace(config, mqtt=dataclasses.replace(config.mqtt, broker="embedded"))
    if args.web is None and "web.listen" not in asked and importlib.util.find_spec("aiohttp"):
        config = dataclasses.replace(config, web=dataclasses.replace(config.web, listen=DEMO_PORT))
    return config


def _bench(arguments: Sequence[str]) -> int:
    from edge_runtime.bench.command import run

    return run(arguments)


def _config(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="edge-runtime config", description="Print the settings.")
    parser.add_argument("--default", action="store_true", help="the commented file with every default")
    _settings_options(parser, *SHORT)
    args = parser.parse_args(arguments)
    if args.default:
        print(configuration.default_file(), end="")
    else:
        print(json.dumps(dataclasses.asdict(_configured(args)), indent=1))
    return 0


def _doctor(arguments: Sequence[str]) -> int:
    from edge_runtime.commands.doctor import run

    return run(arguments)


def _enroll(arguments: Sequence[str]) -> int:
    from edge_runtime.commands.enroll import run

    return run(arguments)


def _outbox(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="edge-runtime outbox",
        description="Say what waits on disk for the broker; only looks, also while the node runs.",
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--list", action="store_true", help="each waiting event as a JSON line, oldest first")
    shape.add_argument("--json", action="store_true", help="the summary as JSON")
    _settings_options(parser, "state")
    args = parser.parse_args(arguments)
    from edge_runtime.commands import outbox

    config = _configured(args)
    if args.json:
        print(json.dumps(dataclasses.asdict(outbox.waiting(config)), indent=1))
    else:
        for line in outbox.lines(config) if args.list else outbox.waiting(config).text():
            print(line)
    return 0


def _replay(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="edge-runtime replay",
        description="Send every frame of a clip through all rules and print the events, the same each time.",
    )
    parser.add_argument("clip", help="a clip, demo or synthetic")
    parser.add_argument(
        "--explain", action="store_true", help="print why each rule did or did not fire, by track, slot and tamper"
    )
    parser.add_argument(
        "--at",
        metavar="TIME",
        help="when its first frame was taken, for schedules and the events' time: this machine's local time, as "
        "2026-11-24T22:00, or with an offset, as 2026-11-24T22:00+05:00; without --at a Monday noon, UTC",
    )
    _settings_options(parser, "state")
    args = parser.parse_args(arguments)
    from edge_runtime.clock import SystemClock
    from edge_runtime.commands.replay import NOON, Explained, Start, json_lines, replay

    args.camera = args.clip
    config = _configured(args)
    start = NOON if args.at is None else Start.told(args.at)
    if args.at is None and any([*(z.active for z in config.zones), *(x.active for x in config.lines)]):
        when = f"{start.wall(0.0):%A %H:%M}"
        print(f"schedules: the clip counts as taken at {when}; --at says otherwise", file=sys.stderr)
    if args.explain:
        explained = Explained(config)
        for event in replay(config, SystemClock(), start, listener=explained.note, spectator=explained.see):
            explained.hear(event)
        lines = explained.text()
    else:
        lines = json_lines(replay(config, SystemClock(), start), config, start)
    for line in lines:
        print(line, flush=True)
    return 0


def _zones(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="edge-runtime zones", description="Check and print zones, lines and slots.")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw them on the first frame of the camera or clip")
    _settings_options(parser, "camera", "profile")
    args = parser.parse_args(arguments)
    if args.camera is not None and args.png is None:
        parser.error("--camera: only --png FILE looks at it")
    from edge_runtime.clock import SystemClock
    from edge_runtime.commands import zones

    config = _configured(args)
    zones.check(config)
    for line in zones.described(config):
        print(line)
    if args.png is not None:
        w, h = zones.draw(config, SystemClock(), args.png)
        print(f"{args.png}: {w} x {h}")
    return 0


def _schema(arguments: Sequence[str]) -> int:
    argparse.ArgumentParser(prog="edge-runtime schema", description="Print an event's JSON Schema.").parse_args(
        arguments
    )
    from edge_runtime.publishing.payload import json_schema

    print(json.dumps(json_schema(), indent=1))
    return 0


def _version(arguments: Sequence[str]) -> int:
    argparse.ArgumentParser(prog="edge-runtime version", description="Print the version.").parse_args(arguments)
    print(version("edge-runtime"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
