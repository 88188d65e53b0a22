"""Families of quantizers, as far as that needs no torch: one module a family, and `registry`, which names them all.

What a family does with a model's weights is in `qplayground.engines.transformers.quantizers`, under the same tag.
"""
