def crc32c(data: bytes | memoryview) -> int:
    """Returns the CRC-32C (Castagnoli) of bytes."""
