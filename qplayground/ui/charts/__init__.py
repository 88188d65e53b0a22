"""Charts. The only importer of pyqtgraph, which takes half a second, so nothing here is imported before the window."""
