"""The software bill of materials of a release: which packages the VS Code extension contains."""

import email
import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from pysqlite3 import dbapi2


def write_sbom(path: Path, version: str, extension: Path, downloads: Path, epoch: int) -> None:
    """Write the bill of materials of the packaged *extension*, in CycloneDX 1.6.

    *downloads* has the wheels as they came from the registry; their hashes are listed. The server
    alone, as a wheel, contains no other package: it requires the Python packages of the list.
    """
    wheels = sorted((extension / "server").glob("*.whl"))
    own = next(each for each in wheels if each.name.startswith("segue-"))
    product = Component(
        type=ComponentType.APPLICATION,
        name="segue",
        version=version,
        bom_ref=f"segue@{version}",
        licenses=[LicenseFactory().make_from_string("MIT")],
        hashes=[hash_of(own)],
        purl=PackageURL("pypi", name="segue", version=version),
    )
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, f"segue {version} {epoch}"))
    bom.metadata.component = product
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    names = {each.name.split("-")[0] for each in wheels} - {"segue"}
    for component in (*python_packages(names, downloads), *node_packages(extension), sqlite()):
        bom.components.add(component)
    bom.register_dependency(product, bom.components)
    path.write_text(JsonV1Dot6(bom).output_as_string(indent=2) + "\n", encoding="utf-8")


def python_packages(names: set[str], downloads: Path) -> Iterator[Component]:
    """Yield a component for each package, with the hashes of its wheels in the registry."""
    for name in sorted(names):
        wheels = sorted(downloads.glob(f"{name}-*.whl"))
        with zipfile.ZipFile(wheels[0]) as archive:
            metadata = next(each for each in archive.namelist() if each.endswith("/METADATA"))
            headers = email.message_from_bytes(archive.read(metadata))
        classifiers = headers.get_all("Classifier", [])
        licence = headers["License-Expression"] or next(
            (each.split(" :: ")[-1] for each in classifiers if each.startswith("License ::")),
            headers["License"],
        )
        package = re.sub(r"[-_.]+", "-", headers["Name"]).lower()
        yield make_component("pypi", "", package, headers["Version"], licence, wheels)


def node_packages(extension: Path) -> Iterator[Component]:
    """Yield a component for each npm package of which code is in the bundled script."""
    inputs = json.loads((extension / "dist" / "inputs.json").read_text(encoding="utf-8"))
    matches = (re.match(r"(?:.*/)?node_modules/(?:@[^/]+/)?[^/]+(?=/)", each) for each in inputs)
    for folder in sorted({match[0] for match in matches if match}):
        package: dict[str, Any] = json.loads((extension / folder / "package.json").read_text())
        scope, _, name = package["name"].rpartition("/")
        yield make_component("npm", scope, name, package["version"], package.get("license"), [])


def sqlite() -> Component:
    """Return the component for the SQLite in the wheels of pysqlite3."""
    version: str = dbapi2.sqlite_version
    return make_component("generic", "", "sqlite", version, "blessing", [])


def make_component(
    kind: str, scope: str, name: str, version: str, licence: str | None, wheels: list[Path]
) -> Component:
    """Return the component of a package in a registry of this *kind*."""
    url = PackageURL(kind, namespace=scope or None, name=name, version=version)
    return Component(
        type=ComponentType.LIBRARY,
        group=scope or None,
        name=name,
        version=version,
        bom_ref=url.to_string(),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
        hashes=[hash_of(wheels[0])] if len(wheels) == 1 else [],
        properties=[
            Property(name="segue:wheel", value=f"{each.name} sha256:{hash_of(each).content}")
            for each in wheels
            if len(wheels) > 1
        ],
        purl=url,
    )


def hash_of(path: Path) -> HashType:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)
