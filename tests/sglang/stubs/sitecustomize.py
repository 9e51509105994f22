"""Lets SGLang start on a machine without a GPU: what its kernels would give is there, and inert.

Python runs this file by itself where its directory is on PYTHONPATH. The packages `sgl_kernel` and
`triton` exist only for GPUs; SGLang imports from them at the top of many modules, and calls them on
GPUs only. Here every name can be imported from them and used as a decorator; calling one for its
work raises. torchvision's CPU build declares kernels for operators that another package defines.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any

INERT = ("sgl_kernel", "triton")
"""Packages that are stood in for where they are not installed."""


class Inert:
    """Anything that is imported from an inert package: a base class, a decorator, an annotation."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __init_subclass__(cls, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`@jit` and `@jit(...)` leave the function alone; anything else cannot work here."""
        if len(args) == 1 and callable(args[0]) and not kwargs:
            return args[0]
        return lambda function: function

    def __class_getitem__(cls, item: Any) -> Any:
        return cls

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Inert()


class Kernel:
    """A function of an inert package that would need a GPU."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Kernel(f"{self.__name__}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{self.__name__} needs a GPU; this is a stand-in for tests.")


class InertModule(types.ModuleType):
    """A package in which every name exists."""

    __version__ = "0.0.0"
    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        full = f"{self.__name__}.{name}"
        if full in sys.modules:
            return sys.modules[full]
        if self.__name__.startswith("sgl_kernel"):
            found: Any = Kernel(full)
        else:
            found = type(name, (Inert,), {}) if name[:1].isupper() else Inert()
        setattr(self, name, found)
        return found


class InertFinder:
    """Finds the inert packages and all modules below them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] not in self._names:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> InertModule:
        return InertModule(spec.name)

    def exec_module(self, module: Any) -> None:
        pass


class BeforeTorchvision:
    """Defines the operators that torchvision's kernels are for, just before it is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "torchvision":
            sys.meta_path.remove(self)  # type: ignore[arg-type]
            define_operators()


def define_operators() -> None:
    """`torchvision::nms` and its quantized sister."""
    from torch.library import Library

    library = Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    sys.modules[__name__].kept = library  # type: ignore[attr-defined]  # It ends with its object.


sys.meta_path.append(
    InertFinder([name for name in INERT if not importlib.util.find_spec(name)])  # type: ignore[arg-type]
)
sys.meta_path.insert(0, BeforeTorchvision())  # type: ignore[arg-type]
