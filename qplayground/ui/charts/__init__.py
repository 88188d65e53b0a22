"""Charts. Only this package imports pyqtgraph, which takes 0.5 s, so it is imported after the window is shown."""
