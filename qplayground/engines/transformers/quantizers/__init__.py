"""What each quantizer family does with a model's weights. One module per family; `registry` lists them.

Each family's options and texts, which need no torch, are in `qplayground.core.quantizers` under the same tag.
"""
