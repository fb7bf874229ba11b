"""Knows that the Triton kernels equal the reference, in Triton's interpreter; and what is said without a GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import longspan as ls
from longspan.cells import CELLS
from longspan.kernels import cudnn, gpu, route, triton_source
from longspan.kernels.emit_triton import Variant, source

from .test_parity import Case, job_of

ROOT = Path(__file__).parents[2]
HERE = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not HERE, reason="Triton is not installed: pip install 'longspan[gpu]'")
