"""`edge-runtime enroll`: one good face a photo, or a refusal that names the photo and what helps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime.cli import main
from tests.face_models import face_photo, face_settings, write_embedder


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    return [word for text in face_settings(tmp_path) for word in ("--set", text)]


def saved(folder: Path, name: str, bgr: NDArray[np.uint8]) -> str:
    cv2.imwrite(str(folder / name), bgr)
    return str(folder / name)


def test_a_person_is_enrolled_listed_enrolled_with_more_and_removed(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    photo = saved(tmp_path, "anna.png", face_photo())
    assert main(["enroll", "Anna", photo, *settings]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("Anna: 1 photo enrolled, 1 in all; ")
    assert "note: 1 photo is little; 3 or more make a name surer" in shown.err
    assert "identity.enabled is false" in shown.err

    assert main(["enroll", "Anna", photo, photo, *settings]) == 0
    assert main(["enroll", "--list", *settings]) == 0
    assert "Anna: 3 photos\n1 person, embedder cells (" in capsys.readouterr().out

    assert main(["enroll", "--remove", "Anna", *settings]) == 0
    assert capsys.readouterr().out == "Anna: removed; 0 persons left\n"
    assert main(["enroll", "--remove", "Anna", *settings]) == 2
    assert "Anna: not enrolled; enrolled are: nobody" in capsys.readouterr().err


def test_what_is_kept_holds_no_photo_and_nobody_else_may_read_it(tmp_path: Path, settings: list[str]) -> None:
    assert main(["enroll", "Anna", saved(tmp_path, "anna.png", face_photo()), *settings]) == 0
    kept = sorted((tmp_path / "state").iterdir())
    assert [file.name for file in kept] == ["gallery", "gallery.key"]
    assert all(file.stat().st_mode & 0o077 == 0 for file in kept)
    assert sum(file.stat().st_size for file in kept) < 2000, "an embedding, no picture"


def several() -> NDArray[np.uint8]:
    return np.concatenate([face_photo(), face_photo()], axis=1)


def blurred() -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(face_photo(), (0, 0), 3), np.uint8)


def small() -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(face_photo(1), None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.parametrize(
    ("bgr", "why"),
    [
        (np.full((120, 160, 3), 90, np.uint8), "no face is seen; take one from the front"),
        (several(), "shows 2 faces, and nobody can tell whose name it is; cut out one"),
        (blurred(), "the face is blurred"),
        (small(), "at least 40 are needed; come nearer"),
    ],
)
def test_a_photo_that_does_not_fit_is_refused_by_name_with_what_helps(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str], bgr: NDArray[np.uint8], why: str
) -> None:
    good, bad = saved(tmp_path, "good.png", face_photo()), saved(tmp_path, "bad.png", bgr)
    assert main(["enroll", "Anna", good, bad, *settings]) == 2
    said = capsys.readouterr().err
    assert "1 of 2 do not fit; nobody was enrolled" in said
    assert f"{bad}: " in said and why in said and "good.png" not in said
    assert not (tmp_path / "state" / "gallery").exists()


def test_files_that_are_no_pictures_are_all_named(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note.txt").write_text("hello")
    assert main(["enroll", "Anna", str(tmp_path / "note.txt"), str(tmp_path / "gone.jpg"), *settings]) == 2
    said = capsys.readouterr().err
    assert "note.txt: is no picture that can be read; save it as JPEG or PNG" in said
    assert "gone.jpg: no such file; check the path" in said


def test_a_gallery_of_another_embedder_is_refused_before_any_photo_is_read(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    photo = saved(tmp_path, "anna.png", face_photo())
    assert main(["enroll", "Anna", photo, *settings]) == 0
    other = write_embedder(tmp_path / "coarse.onnx", cell_px=28)
    assert main(["enroll", "Anna", photo, *settings, "--set", f"identity.embedder={other}"]) == 2
    said = capsys.readouterr().err
    assert "made with the embedder cells (" in said and "identity.embedder is coarse (" in said
    assert "set it back, or delete the file and enrol again" in said


def test_the_same_face_under_two_names_is_enrolled_with_a_note(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    photo = saved(tmp_path, "anna.png", face_photo())
    assert main(["enroll", "Anna", photo, *settings]) == 0
    assert main(["enroll", "Berta", photo, *settings]) == 0
    assert "note: Berta looks like Anna, who is enrolled already" in capsys.readouterr().err


def test_a_person_before_the_camera_is_enrolled(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    frame = np.asarray(cv2.copyMakeBorder(face_photo(), 8, 10, 60, 58, cv2.BORDER_REPLICATE), np.uint8)
    clip = cv2.VideoWriter(str(tmp_path / "me.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, frame.shape[1::-1])
    for _ in range(16):
        clip.write(frame)
    clip.release()
    assert main(["enroll", "Anna", "--camera", str(tmp_path / "me.mp4"), *settings]) == 0
    assert "Anna: 4 photos enrolled" in capsys.readouterr().out


def test_a_camera_that_shows_nobody_says_so(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    clip = cv2.VideoWriter(str(tmp_path / "wall.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (160, 120))
    clip.write(np.full((120, 160, 3), 90, np.uint8))
    clip.release()
    assert main(["enroll", "Anna", "--camera", str(tmp_path / "wall.mp4"), *settings]) == 3
    assert "showed no face that fits, at last: " in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["Anna"], ["--list", "--remove", "Anna"], ["Anna", "a.jpg", "--camera"]])
def test_half_a_command_is_refused(words: list[str], settings: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["enroll", *words, *settings])


def test_a_node_that_shall_know_persons_and_knows_none_does_not_start(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--camera", "synthetic", "--once", "--fast", "--set", "identity.enabled=true"]
    assert main([*run, *settings]) == 2
    assert "nobody is enrolled; run `edge-runtime enroll NAME PHOTO ...`, or set identity.enabled = false" in (
        capsys.readouterr().err
    )
    assert main([*run, *settings, "--set", "identity.embedder=no_such_embedder"]) == 2
    assert 'identity.embedder = "no_such_embedder": not shipped with this program' in capsys.readouterr().err
