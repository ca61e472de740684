"""The tags that the grammar itself knows."""

cdef enum:
    META_VERSION = 0x00020001       # File Meta Information Version, two bytes
    MEDIA_CLASS = 0x00020002        # Media Storage SOP Class UID
    MEDIA_INSTANCE = 0x00020003     # Media Storage SOP Instance UID
    TRANSFER_SYNTAX = 0x00020010
    FIRST_RECORD = 0x00041200       # offset of the first record of a DICOMDIR
    DIRECTORY_RECORDS = 0x00041220  # Directory Record Sequence
    NEXT_RECORD = 0x00041400        # offset of the next record of the same directory entity
    LOWER_RECORD = 0x00041420       # offset of the first record of the lower-level one
    FILE_ID = 0x00041500            # Referenced File ID
    REFERENCED_INSTANCE = 0x00041511
    CHARACTER_SET = 0x00080005
    SOP_CLASS = 0x00080016
    SOP_INSTANCE = 0x00080018
    CHARACTERISTICS = 0x00080300    # Private Data Element Characteristics Sequence
    PATIENT_NAME = 0x00100010
    PATIENT_ID = 0x00100020
    STUDY_INSTANCE = 0x0020000D
    SERIES_INSTANCE = 0x0020000E
    FRAMES = 0x00280008
    WAVEFORM_DATA = 0x54001010
    FLOAT_PIXELS = 0x7FE00008       # ..09 Double Float Pixel Data, ..10 Pixel Data
    PIXEL_DATA = 0x7FE00010

cdef enum:
    ITEM = 0xFFFEE000
    ITEM_END = 0xFFFEE00D           # Item Delimitation Item
    SEQUENCE_END = 0xFFFEE0DD       # Sequence Delimitation Item
