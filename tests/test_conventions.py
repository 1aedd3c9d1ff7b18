"""The house rules that can be checked: who imports whom, how long a file is, where threads start."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = sorted((ROOT / "edge_runtime").rglob("*.py"))
SOURCES = RUNTIME + sorted((ROOT / "build_tools").rglob("*.py"))
FLOW = (
    "capture", "attention", "cropping", "detection", "tracking", "identity", "plates", "events", "publishing", "web",
)  # fmt: skip
LAZY = ("paho", "aiohttp", "picamera2", "amqtt")


def imports(path: Path, *, top_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{a.name}" for a in node.names}
    return names


def test_the_runtime_never_imports_what_only_the_build_tool_may() -> None:
    for path in RUNTIME:
        roots = {name.partition(".")[0] for name in imports(path)}
        assert not roots & {"torch", "onnx", "scipy", "build_tools", "matplotlib", "tqdm"}, path


def test_arrows_follow_the_flow() -> None:
    for path in RUNTIME:
        room = path.relative_to(ROOT / "edge_runtime").parts[0]
        if room not in FLOW:
            continue
        later = {f"edge_runtime.{name}" for name in FLOW[FLOW.index(room) + 1 :]}
        used = {".".join(name.split(".")[:2]) for name in imports(path)}
        assert not used & later, f"{path} imports {used & later}"


def test_the_contracts_import_nothing_of_ours_but_each_other() -> None:
    allowed = {"edge_runtime.datatypes", "edge_runtime.errors", "edge_runtime.geometry"}
    for name in ("datatypes", "errors", "geometry"):
        ours = {".".join(n.split(".")[:2]) for n in imports(ROOT / f"edge_runtime/{name}.py") if "edge_runtime" in n}
        assert ours <= allowed


def test_heavy_optional_packages_are_imported_only_when_opened() -> None:
    for path in RUNTIME:
        roots = {name.partition(".")[0] for name in imports(path, top_only=True)}
        assert not roots & set(LAZY), path


def test_threads_start_in_at_most_three_files() -> None:
    starters = [p for p in RUNTIME if re.search(r"threading\.Thread\(|multiprocessing|Popen\(", p.read_text())]
    assert len(starters) <= 3, starters


def test_files_stay_short_and_say_what_they_are() -> None:
    for path in SOURCES:
        text = path.read_text()
        assert len(text.splitlines()) <= 300, f"{path} is too long for one idea"
        assert ast.get_docstring(ast.parse(text)), f"{path} does not say what it is"
        assert path.stem not in ("utils", "common", "helpers", "misc", "manager", "handler"), path


def test_public_names_are_documented() -> None:
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"


def test_nothing_swallows_errors() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path}:{node.lineno}: bare except"


def test_importing_the_command_line_loads_no_engine() -> None:
    heavy = ("cv2", "onnxruntime", "numba", "torch")
    code = f"import sys, edge_runtime.cli; print(*(m for m in {heavy} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
