"""GGUF, the one-file format of llama.cpp: metadata, then tensors, many of them quantised in blocks."""
