"""What a run computes on, for the model's record."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

__all__ = ["describe_hardware"]


def describe_hardware(device: torch.device, processes: int = 1) -> dict[str, object]:
    """Processor or accelerator, threads, processes and torch's version, as plain data."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": device.type,
        "processor": name,
        "threads": torch.get_num_threads(),
        "processes": processes,
        "torch": str(torch.__version__),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
