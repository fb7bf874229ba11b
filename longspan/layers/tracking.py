"""Registers the layers in a user's lists and dicts, which PyTorch does not see among attributes."""

from __future__ import annotations

from torch import nn

from .structure import flatten

_OWN_LISTS = ("own_weights", "inbound_nodes")  # lists of every layer, which hold no layers


def reserve_list(module: nn.Module, name: str) -> None:
    """Reserve the place of a list's layers among the module's others, which is the order of their weights."""
    if not name.startswith("_") and name not in _OWN_LISTS:
        module._modules.setdefault(f"{name}_list", nn.ModuleList())


def track_lists(module: nn.Module) -> None:
    """Register the modules that the module's lists, tuples and dicts hold now."""
    for name, value in list(module.__dict__.items()):
        if isinstance(value, (list, tuple, dict)) and not name.startswith("_") and name not in _OWN_LISTS:
            modules = [part for part in flatten(value) if isinstance(part, nn.Module)]
            if modules:
                module._modules[f"{name}_list"] = nn.ModuleList(modules)


def modules_inside(module: nn.Module) -> list[nn.Module]:
    """The modules that are attributes of a module, and those in its lists."""
    children = [list(child) if isinstance(child, nn.ModuleList) else [child] for child in module.children()]
    return [part for parts in children for part in parts]
