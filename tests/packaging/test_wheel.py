"""Test the package list, and the wheel installed in its own environment."""

import itertools
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
from properties import SOAK

from faser_align.pool.personal import Pool

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
PACKAGES = sorted(name.partition(".")[2] for name in SETUP["packages"] if name.count(".") == 1)
INNER = sorted(name.partition(".")[2] for name in SETUP["packages"] if name.count(".") > 1)
DATA = {
    str(path.relative_to(ROOT))
    for package in ("alignment", "examples", "operations", "predecessor", "reference", "state", "templates")
    for path in (ROOT / package).rglob("*")
    if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
}


def call(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command outside the checkout, without this run's additions to Python's environment."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        list(map(str, command)), check=False, cwd=cwd, env=variables, capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built from a copy of the sources, because setuptools leaves files beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    copy.mkdir()
    for name in (*PACKAGES, "src"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    # Build isolation would download setuptools, which the test environment has.
    build = call(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", copy, cwd=folder
    )
    assert build.returncode == 0, build.stdout + build.stderr
    (made,) = (folder / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return ``bin`` of a new environment with the wheel and the dependencies of the test environment."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    install = ("install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    done = call(sys.executable, "-m", "pip", "--python", python, *install, wheel, cwd=folder)
    assert done.returncode == 0, done.stderr
    (site,) = folder.glob("lib/python*/site-packages")
    # Python does not read .pth files of a folder named in a .pth file, so the checkout itself stays invisible.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_linked(package: str) -> None:
    """src/faser_align has a relative link to every package of the list, so that the checkout can be moved."""
    link = ROOT / "src" / "faser_align" / package
    assert os.readlink(link) == f"../../{package}"
    assert (link / "__init__.py").is_file()


def test_no_package_is_left_out() -> None:
    """Every top-level package is in the list of pyproject.toml, and every link leads to one of them."""
    assert sorted(path.parent.name for path in ROOT.glob("*/__init__.py")) == PACKAGES
    inner = [path.parent for package in PACKAGES for path in (ROOT / package).glob("*/**/__init__.py")]
    assert sorted(".".join(folder.relative_to(ROOT).parts) for folder in inner) == INNER
    assert sorted(path.name for path in (ROOT / "src/faser_align").iterdir() if path.is_symlink()) == PACKAGES


def test_the_program_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """``faser-align --help`` works from the wheel, without modules of the checkout."""
    shown = call(installed / "faser-align", "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "submit" in shown.stdout
    where = call(installed / "python", "-I", "-c", "import faser_align.fsm as f; print(f.__file__)", cwd=tmp_path)
    assert where.stdout.startswith(str(installed.parent))


@pytest.mark.parametrize("job", ["reconstruct", "solve"])
def test_the_jobs_run_from_the_wheel(installed: Path, tmp_path: Path, job: str) -> None:
    """A job without arguments prints its usage and fails."""
    shown = call(installed / "python", "-I", "-m", f"faser_align.jobs.{job}", cwd=tmp_path)
    assert shown.returncode != 0
    assert "CAMPAIGN STAGE ITERATION" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_the_wheel_holds_the_data(installed: Path, tmp_path: Path) -> None:
    """The wheel contains all templates and examples."""
    (site,) = installed.parent.glob("lib/python*/site-packages")
    package = site / "faser_align"
    found = {str(path.relative_to(package)) for path in package.rglob("*") if path.suffix not in (".py", ".pyc")}
    assert found >= DATA


def test_the_commands_without_make(installed: Path, pool: Pool, workdir: Path) -> None:
    """The README's commands run a campaign to convergence with the program installed from the wheel.

    The campaign has four raw files only in `make soak`.
    """
    text = (ROOT / "README.md").read_text().partition("<!-- run by test_the_commands_without_make -->")[2]
    block = itertools.takewhile(lambda line: not line or line.startswith("    "), text.splitlines())
    commands = [line.partition(" #")[0].split() for line in block if line.startswith("    faser-align ")]
    assert [words[1] for words in commands] == ["pool", "init", "submit", "wait", "pool"]
    for _, *words in commands[:-1]:  # all tests share one pool
        typed = [word if SOAK else word.replace("400-403", "400") for word in words]
        done = call(installed / "faser-align", *typed, cwd=workdir)
        assert done.returncode == 0, done.stdout + done.stderr
        if words == ["init"] and not SOAK:
            configuration = workdir / "faser-align.toml"
            few = "[convergence]\nstarved_per_parameter = 0\n"
            configuration.write_text(configuration.read_text().replace("[convergence]\n", few, 1))
    assert "converged" in done.stdout
