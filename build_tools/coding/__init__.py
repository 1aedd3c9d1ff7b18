"""Entropy coding of levels: histograms, Huffman, rANS."""
