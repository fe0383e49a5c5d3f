"""Classifies files of texts on Ray Data, on a laptop or a cluster; the command `text-classifier-bulk`.

Ray reads and classifies in its processes. The process that runs the command writes the outputs, in the order of files
and rows.
"""
