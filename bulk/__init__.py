"""Classifies files of texts with Ray Data, on one machine or a cluster: the command `text-classifier-bulk`.

Workers read files and classify their rows, batch by batch. The driver, the process of the command, writes the outputs.
"""
