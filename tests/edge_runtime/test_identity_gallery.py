"""Who is enrolled: compared by one threshold however many photos, kept encrypted, refused where it does not belong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.config import Config, IdentityConfig, NodeConfig
from edge_runtime.datatypes import BgrImage
from edge_runtime.errors import ConfigError, StorageError
from edge_runtime.identity.embedder import ARCFACE, AdapterConfig
from edge_runtime.identity.gallery import Gallery, checked_name, from_json, mean_distance
from edge_runtime.identity.sealed import GalleryFile

seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 6)


class Network:
    """An embedder by name only."""

    def __init__(self, name: str = "net", digest: str = "0123456789abcdef") -> None:
        self.name, self.digest = name, digest
        self.config = AdapterConfig(112, ARCFACE, "euclidean", 0.6)

    def __call__(self, face: BgrImage) -> NDArray[np.float32]:
        raise NotImplementedError


def rows(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    return rng.normal(size=(n, 8)).astype(np.float32)


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@given(seeds, counts, counts)
def test_the_distance_of_two_sets_is_the_mean_over_their_pairs(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rows(rng, n), rows(rng, m)
    squares = [float(((x - y) ** 2).sum()) for x in a.astype(float) for y in b.astype(float)]
    assert mean_distance(a, b, "euclidean") == pytest.approx(np.mean(squares) ** 0.5, rel=1e-5)
    cosines = [float(x @ y) for x in unit(a).astype(float) for y in unit(b).astype(float)]
    assert mean_distance(unit(a), unit(b), "cosine") == pytest.approx(1 - np.mean(cosines), abs=1e-5)


@given(seeds, counts)
def test_a_view_seen_twice_changes_no_distance(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rows(rng, n), rows(rng, 3)
    assert mean_distance(np.repeat(a, 2, 0), b, "euclidean") == pytest.approx(
        mean_distance(a, b, "euclidean"), rel=1e-5
    )


def test_more_views_and_photos_do_not_move_the_distance_of_a_person_to_himself() -> None:
    rng = np.random.default_rng(1)
    me = rng.normal(size=64)
    shots = (me + 0.3 * rng.normal(size=(4000, 64))).astype(np.float32)
    single = [mean_distance(shots[i : i + 1], shots[i + 1 : i + 2], "euclidean") for i in range(0, 2000, 2)]
    fused = [mean_distance(shots[i : i + 5], shots[i + 5 : i + 10], "euclidean") for i in range(2000, 4000, 10)]
    assert np.mean(fused) == pytest.approx(np.mean(single), rel=0.02)
    assert np.std(fused) < np.std(single) / 2


def gallery() -> Gallery:
    rng = np.random.default_rng(5)
    return Gallery.empty(Network()).enrolled("Anna", rows(rng, 3)).enrolled("Žofie", rows(rng, 1))


def test_photos_of_a_name_are_added_to_what_is_known_of_it() -> None:
    more = gallery().enrolled("Anna", np.zeros((2, 8), np.float32))
    assert {name: len(photos) for name, photos in more.persons.items()} == {"Anna": 5, "Žofie": 1}
    assert list(more.removed("Anna").persons) == ["Žofie"]
    with pytest.raises(ConfigError, match="Anne: not enrolled; enrolled are: Anna, Žofie"):
        gallery().removed("Anne")


def kept(folder: Path) -> GalleryFile:
    file = GalleryFile(folder / "state" / "gallery", folder / "state" / "gallery.key")
    file.write(gallery())
    return file


def test_a_gallery_comes_back_as_it_was(tmp_path: Path) -> None:
    read = kept(tmp_path).read()
    assert read.digest == gallery().digest and read.embedder == "net"
    assert {n: e.tolist() for n, e in read.persons.items()} == {n: e.tolist() for n, e in gallery().persons.items()}


def test_neither_names_nor_embeddings_can_be_read_in_the_file_and_only_the_owner_may_open_it(tmp_path: Path) -> None:
    file = kept(tmp_path)
    content = file.path.read_bytes()
    assert b"Anna" not in content and gallery().persons["Anna"][0].tobytes() not in content
    assert [p.stat().st_mode & 0o777 for p in (file.path, file.key)] == [0o600, 0o600]
    first = content
    file.write(gallery())
    assert file.path.read_bytes() != first, "each time another nonce"


def test_lying_beside_its_state_it_needs_no_path_and_elsewhere_a_path(tmp_path: Path) -> None:
    config = Config(node=NodeConfig(state=str(tmp_path / "state")))
    assert GalleryFile.of(config).path == tmp_path / "state" / "gallery"
    away = dataclasses.replace(config, identity=IdentityConfig(key=str(tmp_path / "usb" / "key")))
    assert GalleryFile.of(away).key == tmp_path / "usb" / "key"


def test_nobody_enrolled_says_how_to_enrol(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody is enrolled; run `edge-runtime enroll NAME PHOTO"):
        GalleryFile(tmp_path / "gallery", tmp_path / "key").read()


def test_any_flipped_bit_and_any_missing_end_is_refused(tmp_path: Path) -> None:
    file = kept(tmp_path)
    content = bytearray(file.path.read_bytes())
    for at in (9, 25, len(content) - 1):
        torn = content.copy()
        torn[at] ^= 1
        file.path.write_bytes(torn)
        with pytest.raises(StorageError, match="does not open with"):
            file.read()
    for length in (9, 19, 20, 30):
        file.path.write_bytes(content[:length])
        with pytest.raises(StorageError, match="does not open with"):
            file.read()
    file.path.write_bytes(b"something else")
    with pytest.raises(ConfigError, match=r"is no gallery; check identity\.gallery"):
        file.read()


def test_a_key_that_is_gone_open_to_others_or_another_is_refused_with_the_remedy(tmp_path: Path) -> None:
    file = kept(tmp_path)
    key = file.key.read_bytes()
    file.key.chmod(0o644)
    with pytest.raises(StorageError, match=r"others may read it \(mode 0644\); run `chmod 600"):
        file.read()
    file.key.chmod(0o600)
    file.key.write_bytes(key[::-1])
    with pytest.raises(StorageError, match="does not open with"):
        file.read()
    file.key.write_bytes(key[:-1])
    with pytest.raises(StorageError, match="has 31 bytes, a key has 32"):
        file.read()
    file.key.unlink()
    with pytest.raises(StorageError, match="put the key back, or delete"):
        file.read()


def test_a_gallery_made_with_another_embedder_is_refused_with_the_remedy() -> None:
    gallery().require(Network(), "gallery")
    with pytest.raises(
        ConfigError,
        match=r"made with the embedder net \(0123456789abcdef\), but identity.embedder is other \(ffff\).*"
        "set it back, or delete the file and enrol again",
    ):
        gallery().require(Network("other", "ffff"), "gallery")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": 1, "persons": 3}', b'{"format": 1, "embedder": "a", "digest": "b", "persons": {"x": ["!"]}}', b'{"format": 1, "embedder": "a", "digest": "b", "persons": {"x": []}}'])  # fmt: skip  # noqa: E501
def test_what_is_no_gallery_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError, match="is no gallery"):
        from_json(content, "gallery")


def test_a_gallery_of_a_later_format_is_refused() -> None:
    with pytest.raises(ConfigError, match="has format 2, this program reads 1; update it"):
        from_json(b'{"format": 2}', "gallery")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 65, "bell\a"])
def test_names_that_cannot_be_printed_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="a name has 1 to 64 printable letters"):
        checked_name(name)


def test_one_name_is_one_name_however_it_was_typed() -> None:
    assert checked_name(" Zoe\u0308 ") == checked_name("Zo\u00eb") == "Zoë"
