"""Azure Resource Manager: the control plane of Azure ML, which really runs what it is sent, and Cost Management."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette

from tests.azure.twin import cost
from tests.azure.twin.guard import sitecustomize as guard
from tests.azure.twin.ml import assets, jobs, workspace
from tests.azure.twin.ml.state import Plane

if TYPE_CHECKING:
    from tests.azure.twin.state import TwinState


def app(state: TwinState) -> Starlette:
    """The control plane over the state of a twin."""
    guard.install(state.environment()["NORIA_TWIN_GUARD"])  # it is a customer of the storage beside it, by its name
    plane = Plane(state)
    return Starlette(routes=[*workspace.routes(plane), *assets.routes(plane), *jobs.routes(plane), *cost.routes(plane)])
