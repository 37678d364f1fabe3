"""CRC32 (IEEE), which guards packages, saved states and frames."""

try:
    from binascii import crc32
except ImportError:  # small CircuitPython builds

    def crc32(data, crc=0):
        crc ^= 0xFFFFFFFF
        for byte in data:
            crc ^= byte & 255  # the bytes of an array("b") have signs
            for _ in range(8):
                crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
        return crc ^ 0xFFFFFFFF
