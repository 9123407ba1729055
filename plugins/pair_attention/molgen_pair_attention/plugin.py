"""Registers the encoder `pair-attention`; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable

from molgen.host.component import Capabilities, Component, hookimpl


@hookimpl
def molgen_register_encoders(register: Callable[[Component], None]) -> None:
    """Registers `pair-attention`."""
    register(
        Component(
            name="pair-attention",
            summary="attention between all atoms with features of pairs, vectors and one displacement; for complete "
            "graphs",
            cite="pair-biased attention of Jumper et al. 2021 (AlphaFold 2) on vectors of Schütt et al. 2021 (PaiNN)",
            factory="molgen_pair_attention.encoder:build",
            config="molgen_pair_attention.config:PairAttentionConfig",
            capabilities=Capabilities(symmetry="O3", smooth=True, l_max=1, periodic=False, double_backward=True),
        )
    )
