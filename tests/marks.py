"""Marks that several test files share."""

import shutil

import pytest

needs_ngspice = pytest.mark.skipif(shutil.which("ngspice") is None, reason="needs ngspice: apt-get install ngspice")
