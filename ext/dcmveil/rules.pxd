"""The frozen rule table: what the dictionary and the profile say of a tag, in four loads.

    slot_of_group[gggg] -> slot;  page_of[slot][ee__] -> page;  cells[page][__ee] -> rules[]

Slot 0 and page 0 stand for "not in the dictionary". Groups of one pattern (60xx) share a slot. A
profile has some hundred rules that differ, so a tag has the number of one and not the rule itself:
the memory that a table takes, and not what is computed, is most of the time that it takes to make.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from dcmveil.index cimport Index

cdef enum:      # Action
    KEEP        # the value stays; text after a NUL does not
    BLANK       # as an absent value reads: spaces, zeros or NULs, by VR
    DUMMY       # a valid value that says nothing, by VR
    UID         # a keyed UID of the same length
    LITERAL     # fixed bytes of the profile, padded
    DOCUMENT    # an encapsulated document: a blank one
    SHIFT       # a date moved by the patient's days
    YEAR        # the first day of the same year
    ZERO_TIME   # midnight
    PSEUDONYM   # a keyed value of the same form, or the one of the user's table
    HASH        # a keyed hash
    # the ones below are chosen by the machine, never by a rule
    CHECK_UID   # a kept UI value: anything in it that is no UID is replaced
    WIPE        # the rest of a kept text after its first NUL: NULs
    ZERO        # bytes that nothing understands
    PIXELS      # pixel data in a blanked sequence
    ACTION_COUNT
    # the ones below are of Rule.plain alone
    PLAIN_TEXT = 251
    PLAIN_SEQUENCE = 252        # of items that are kept, but for what their rules say
    PLAIN_VEILED = 253          # of items that are blanked
    NOT_PLAIN = 254
    UNCHANGED = 255

cdef enum:      # Short
    # what a literal does where the value field is too short for it
    CUT
    LEAVE
    CLEAR

cdef enum:
    BY_ROW = 1  # arg of a KEEP that a row asks for: rules by VR do not overrule it

cdef enum:
    MAX_LITERALS = 64       # a profile has a handful; the index is one byte
    MAX_CREATORS = 65535    # ids are 16 bits
    MAX_PRIVATE = 65535     # so are the numbers of what the private dictionary has
    MAX_SCOPES = 255        # states of the path rules; the number is one byte
    MAX_PAGES = 65535       # page numbers are 16 bits
    MAX_RULES = 65535       # so are the numbers of rules that differ

cdef struct Rule:
    uint8_t vr              # of the dictionary; VR_NONE: the dictionary does not have the tag
    uint8_t action          # in a data set or an item that is kept
    uint8_t veiled          # inside a blanked sequence
    uint8_t arg             # of the action: index of a literal, kind of a pseudonym, BY_ROW
    uint8_t veiled_arg      # the same of `veiled`
    # outside and inside a blanked sequence, written when the table is frozen (plain.pxd): KEEP,
    # PLAIN_TEXT (kept, but for what follows a NUL), BLANK, DUMMY, LITERAL or one of the sequences
    # where the rule alone decides, NOT_PLAIN where anything else counts
    uint8_t plain[2]
    uint8_t unused          # eight bytes, so that an index is a shift

cdef struct Literal:
    uint8_t *data
    uint32_t length
    uint8_t when_short           # one of Short

cdef struct ScopeRule:      # what a path rule says of one tag in one scope
    uint64_t key                # scope << 32 | tag, plus 1; 0 is free
    Rule rule
    uint8_t has_rule
    uint8_t next                # scope inside the items of this tag

cdef struct RuleTable:
    uint8_t *slot_of_group      # 65536
    uint16_t *page_of           # n_slots x 256
    uint16_t *shared_page       # per slot: the page of elements given by low byte alone, or 0
    uint32_t *slot_pattern      # per slot: mask << 16 | value of its groups
    uint16_t *cells             # n_pages x 256: numbers of rules
    uint32_t n_slots
    uint32_t n_pages
    Rule *rules                 # n_rules, each once
    uint32_t n_rules
    Index numbers               # of them, plus 1
    uint8_t by_vr[35]           # action for a kept attribute, by its VR
    Rule private_default        # private attributes that no row names
    # all others do the same to what is not UN or SQ: nobody need know whose it is (plain.pxd)
    uint8_t private_alike
    uint8_t walk_private        # a private sequence is not blanked whole: its items are decided on
    ScopeRule *scopes           # open addressing
    uint32_t scope_mask
    uint32_t n_scope_rules
    uint32_t *private_elements  # of the private dictionary, by creator: group << 16 | low << 8 | VR
    uint32_t *private_start     # by id of a creator: its first one, and after it the next one's
    uint32_t n_dictionary       # creators that the private dictionary has, ids 1 to this
    uint16_t *private_places    # open addressing over the elements: number + 1, 0 is free
    uint32_t place_mask
    Rule *private_rules         # of an element of the private dictionary, by its VR
    uint32_t private_mask       # one less than there are of these; 0: nothing is loaded
    Rule *own_rules             # of private elements that rows name
    Index own                   # numbers of these, plus 1, by _private_key
    Index creators              # ids of the known private creators by the hash of their names
    uint32_t n_creators
    Literal literals[MAX_LITERALS]
    uint32_t n_literals

cdef RuleTable *rules_new(uint8_t unknown) noexcept
cdef void rules_free(RuleTable *t) noexcept
# each returns 0, or -1 on a malformed argument, a full table or no memory
cdef int rules_set(RuleTable *t, const uint8_t *pattern, uint8_t vr, uint8_t action,
                   uint8_t veiled, uint8_t arg) noexcept
cdef int rules_load_dictionary(RuleTable *t, const uint8_t *text, size_t n) noexcept
cdef int rules_load_private(RuleTable *t, const uint8_t *text, size_t n) noexcept
cdef void rules_set_known(RuleTable *t, uint8_t action) noexcept
cdef int rules_set_private(RuleTable *t, const uint8_t *creator, size_t n, uint32_t tag,
                           uint8_t action, uint8_t veiled, uint8_t arg) noexcept
cdef int rules_set_scope(RuleTable *t, uint8_t scope, uint32_t tag, uint8_t action, uint8_t arg,
                         int next) noexcept
cdef int rules_add_literal(RuleTable *t, const uint8_t *data, size_t n, uint8_t when_short) noexcept
cdef int rules_check(const RuleTable *t) noexcept
cdef int rule_number(RuleTable *t, const Rule *rule) noexcept
cdef void rules_number_all(RuleTable *t) noexcept


cdef inline uint32_t cell_of(const RuleTable *t, uint32_t tag) noexcept nogil:
    cdef uint32_t slot = t.slot_of_group[tag >> 16]
    cdef uint32_t page = t.page_of[slot * 256 + ((tag >> 8) & 0xFF)]
    return page * 256 + (tag & 0xFF)


cdef inline const Rule *rule_of(const RuleTable *t, uint32_t tag) noexcept nogil:
    return &t.rules[t.cells[cell_of(t, tag)]]


cdef uint64_t creator_hash(const uint8_t *text, size_t n) noexcept nogil
cdef const ScopeRule *scope_rule_of(const RuleTable *t, uint8_t scope,
                                    uint32_t tag) noexcept nogil
cdef uint16_t creator_of(const RuleTable *t, const uint8_t *text, size_t n) noexcept nogil
cdef const Rule *private_rule_of(const RuleTable *t, uint16_t creator, uint32_t tag) noexcept nogil
