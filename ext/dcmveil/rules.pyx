"""Building and reading the frozen rule table (see rules.pxd for its shape)."""
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from dcmveil.vr cimport SQ, UI, vr_of


cdef Rule _rule(uint8_t action, uint8_t arg) noexcept:
    """For a tag that the dictionary does not have."""
    cdef Rule r
    memset(&r, 0, sizeof(Rule))
    r.action, r.veiled, r.arg = action, BLANK, arg
    r.plain[0] = r.plain[1] = NOT_PLAIN
    return r


cdef RuleTable *rules_new(uint8_t unknown) noexcept:
    """An empty table: slot 0 and page 0 exist, every tag is absent and gets the action `unknown`.
    NULL: no memory."""
    cdef RuleTable *t = <RuleTable *>calloc(1, sizeof(RuleTable))
    cdef uint32_t i
    if t == NULL:
        return NULL
    t.slot_of_group = <uint8_t *>calloc(65536, 1)
    if t.slot_of_group == NULL or _add_slot(t, 0, 0) != 0 or _add_page(t, 0) < 0:
        rules_free(t)
        return NULL
    for i in range(256):
        t.rules[i] = _rule(unknown, 0)
    t.private_default = _rule(BLANK, 0)
    return t


cdef void rules_free(RuleTable *t) noexcept:
    cdef uint32_t i
    if t == NULL:
        return
    for i in range(t.n_literals):
        free(t.literals[i].data)
    free(t.slot_of_group)
    free(t.page_of)
    free(t.shared_page)
    free(t.slot_pattern)
    free(t.rules)
    free(t.scopes)
    free(t.private_keys)
    free(t.private_rules)
    free(t.creator_hashes)
    free(t.creator_ids)
    free(t)


# -- public tags -----------------------------------------------------------------------------

cdef int _grow(void **block, size_t n, size_t size) noexcept:
    """Room for item n of an array that doubles; new items are zero."""
    if n & (n - 1) != 0:
        return 0
    cdef size_t old = n * size, new = (2 * n if n else 1) * size
    cdef void *p = realloc(block[0], new)
    if p == NULL:
        return -1
    memset(<uint8_t *>p + old, 0, new - old)
    block[0] = p
    return 0


cdef int _add_slot(RuleTable *t, uint32_t mask, uint32_t value) noexcept:
    if (t.n_slots > 255
            or _grow(<void **>&t.page_of, t.n_slots, 256 * sizeof(uint16_t)) < 0
            or _grow(<void **>&t.shared_page, t.n_slots, sizeof(uint16_t)) < 0
            or _grow(<void **>&t.slot_pattern, t.n_slots, sizeof(uint32_t)) < 0):
        return -1
    t.slot_pattern[t.n_slots] = mask << 16 | value
    t.n_slots += 1
    return t.n_slots - 1


cdef int _add_page(RuleTable *t, uint32_t like) noexcept:
    """A new page with the rules of page `like`."""
    if t.n_pages >= MAX_PAGES or _grow(<void **>&t.rules, t.n_pages, 256 * sizeof(Rule)) < 0:
        return -1
    if t.n_pages:
        memcpy(t.rules + t.n_pages * 256, t.rules + like * 256, 256 * sizeof(Rule))
    t.n_pages += 1
    return t.n_pages - 1


cdef int _slot_for(RuleTable *t, uint32_t mask, uint32_t value) noexcept:
    """The slot of a group pattern. One group that a wider pattern covers inherits its pages."""
    cdef uint32_t g, s
    cdef int slot, page, wide = 0
    if mask == 0xFFFF:
        wide = t.slot_of_group[value]
        if wide and t.slot_pattern[wide] == (mask << 16 | value):
            return wide
    else:
        for s in range(1, t.n_slots):
            if t.slot_pattern[s] == (mask << 16 | value):
                return s
    slot = _add_slot(t, mask, value)
    if slot < 0:
        return -1
    if mask == 0xFFFF:
        for g in range(256):    # copies: a write must not reach the wider pattern
            if t.page_of[wide * 256 + g]:
                page = _add_page(t, t.page_of[wide * 256 + g])
                if page < 0:
                    return -1
                t.page_of[slot * 256 + g] = page
        t.slot_of_group[value] = slot
        return slot
    g = 0
    while True:                     # every choice of the digits that are x
        if t.slot_of_group[value | g] == 0:
            t.slot_of_group[value | g] = slot
        g = (g - (mask ^ 0xFFFF)) & (mask ^ 0xFFFF)
        if g == 0:
            return slot


cdef void _write(Rule *r, uint8_t vr, uint8_t action, uint8_t veiled, uint8_t arg) noexcept:
    if vr != UNCHANGED:
        r.vr = vr
    if action != UNCHANGED:
        r.action = action
    if veiled != UNCHANGED:
        r.veiled = veiled
    if arg != UNCHANGED:
        if action == UNCHANGED and veiled != UNCHANGED:
            r.veiled_arg = arg
        else:
            r.arg = arg


cdef int _page_for(RuleTable *t, uint32_t slot, uint32_t high, bint shared) noexcept:
    """The page to write for elements high*256...; a shared one is split before one high byte of it
    gets rules of its own."""
    cdef uint16_t *page = &t.page_of[slot * 256 + high]
    cdef int new
    if page[0] == 0 or (not shared and page[0] == t.shared_page[slot]):
        if shared and t.shared_page[slot]:
            page[0] = t.shared_page[slot]
        else:
            new = _add_page(t, page[0])
            if new < 0:
                return -1
            page = &t.page_of[slot * 256 + high]
            page[0] = new
            if shared:
                t.shared_page[slot] = new
    return page[0]


cdef int _set_in_slot(RuleTable *t, uint32_t slot, uint32_t mask, uint32_t value, uint8_t vr,
                      uint8_t action, uint8_t veiled, uint8_t arg) noexcept:
    cdef uint32_t high, low
    cdef int page, written = -1
    cdef bint shared = (mask >> 8) == 0
    if mask == 0xFFFF:              # nearly every row
        page = _page_for(t, slot, value >> 8, False)
        if page < 0:
            return -1
        _write(&t.rules[page * 256 + (value & 0xFF)], vr, action, veiled, arg)
        return 0
    for high in range(256):
        if (high & (mask >> 8)) != (value >> 8):
            continue
        page = _page_for(t, slot, high, shared)
        if page < 0:
            return -1
        if page == written:         # shared by many high bytes
            continue
        written = page
        for low in range(256):
            if (low & (mask & 0xFF)) == (value & 0xFF):
                _write(&t.rules[page * 256 + low], vr, action, veiled, arg)
    return 0


cdef int _digits(const uint8_t *text, uint32_t *mask, uint32_t *value) noexcept:
    """Four hexadecimal digits, `x` for any."""
    cdef int i
    cdef uint32_t c
    mask[0] = value[0] = 0
    for i in range(4):
        c = text[i]
        mask[0] <<= 4
        value[0] <<= 4
        if c == c'x':
            continue
        if c'0' <= c <= c'9':
            value[0] |= c - c'0'
        elif c'A' <= c <= c'F':
            value[0] |= c - c'A' + 10
        else:
            return -1
        mask[0] |= 15
    return 0


cdef int rules_set(RuleTable *t, const uint8_t *pattern, uint8_t vr, uint8_t action,
                   uint8_t veiled, uint8_t arg) noexcept:
    """Write a rule for the tags of `pattern` (ggggeeee, upper case, x for any digit). UNCHANGED in
    an argument leaves what stands; `arg` belongs to the action, or to `veiled` where that alone is
    set. Later rows win."""
    cdef uint32_t group_mask, group, mask, value, s, other_mask, other
    cdef int slot
    if _digits(pattern, &group_mask, &group) < 0 or _digits(pattern + 4, &mask, &value) < 0:
        return -1
    slot = _slot_for(t, group_mask, group)
    if slot < 0 or _set_in_slot(t, slot, mask, value, vr, action, veiled, arg) < 0:
        return -1
    if group_mask != 0xFFFF:
        for s in range(1, t.n_slots):
            if s == <uint32_t>slot:
                continue
            other_mask, other = t.slot_pattern[s] >> 16, t.slot_pattern[s] & 0xFFFF
            if (other & group_mask) == group and (other_mask & group_mask) == group_mask:
                # groups of the pattern that have a slot of their own
                if _set_in_slot(t, s, mask, value, vr, action, veiled, arg) < 0:
                    return -1
            elif (other & group_mask & other_mask) == (group & other_mask & group_mask):
                return -1       # two patterns of groups that overlap in part
    return 0


cdef int rules_load_dictionary(RuleTable *t, const uint8_t *text, size_t n) noexcept:
    """Lines `ggggeeee VR`; `#` starts a comment line. Every tag is kept, and dummied inside a
    blanked sequence (a UID mapped), until the profile says otherwise."""
    cdef size_t i = 0
    cdef uint8_t vr
    # the wide patterns stand last in the file, but a single group must find them: two passes
    cdef int wide
    for wide in range(1, -1, -1):
        i = 0
        while i < n:
            if text[i] == c'#':
                while i < n and text[i] != c'\n':
                    i += 1
                i += 1
                continue
            if n - i < 12 or text[i + 8] != c' ' or text[i + 11] != c'\n':
                return -1
            if (text[i + 2] == c'x' or text[i + 3] == c'x') == (wide == 1):
                vr = vr_of(text[i + 9], text[i + 10])
                if vr == 0 or rules_set(t, text + i, vr, KEEP, UID if vr == UI else DUMMY, 0) < 0:
                    return -1
            i += 12
    return 0


cdef void rules_set_known(RuleTable *t, uint8_t action) noexcept:
    """The action of every tag that the dictionary has, before the rows are set."""
    cdef uint32_t i
    for i in range(t.n_pages * 256):
        if t.rules[i].vr:
            t.rules[i].action = action


# -- private attributes ----------------------------------------------------------------------

cdef uint64_t _hash(const uint8_t *text, size_t n) noexcept nogil:
    """FNV-1a, never 0."""
    cdef uint64_t h = 0xCBF29CE484222325ULL
    cdef size_t i
    for i in range(n):
        h = (h ^ text[i]) * 0x100000001B3ULL
    return h | 1


cdef inline uint64_t _private_key(uint16_t creator, uint32_t tag) noexcept nogil:
    """Creator, group and low byte: the block is assigned by the file (PS3.5 section 7.8.1)."""
    return (<uint64_t>creator << 24) | ((tag >> 16) << 8) | (tag & 0xFF)


cdef inline uint32_t _spread(uint64_t key, uint32_t mask) noexcept nogil:
    return <uint32_t>((key * 0x9E3779B97F4A7C15ULL) >> 32) & mask


cdef uint64_t creator_hash(const uint8_t *text, size_t n) noexcept nogil:
    """Hash of a private creator, its padding stripped; 0: it is empty."""
    while n and (text[n - 1] == c' ' or text[n - 1] == 0):
        n -= 1
    while n and text[0] == c' ':
        text += 1
        n -= 1
    return _hash(text, n) if n else 0


cdef uint16_t creator_of(const RuleTable *t, const uint8_t *text, size_t n) noexcept nogil:
    """The id of a known private creator, 0 for any other."""
    cdef uint64_t h = creator_hash(text, n)
    cdef uint32_t i
    if h == 0 or t.creator_mask == 0:
        return 0
    i = _spread(h, t.creator_mask)
    while t.creator_hashes[i]:
        if t.creator_hashes[i] == h:
            return t.creator_ids[i]
        i = (i + 1) & t.creator_mask
    return 0


cdef const Rule *private_rule_of(const RuleTable *t, uint16_t creator, uint32_t tag) noexcept nogil:
    cdef uint64_t key
    cdef uint32_t i
    if creator == 0 or t.private_mask == 0:
        return &t.private_default
    key = _private_key(creator, tag)
    i = _spread(key, t.private_mask)
    while t.private_keys[i]:
        if t.private_keys[i] == key:
            return &t.private_rules[i]
        i = (i + 1) & t.private_mask
    return &t.private_default


cdef uint32_t _hex4(const uint8_t *p, int n) noexcept:
    cdef uint32_t v = 0
    cdef int i
    for i in range(n):
        v = v << 4 | (p[i] - c'0' if p[i] <= c'9' else p[i] - c'A' + 10)
    return v


cdef int _load_private_element(RuleTable *t, uint16_t creator, const uint8_t *line) noexcept:
    """`GGGG EE VR`"""
    cdef uint64_t key = _private_key(creator, _hex4(line, 4) << 16 | _hex4(line + 5, 2))
    cdef uint32_t j = _spread(key, t.private_mask)
    cdef uint8_t vr = vr_of(line[8], line[9])
    if vr == 0:
        return -1
    while t.private_keys[j] and t.private_keys[j] != key:
        j = (j + 1) & t.private_mask
    t.private_keys[j] = key
    t.private_rules[j] = t.private_default
    t.private_rules[j].vr = vr
    t.n_private += 1
    return 0


cdef int _load_creator(RuleTable *t, const uint8_t *text, size_t n) noexcept:
    cdef uint64_t h = _hash(text, n)
    cdef uint32_t j = _spread(h, t.creator_mask)
    if t.n_creators >= MAX_CREATORS:
        return -1
    while t.creator_hashes[j]:
        if t.creator_hashes[j] == h:    # two creators that one hash cannot tell apart
            return -1
        j = (j + 1) & t.creator_mask
    t.n_creators += 1
    t.creator_hashes[j] = h
    t.creator_ids[j] = t.n_creators
    return 0


cdef int rules_load_private(RuleTable *t, const uint8_t *text, size_t n) noexcept:
    """Lines `@CREATOR`, each followed by its `GGGG EE VR` lines; `#` starts a comment. Once."""
    cdef size_t i, end
    cdef uint32_t lines = 0, size = 1024
    if t.private_keys != NULL:
        return -1
    for i in range(n):
        lines += text[i] == c'\n'
    while size < 2 * lines:
        size *= 2
    t.private_keys = <uint64_t *>calloc(size, sizeof(uint64_t))
    t.private_rules = <Rule *>calloc(size, sizeof(Rule))
    t.creator_hashes = <uint64_t *>calloc(size, sizeof(uint64_t))
    t.creator_ids = <uint16_t *>calloc(size, sizeof(uint16_t))
    if (t.private_keys == NULL or t.private_rules == NULL or t.creator_hashes == NULL
            or t.creator_ids == NULL):
        return -1
    t.private_mask = t.creator_mask = size - 1
    i = 0
    while i < n:
        end = i
        while end < n and text[end] != c'\n':
            end += 1
        if text[i] == c'@':
            if _load_creator(t, text + i + 1, end - i - 1) < 0:
                return -1
        elif text[i] != c'#':
            if (end - i != 10 or t.n_creators == 0
                    or _load_private_element(t, t.n_creators, text + i) < 0):
                return -1
        i = end + 1
    return 0


cdef int rules_set_private(RuleTable *t, const uint8_t *creator, size_t n, uint32_t tag,
                           uint8_t action, uint8_t veiled, uint8_t arg) noexcept:
    """A rule for one element of a private block: its group, and the low byte of its element."""
    cdef uint16_t id = creator_of(t, creator, n)
    cdef uint64_t key
    cdef uint32_t i
    if t.private_mask == 0:
        return -1
    if id == 0:
        if t.n_creators * 4 > t.creator_mask * 3 or _load_creator(t, creator, n) < 0:
            return -1
        id = t.n_creators
    key = _private_key(id, tag)
    i = _spread(key, t.private_mask)
    while t.private_keys[i] and t.private_keys[i] != key:
        i = (i + 1) & t.private_mask
    if t.private_keys[i] == 0:
        if t.n_private * 4 > t.private_mask * 3:
            return -1
        t.n_private += 1
        t.private_keys[i] = key
        t.private_rules[i] = t.private_default
    _write(&t.private_rules[i], UNCHANGED, action, veiled, arg)
    return 0


# -- rules for a place ------------------------------------------------------------------------

cdef const ScopeRule *scope_rule_of(const RuleTable *t, uint8_t scope,
                                    uint32_t tag) noexcept nogil:
    """What the path rules say of a tag in a scope; NULL: nothing."""
    cdef uint64_t key = ((<uint64_t>scope << 32) | tag) + 1
    cdef uint32_t i
    if t.scope_mask == 0:
        return NULL
    i = _spread(key, t.scope_mask)
    while t.scopes[i].key:
        if t.scopes[i].key == key:
            return &t.scopes[i]
        i = (i + 1) & t.scope_mask
    return NULL


cdef int rules_set_scope(RuleTable *t, uint8_t scope, uint32_t tag, uint8_t action, uint8_t arg,
                         int next) noexcept:
    """In `scope` the tag has this action (UNCHANGED: the one it has anywhere), and its items are
    in the scope `next`. Scope 0 is every place without one of its own."""
    cdef uint64_t key = ((<uint64_t>scope << 32) | tag) + 1
    cdef uint32_t i
    if t.scopes == NULL:
        t.scopes = <ScopeRule *>calloc(4096, sizeof(ScopeRule))
        if t.scopes == NULL:
            return -1
        t.scope_mask = 4095
    if t.n_scope_rules > 3000 or not 0 <= next <= MAX_SCOPES:
        return -1
    i = _spread(key, t.scope_mask)
    while t.scopes[i].key and t.scopes[i].key != key:
        i = (i + 1) & t.scope_mask
    t.n_scope_rules += t.scopes[i].key == 0
    t.scopes[i].key = key
    t.scopes[i].next = next
    if action != UNCHANGED:
        t.scopes[i].has_rule = True
        t.scopes[i].rule = _rule(action, arg)
    return 0


# -- literals and the last check -------------------------------------------------------------

cdef int rules_add_literal(RuleTable *t, const uint8_t *data, size_t n, uint8_t when_short) noexcept:
    """Returns the literal's index."""
    cdef Literal *literal = &t.literals[t.n_literals]
    if t.n_literals >= MAX_LITERALS or n > 1024 or when_short > CLEAR:
        return -1
    literal.data = <uint8_t *>calloc(n + 1, 1)
    if literal.data == NULL:
        return -1
    memcpy(literal.data, data, n)
    literal.length = n
    literal.when_short = when_short
    t.n_literals += 1
    return t.n_literals - 1


cdef int _check_rule(const RuleTable *t, const Rule *r) noexcept:
    if (r.vr > 34 or r.action > HASH or r.veiled > HASH
            or (r.action == LITERAL and r.arg >= t.n_literals)
            or (r.veiled == LITERAL and r.veiled_arg >= t.n_literals)):
        return -1
    return 0


cdef int rules_check(const RuleTable *t) noexcept:
    """Every index inside its array and every action a known one: after this a lookup cannot leave
    the table, whatever the tag."""
    cdef uint32_t i
    for i in range(65536):
        if t.slot_of_group[i] >= t.n_slots:
            return -1
    for i in range(t.n_slots * 256):
        if t.page_of[i] >= t.n_pages:
            return -1
    for i in range(t.n_pages * 256):
        if _check_rule(t, &t.rules[i]) < 0:
            return -1
    for i in range(35):
        if t.by_vr[i] > HASH or t.by_vr[i] == LITERAL:
            return -1
    if t.private_mask:
        for i in range(t.private_mask + 1):
            if t.private_keys[i] and _check_rule(t, &t.private_rules[i]) < 0:
                return -1
    if t.scope_mask:
        for i in range(t.scope_mask + 1):
            if t.scopes[i].has_rule and _check_rule(t, &t.scopes[i].rule) < 0:
                return -1
    return _check_rule(t, &t.private_default)
