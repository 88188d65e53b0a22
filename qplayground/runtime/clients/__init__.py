"""Engines that are asked one question after another, outside a comparison."""
