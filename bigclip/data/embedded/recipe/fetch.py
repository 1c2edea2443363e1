"""Download the pinned packages with npm and apt, check their sums, and unpack them."""

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

from bigclip.data.embedded.recipe.packages import PACKAGES, Package

NEEDS = {
    "npm": "npm (it comes with Node.js)",
    "apt-get": "apt-get (Debian or Ubuntu with the 'openclipart-svg' package in its sources)",
    "dpkg-deb": "dpkg-deb (package 'dpkg')",
}


class FetchError(RuntimeError):
    """A package could not be had, or is not the one that was pinned."""


def _call(program: str, *arguments: str, cwd: Path) -> None:
    if shutil.which(program) is None:
        raise FetchError(
            f"Rebuilding the embedded pack needs {NEEDS[program]}, which is not on PATH."
        )
    result = subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True)
    if result.returncode:
        raise FetchError(f"{program} {' '.join(arguments)} failed:\n{result.stderr.strip()}")


def _download(package: Package, folder: Path) -> Path:
    if package.manager == "npm":
        _call("npm", "pack", "--silent", f"{package.name}@{package.version}", cwd=folder)
        stem = package.name.lstrip("@").replace("/", "-")
        return folder / f"{stem}-{package.version}.tgz"
    _call("apt-get", "download", f"{package.name}={package.version}", cwd=folder)
    return folder / f"{package.name}_{package.version.replace(':', '%3a')}_all.deb"


def fetch(package: Package, cache: Path) -> Path:
    """Return the folder of one unpacked package, downloading it if need be.

    Args:
        package: Name, version and SHA-256 of the archive.
        cache: Folder that keeps archives and unpacked packages between builds.

    Raises:
        FetchError: no client, no such version, or another checksum.
    """
    folder = cache / package.name.lstrip("@").replace("/", "-")
    unpacked = folder / "unpacked"
    if (folder / "complete").exists():
        return unpacked
    shutil.rmtree(folder, ignore_errors=True)
    unpacked.mkdir(parents=True)
    archive = _download(package, folder)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != package.sha256:
        raise FetchError(
            f"{archive.name} has SHA-256 {found}, pinned is {package.sha256}: the registry serves "
            "another file. Look at it before changing the pin in recipe/packages.py."
        )
    if package.manager == "npm":
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
        unpacked_root = unpacked / "package"
        for child in list(unpacked_root.iterdir()):
            child.rename(unpacked / child.name)
        unpacked_root.rmdir()
    else:
        _call("dpkg-deb", "-x", str(archive), str(unpacked), cwd=folder)
    (folder / "complete").touch()
    return unpacked


def fetch_all(cache: Path) -> dict[str, Path]:
    """Fetch every package of the recipe; package name -> its folder."""
    return {package.name: fetch(package, cache) for package in PACKAGES}
