"""Which folders are packaged; all else that setuptools needs to know is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["qplayground*"]), "qplayground.resources"],
    package_dir={"qplayground.resources": "resources"},
    package_data={"qplayground.resources": ["**/*"]},
)
