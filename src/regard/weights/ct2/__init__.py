"""CTranslate2's model.bin: reading, names, writing."""
