"""Which folders are packaged; all else that setuptools needs to know is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["qplayground*"]), "qplayground.resources", "qplayground.docs"],
    package_dir={"qplayground.resources": "resources", "qplayground.docs": "docs"},
    include_package_data=False,  # it would take all that the source distribution has of these folders
    package_data={"qplayground.resources": ["**/*"], "qplayground.docs": ["guide.md", "pictures/*.png"]},
)
