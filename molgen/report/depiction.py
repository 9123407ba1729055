"""A molecule as a small drawing: its structural formula, or its atoms seen from the side that shows most of them."""

from __future__ import annotations

import re

import torch

from molgen.elements import SYMBOLS
from molgen.structures import Structures

__all__ = ["drawing"]

WIDTH, HEIGHT = 140, 110
# readable on a light and on a dark page
COLOURS = {
    6: "#8a93a0",
    7: "#4a7bf7",
    8: "#e5484d",
    9: "#2f9e5f",
    15: "#e8852b",
    16: "#c29a06",
    17: "#2f9e5f",
    35: "#b05a2c",
}
DRAWING = {"clearBackground": False, "bondLineWidth": 1.4, "padding": 0.08, "fixedBondLength": 28}  # RDKit's options
RADII = {1: 0.25}  # Å, drawn; other elements 0.36


def drawing(structure: Structures, smiles: str | None) -> str:
    """One structure as SVG; RDKit draws its SMILES, and where there is none its atoms are projected."""
    return (smiles and _formula(smiles)) or _projection(structure)


def _formula(smiles: str) -> str | None:
    from rdkit import Chem, rdBase
    from rdkit.Chem.Draw import rdMolDraw2D

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or molecule.GetNumAtoms() == 0:
            return None
        canvas = rdMolDraw2D.MolDraw2DSVG(WIDTH, HEIGHT)
        options = canvas.drawOptions()
        for name, value in DRAWING.items():
            setattr(options, name, value)
        options.updateAtomPalette({number: _rgb(colour) for number, colour in COLOURS.items() if number != 6})
        try:
            rdMolDraw2D.PrepareAndDrawMolecule(canvas, molecule)
        except (ValueError, RuntimeError):  # a molecule that RDKit reads but can't lay out
            return None
        canvas.FinishDrawing()
    text = canvas.GetDrawingText()
    shapes = "".join(re.findall(r"<(?:path|ellipse|polygon|rect)\b[^>]*/>", text))
    shapes = re.sub(r"\s+class='[^']*'", "", shapes).replace("#000000", "currentColor")
    return _svg(shapes)


def _projection(structure: Structures) -> str:
    if len(structure.species) == 0:
        return _svg("")
    positions = structure.positions.nan_to_num(0.0, 0.0, 0.0).double()
    centred = positions - positions.mean(0)  # [N, 3]
    # principal axes, the two longest into the page
    seen = centred @ torch.linalg.svd(centred, full_matrices=False).Vh.T  # [N, min(N, 3)]
    seen = torch.nn.functional.pad(seen, (0, 3 - seen.shape[1]))
    span = seen.max(0).values - seen.min(0).values + 1.0  # Å, with room for the atoms at the rim
    scale = min(WIDTH / float(span[0]), HEIGHT / float(span[1]), 28.0)
    middle = (seen.max(0).values + seen.min(0).values) / 2
    x = (WIDTH / 2 + scale * (seen[:, 0] - middle[0])).tolist()
    y = (HEIGHT / 2 + scale * (seen[:, 1] - middle[1])).tolist()
    shapes = [
        f'<path d="M{x[i]:.1f} {y[i]:.1f}L{x[j]:.1f} {y[j]:.1f}" stroke="currentColor" stroke-width="1.4"/>'
        for i, j in structure.bonds.tolist()
    ]
    species = structure.species.tolist()
    for atom in seen[:, 2].argsort().tolist():  # from the back to the front
        number = species[atom]
        colour, radius = COLOURS.get(number, "currentColor"), scale * RADII.get(number, 0.36)
        hollow = ' class="hollow"' if number == 1 else ""
        shapes.append(
            f'<circle{hollow} cx="{x[atom]:.1f}" cy="{y[atom]:.1f}" r="{radius:.1f}" fill="{colour}">'
            f"<title>{SYMBOLS[number]}</title></circle>"
        )
    return _svg("".join(shapes))


def _svg(shapes: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{shapes}</svg>'


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
