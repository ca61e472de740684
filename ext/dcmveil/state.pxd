"""The state of the machine and what it says: operations, statuses, faults.

The machine reads a window of the input and appends operations. It never writes to the window and
knows nothing of layouts: an operation says where a span is, what it belongs to and which action
its rule names; a layout (values.pxd is the fixed one) says what to write there.

    absolute   base          pos                    base + n
               |-- settled --|-- not understood yet --|
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t
from libc.string cimport memset

from dcmveil.rules cimport RuleTable

cdef enum:
    UNDEFINED = 0xFFFFFFFF      # undefined length, PS3.5 section 7.1.1

cdef enum:
    # limits, each with its reason
    DEPTH_LIMIT = 128           # nested sequences: real files have under 20; readers recurse
    WHOLE_LIMIT = 65536         # a value up to here is seen whole, so a dummy can keep its parts
    UID_LIMIT = 1 << 20         # a UI value: over 15,000 UIDs; only implicit VR can reach 64 KiB
    TRIAL_LIMIT = 4 << 20       # a value held to see whether it tiles into items
    PIXELS_LIMIT = 1 << 20      # encapsulated pixel data of an icon, held to fit a blank one
    FORM_LIMIT = 65536          # a value with an unknown VR, held to see the header after it
    CREATOR_LIMIT = 128         # a private creator is an LO of at most 64; some are longer
    BLOCK_LIMIT = 4096          # private blocks reserved in the open data sets at one time
    SAFE_LIMIT = 64             # private blocks that one file may declare safe; real ones: under 20
    SKIP_LEAST = 4096           # a shorter rest of a bulk value is not worth a skip
    DOCUMENT_HEAD = 1024        # bytes of an encapsulated document shown to choose the blank one
    TRACE_LIMIT = 4096          # bytes of a value that a trace shows
    OP_CAPACITY = 1024          # operations between two calls of the layout
    OP_ROOM = 4                 # the most that one element or item adds

cdef enum:      # Encoding: bits
    IMPLICIT = 1
    BIG = 2
    ENCODING_UNKNOWN = 0x80     # not told: prove it from the first header
    ENCODING_UNREGISTERED = 0x40    # told explicit little endian by nobody: the bytes must prove it

cdef enum:      # Sniff: what the first header of an item may overrule
    SNIFF_NOTHING               # the encoding was proved
    SNIFF_IMPLICIT              # explicit VR was told, an item may be implicit (PS3.5 6.2.2)
    SNIFF_EITHER                # UN: implicit by CP-246, explicit by some writers

cdef enum:      # State: each named by what it waits for
    AT_START
    AT_DATA_SET                 # the first header after the file meta information
    AT_ELEMENT                  # a header, an item or a fragment: the top frame's kind says which
    IN_VALUE                    # the rest of a value that is rewritten piece by piece
    IN_TEXT                     # the rest of a kept text, looking for its first NUL
    IN_SKIP                     # the rest of a value that no rule touches
    IN_TAIL                     # bytes after the last element
    AT_END
    FAILED

cdef enum:      # Phase: of the top-level data set
    IN_META                     # group 0002, always explicit VR little endian
    IN_COMMAND                  # group 0000, always implicit VR little endian
    IN_DATA

cdef enum:      # Status
    GO                          # inside the machine only: go on
    MORE                        # `need` bytes from `pos` are wanted
    OPS                         # the operations must be applied before it goes on
    SKIP                        # `skip` input bytes past the window pass unread
    SYNTAX                      # the transfer syntax UID is known; its encoding must be told
    BARRIER                     # a scout has reached its barrier
    RECORD                      # a record of a DICOMDIR begins (not to a scout) or has ended
    DONE
    STOPPED                     # failed: see fault

cdef enum:      # Fault
    NO_FAULT
    EMPTY_INPUT
    NOT_DICOM
    TRUNCATED
    NO_DATA_SET
    NO_SYNTAX
    NOT_EXPLICIT
    BYTE_ORDER
    OVERRUN
    BAD_UNDEFINED
    EXPECTED_ITEM
    BAD_FRAGMENT
    BAD_DELIMITER
    TOO_DEEP
    MISPLACED
    UNKNOWN_FORM
    NOT_ITEMS
    TOO_LONG
    TOO_MANY_BLOCKS
    BAD_TAIL
    ICON_TOO_LONG
    FAULT_COUNT

cdef enum:      # Note: tolerated, counted and reported
    EMPTY_DUMMY                 # an empty value where the profile wants a dummy
    STRAY_DELIMITER
    MISSING_DELIMITER
    TAIL_ZEROED
    ENCODING_DIFFERS            # a data set or an item not in the encoding that was told
    UNKNOWN_VR
    PIXELS_CUT
    TEXT_WIPED
    NOTE_COUNT

cdef enum:      # Kind: of a frame
    DATA_SET
    SEQUENCE
    FRAGMENTS

cdef enum:      # OpKind
    VALUE
    PREAMBLE
    TAIL
    SEQUENCE_OPEN               # this and what follows only with a trace: no layout needs them
    SEQUENCE_CLOSE
    ITEM_OPEN
    ITEM_CLOSE

cdef struct Geometry:           # of an image in an item, PS3.3 C.7.6.3
    uint16_t rows
    uint16_t columns
    uint16_t samples
    uint16_t allocated
    uint16_t stored
    uint32_t frames

cdef struct Frame:
    uint64_t bound              # absolute offset that nothing inside may pass
    uint32_t tag                # of the sequence; of the item's sequence
    uint32_t items              # items or fragments opened so far
    uint32_t last_tag           # greatest so far, in a data set
    uint16_t blocks             # index of this data set's first private block
    uint8_t kind
    uint8_t encoding
    uint8_t sniff
    uint8_t undefined           # undefined length: closed by a delimiter
    uint8_t veiled              # 1 inside a blanked sequence, 0 elsewhere: an index
    uint8_t fresh               # no header of this data set was read yet
    uint8_t scope               # of the path rules
    uint8_t record              # an item of a DICOMDIR's (0004,1220)
    Geometry image              # in a blanked item only

cdef struct Block:              # a private block, PS3.5 section 7.8.1
    uint32_t key                # group << 8 | block
    uint16_t creator            # 0: not a known one
    uint8_t safe                # index + 1 into the blocks that the file declares safe

cdef struct SafeBlock:          # (0008,0300) Private Data Element Characteristics Sequence
    uint64_t creator            # hash
    uint32_t group
    uint8_t elements[32]        # a bit for each low byte that is safe

cdef struct Element:
    uint64_t header             # absolute offset
    uint64_t value              # absolute offset
    uint32_t tag
    uint32_t length
    uint8_t header_length
    uint8_t vr                  # as encoded; VR_NONE in implicit VR
    uint8_t known               # of the dictionary; VR_NONE when absent
    uint8_t means               # the VR that the value is treated by
    uint8_t action
    uint8_t arg
    uint8_t veils               # a sequence here is a blanked one
    uint8_t scope               # of its items

cdef struct Op:                 # 32 bytes: it is written and read once for each value
    uint64_t offset             # absolute offset of the span; its header ends at offset - done
    uint32_t done               # bytes of the value before the span
    uint32_t length             # of the span
    uint32_t total              # of the value field; of a sequence or item as encoded
    uint32_t tag
    uint8_t kind
    uint8_t vr
    uint8_t action
    uint8_t arg
    uint8_t header_length       # of a close: 8 when a delimiter stands at the offset
    uint8_t encoding
    uint8_t veiled              # inside a blanked sequence; of an open: it is one itself

cdef struct Span:
    uint64_t offset
    uint32_t length
    uint8_t seen

cdef struct Record:             # a directory record, PS3.3 section F.3.2.2
    uint64_t start              # absolute offset of its item tag, which links are to
    uint64_t end                # absolute offset past the item; 0 while it is open
    uint8_t encoding
    Span next
    Span lower
    Span instance
    Span patient_name
    Span patient_id
    Span study_instance
    Span series_instance

cdef struct Machine:
    const RuleTable *rules
    uint64_t base               # absolute offset of the window's first byte
    uint64_t pos                # absolute offset of the first byte not understood
    uint64_t skip               # with SKIP
    size_t need                 # with MORE: bytes wanted from pos
    int state
    int phase
    int depth                   # index of the top frame
    Element e                   # the one at hand
    uint32_t done               # bytes of its value that are behind pos
    uint64_t measured_at        # pos of the fragments of an icon that are being measured
    size_t measured             # how many of their bytes are known to be whole fragments
    uint8_t wipe_noted          # the text at hand was counted as wiped
    uint32_t n_blocks
    Op *ops                     # OP_CAPACITY
    uint32_t n_ops
    # set by the caller
    uint8_t scout               # no operations, no skips; stops at the barrier
    uint8_t directory           # a DICOMDIR: group 0004 belongs here
    uint8_t keep_file_ids       # its (0004,1500) stay
    uint8_t audio               # a SOP class whose waveform is a voice
    uint8_t accept_cut_pixels
    uint8_t trace               # operations for kept values and for nesting too
    uint32_t n_safe
    uint32_t barrier            # scout: stops at the first top-level tag past this one
    uint64_t known_meta_end     # where an earlier scout saw group 0002 end; 0: not known
    uint8_t encoding_told       # the machine need not stop with SYNTAX:
    uint8_t encoding            # this is the answer
    # what was seen
    uint8_t has_preamble
    uint8_t past_pixels         # top-level pixel data has begun
    uint8_t past_barrier        # a top-level tag past the barrier was read
    # values of the top level, for the caller to look at, in the order of SPANS in core.pyx
    Span syntax
    Span media_class
    Span media_instance
    Span sop_class
    Span sop_instance
    Span patient_name
    Span patient_id
    Span study_instance
    Span series_instance
    Span characteristics        # (0008,0300), its items
    uint8_t characteristics_encoding
    Record record               # of a DICOMDIR: the last one that began
    uint64_t meta_end
    uint64_t elements
    uint64_t counts[16]         # values per action
    uint64_t notes[NOTE_COUNT]
    # with STOPPED
    int fault
    uint64_t fault_offset
    uint32_t fault_tag
    # for a new input all above becomes 0; what is below is written before it is read
    Frame stack[2 * DEPTH_LIMIT + 2]
    Block blocks[BLOCK_LIMIT]
    SafeBlock safe[SAFE_LIMIT]

# the handlers return a Status; STOPPED is their error return
cdef int fail(Machine *m, int fault, uint64_t offset, uint32_t tag) noexcept nogil
cdef int cut_at(Machine *m, uint64_t offset) noexcept nogil
cdef int want(Machine *m, size_t need, size_t left, bint eof) noexcept nogil
cdef Op *new_op(Machine *m, uint8_t kind) noexcept nogil
cdef void value_op(Machine *m, Element *e, uint8_t action, uint32_t done,
                   uint32_t length) noexcept nogil
cdef void see(Span *span, Element *e) noexcept nogil
cdef int open_record(Machine *m, Frame *f, uint64_t start) noexcept nogil
cdef void watch_record(Record *r, Element *e) noexcept nogil
cdef Frame *push_frame(Machine *m, uint8_t kind, uint8_t encoding, uint8_t veiled, uint32_t tag,
                       uint32_t length, uint64_t start) noexcept nogil
cdef int close_frame(Machine *m, Frame *f, uint8_t delimiter) noexcept nogil
cdef int note_order(Machine *m, Frame *f) noexcept nogil


cdef inline void open_data_set(Machine *m, Frame *f, uint8_t encoding,
                               uint8_t veiled) noexcept nogil:
    memset(f, 0, sizeof(Frame))
    f.kind = DATA_SET
    f.bound = 0xFFFFFFFFFFFFFFFF    # none
    f.encoding = encoding
    f.veiled = veiled
    f.fresh = True
    f.blocks = m.n_blocks


cdef inline Frame *new_frame(Machine *m, const Frame *outer, uint8_t kind, uint8_t encoding,
                             uint8_t veiled, uint32_t tag, uint32_t length,
                             uint64_t start) noexcept nogil:
    """The frame on `outer`, where there is room for one. Its content begins at `start`."""
    cdef Frame *f = <Frame *>outer + 1
    open_data_set(m, f, encoding, veiled)
    f.kind = kind
    f.tag = tag
    f.undefined = length == UNDEFINED
    f.bound = outer.bound if length == UNDEFINED else start + length
    return f


cdef inline const Block *block_of(const Machine *m, const Frame *f, uint32_t tag) noexcept nogil:
    """The tag's private block, NULL where this data set has not reserved it (PS3.5 section 7.8.1).
    The blocks of one data set ascend, since a misplaced creator is refused."""
    cdef uint32_t key = (tag >> 16) << 8 | (tag >> 8 & 0xFF)
    cdef uint32_t low = f.blocks, high = m.n_blocks, middle
    while low < high:
        middle = (low + high) >> 1
        if m.blocks[middle].key < key:
            low = middle + 1
        else:
            high = middle
    if low < m.n_blocks and m.blocks[low].key == key:
        return &m.blocks[low]
    return NULL


cdef inline uint16_t creator_of_block(const Machine *m, const Frame *f, uint32_t tag) noexcept nogil:
    """The id of the known private creator of the tag's block, 0 for any other."""
    cdef const Block *b = block_of(m, f, tag)
    return b.creator if b != NULL else 0
