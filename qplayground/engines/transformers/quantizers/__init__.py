"""What each family of quantizers does with a model's weights: one module a family, and `registry`, which names them.

What a family says of itself without torch is in `qplayground.core.quantizers`, under the same tag.
"""
