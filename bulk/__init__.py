"""Classifies files of texts on Ray Data, on a laptop or a cluster; the command `text-classifier-bulk`.

A worker reads a file and classifies its rows, part by part. The process that runs the command writes the outputs.
"""
