"""Weights as files: the safetensors folder layout, and the one engine that maps foreign names to ours and back."""
