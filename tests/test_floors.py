"""A room of the package imports only from rooms on floors below its own."""

import ast
import pathlib

import pytest

import bigclip

ROOT = pathlib.Path(bigclip.__file__).parent

FLOORS = {
    "__init__": 0,
    "config": 0,
    "parallel": 0,
    "losses": 1,
    "models": 1,
    "data": 1,
    "tasks": 2,
    "training": 3,
    "checkpoints": 3,
    "evals": 4,
    "interop": 4,
    "api": 4,
    "reports": 4,
    "planning": 4,
    "serving": 4,
    "train": 5,
    "evaluate": 5,
    "report": 5,
    "inspect": 5,
    "plan": 5,
    "probe": 5,
    "demo": 5,
    "convert": 5,
}
# Rooms of one floor that may know each other, and in which direction.
ALLOWED_BESIDE = {
    ("parallel", "config"),
    ("training", "checkpoints"),
    ("evals", "api"),
    ("interop", "api"),
    ("reports", "evals"),
    ("serving", "evals"),
    # The package's root offers `bigclip.load`, imported when it is asked for.
    ("__init__", "api"),
}


def room_of(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(source: str) -> set[str]:
    """Rooms that a module imports, inside functions and TYPE_CHECKING blocks, too."""
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room: write the whole name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "bigclip" and len(parts) > 1 and parts[1] in FLOORS:
                rooms.add(parts[1])
    return rooms


def test_finds_imports_wherever_they_are():
    source = "import bigclip.evals.x\ndef f():\n    from bigclip import api\n"
    assert imported_rooms(source) == {"evals", "api"}


def test_every_module_stands_on_a_floor():
    assert {room_of(path) for path in ROOT.rglob("*.py")} <= FLOORS.keys()


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports_only_from_below(path):
    room = room_of(path)
    for other in imported_rooms(path.read_text()) - {room}:
        fine = FLOORS[other] < FLOORS[room] or (room, other) in ALLOWED_BESIDE
        assert fine, (
            f"{path.relative_to(ROOT)} (floor {FLOORS[room]}) imports bigclip.{other} "
            f"(floor {FLOORS[other]}): a room imports only from floors below its own."
        )
