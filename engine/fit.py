"""Whether a bundle's graphs have the inputs and outputs that its manifest says."""

from __future__ import annotations

from engine.errors import BundleError
from engine.graph import Graph
from engine.manifest import Manifest
from engine.shared import kept_features


def check_graphs(manifest: Manifest, model: Graph, reasons: Graph) -> None:
    """Raise :class:`engine.errors.BundleError` where a graph does not fit the manifest."""
    states = [f"state_{dtype}" for dtype in manifest.state.sizes]
    fields = [field.name for field in manifest.schema.streamed]
    shared = [each.input for each in manifest.shared]
    shared += manifest.parameter_inputs
    for graph, what in ((model, "model"), (reasons, "reasons")):
        strange = sorted(set(graph.inputs) - {*states, *fields, *shared})
        if strange:
            raise BundleError(
                f"the inputs of the {what} graph must be the manifest's fields, states, "
                f"shared entities and parameters, however: {strange}; export the bundle again"
            )
    needed = {"score", "duplicate", "late", *(f"new_{name}" for name in states)}
    needed |= {"outputs"} if manifest.outputs else set()
    needed |= {"kept"} if kept_features(manifest.shared) else set()
    missing = sorted(needed - set(model.outputs))
    if missing or "contributions" not in reasons.outputs:
        raise BundleError(
            f"the graphs must have the outputs {sorted(needed)} and contributions, however: "
            f"{missing or 'contributions'} missing; export the bundle again"
        )
    _check_shapes(manifest, model, reasons)


def _check_shapes(manifest: Manifest, model: Graph, reasons: Graph) -> None:
    shapes: dict[str, list[int]] = {"contributions": [len(manifest.reasons)]}
    if manifest.features:
        shapes["features"] = [len(manifest.features)]
    if manifest.outputs:
        shapes["outputs"] = [len(manifest.outputs)]
    if kept := kept_features(manifest.shared):
        shapes["kept"] = [len(kept)]
    for dtype, size in manifest.state.sizes.items():
        shapes |= {f"state_{dtype}": [size], f"new_state_{dtype}": [size]}
    for each in manifest.shared:
        shapes[each.input] = [each.buckets, len(each.quantities)]
    for graph in (model, reasons):
        for name, shape in shapes.items():
            found = graph.shapes.get(name, shape)
            is_open = len(found) == len(shape) and not all(isinstance(d, int) for d in found)
            if found != shape and not is_open:
                raise BundleError(
                    f"{name} must have the shape that the manifest says, {['batch', *shape]}, "
                    f"however: the graph's is {['batch', *found]}; export the bundle again"
                )
