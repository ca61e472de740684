"""Building and reading the frozen rule table (see rules.pxd for its shape)."""
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from dcmveil.index cimport index_free, index_get, index_put, index_reserve, spread
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
    cdef Rule absent = _rule(unknown, 0)
    if t == NULL:
        return NULL
    t.slot_of_group = <uint8_t *>calloc(65536, 1)
    if (t.slot_of_group == NULL or rule_number(t, &absent) != 0 or _add_slot(t, 0, 0) != 0
            or _add_page(t, 0) < 0):
        rules_free(t)
        return NULL
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
    free(t.cells)
    free(t.rules)
    index_free(&t.numbers)
    free(t.scopes)
    free(t.private_elements)
    free(t.private_start)
    free(t.private_places)
    free(t.private_rules)
    free(t.own_rules)
    index_free(&t.own)
    index_free(&t.creators)
    free(t)


# -- rules that differ ------------------------------------------------------------------------

cdef inline uint64_t _bits(const Rule *rule) noexcept:
    cdef uint64_t bits
    memcpy(&bits, rule, sizeof(Rule))
    return bits


cdef int rule_number(RuleTable *t, const Rule *rule) noexcept:
    """The number of a rule, which is added where the table does not have it; -1: full, no memory."""
    cdef uint32_t number = index_get(&t.numbers, _bits(rule))
    if number:
        return number - 1
    if (t.n_rules >= MAX_RULES or _grow(<void **>&t.rules, t.n_rules, sizeof(Rule)) < 0
            or index_put(&t.numbers, _bits(rule), t.n_rules + 1) < 0):
        return -1
    t.rules[t.n_rules] = rule[0]
    t.n_rules += 1
    return t.n_rules - 1


cdef void rules_number_all(RuleTable *t) noexcept:
    """After a change to the rules themselves. Without the memory for it a rule may be there twice."""
    cdef uint32_t i
    index_free(&t.numbers)
    for i in range(t.n_rules):
        index_put(&t.numbers, _bits(&t.rules[i]), i + 1)


# -- public tags -----------------------------------------------------------------------------

cdef int _grow(void **block, size_t n, size_t size) noexcept:
    """Room for item n of an array that doubles."""
    if n & (n - 1) != 0:
        return 0
    cdef void *p = realloc(block[0], (2 * n if n else 1) * size)
    if p == NULL:
        return -1
    block[0] = p
    return 0


cdef int _add_slot(RuleTable *t, uint32_t mask, uint32_t value) noexcept:
    if (t.n_slots > 255
            or _grow(<void **>&t.page_of, t.n_slots, 256 * sizeof(uint16_t)) < 0
            or _grow(<void **>&t.shared_page, t.n_slots, sizeof(uint16_t)) < 0
            or _grow(<void **>&t.slot_pattern, t.n_slots, sizeof(uint32_t)) < 0):
        return -1
    memset(t.page_of + t.n_slots * 256, 0, 256 * sizeof(uint16_t))
    t.shared_page[t.n_slots] = 0
    t.slot_pattern[t.n_slots] = mask << 16 | value
    t.n_slots += 1
    return t.n_slots - 1


cdef int _add_page(RuleTable *t, uint32_t like) noexcept:
    """A new page with the rules of page `like`; the first one has rule 0 throughout."""
    if t.n_pages >= MAX_PAGES or _grow(<void **>&t.cells, t.n_pages, 256 * sizeof(uint16_t)) < 0:
        return -1
    if t.n_pages:
        memcpy(t.cells + t.n_pages * 256, t.cells + like * 256, 256 * sizeof(uint16_t))
    else:
        memset(t.cells, 0, 256 * sizeof(uint16_t))
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


cdef int _write_cell(RuleTable *t, uint16_t *cell, uint8_t vr, uint8_t action, uint8_t veiled,
                     uint8_t arg) noexcept:
    cdef Rule rule = t.rules[cell[0]]
    _write(&rule, vr, action, veiled, arg)
    cdef int number = rule_number(t, &rule)
    if number < 0:
        return -1
    cell[0] = number
    return 0


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
        return _write_cell(t, &t.cells[page * 256 + (value & 0xFF)], vr, action, veiled, arg)
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
            if ((low & (mask & 0xFF)) == (value & 0xFF)
                    and _write_cell(t, &t.cells[page * 256 + low], vr, action, veiled, arg) < 0):
                return -1
    return 0


cdef inline uint32_t _hex4(const uint8_t *p, int n) noexcept:
    cdef uint32_t v = 0
    cdef int i
    for i in range(n):
        v = v << 4 | (p[i] - c'0' if p[i] <= c'9' else p[i] - c'A' + 10)
    return v


cdef inline bint _is_hex(uint8_t c) noexcept:
    return c'0' <= c <= c'9' or c'A' <= c <= c'F'


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
    cdef uint32_t low
    cdef int page = -1          # of the line before, where that is of one tag
    cdef int[35] numbers        # of the rule that a tag of this VR gets, once there was one
    # the wide patterns stand last in the file, but a single group must find them: two passes
    cdef int wide
    for i in range(35):
        numbers[i] = -1
    for wide in range(1, -1, -1):
        i = 0
        while i < n:
            if text[i] == c'#':
                while i < n and text[i] != c'\n':
                    i += 1
                i += 1
                page = -1
                continue
            if n - i < 12 or text[i + 8] != c' ' or text[i + 11] != c'\n':
                return -1
            if (text[i + 2] == c'x' or text[i + 3] == c'x') == (wide == 1):
                vr = vr_of(text[i + 9], text[i + 10])
                if vr == 0:
                    return -1
                if (page >= 0 and memcmp(text + i, text + i - 12, 6) == 0
                        and _is_hex(text[i + 6]) and _is_hex(text[i + 7])):
                    low = _hex4(text + i + 6, 2)
                    if t.cells[page + low] == 0 and numbers[vr] >= 0:
                        t.cells[page + low] = numbers[vr]
                        i += 12
                        continue
                if rules_set(t, text + i, vr, KEEP, UID if vr == UI else DUMMY, 0) < 0:
                    return -1
                page = -1
                if memchr(text + i, c'x', 8) == NULL:
                    page = cell_of(t, _hex4(text + i, 8))
                    numbers[vr] = t.cells[page]
                    page &= ~0xFF
            i += 12
    return 0


cdef void rules_set_known(RuleTable *t, uint8_t action) noexcept:
    """The action of every tag that the dictionary has, before the rows are set."""
    cdef uint32_t i
    for i in range(t.n_rules):
        if t.rules[i].vr:
            t.rules[i].action = action
    rules_number_all(t)


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
    return index_get(&t.creators, h) if h else 0


cdef const Rule *private_rule_of(const RuleTable *t, uint16_t creator, uint32_t tag) noexcept nogil:
    cdef uint32_t number
    if creator == 0:
        return &t.private_default
    number = index_get(&t.own, _private_key(creator, tag))
    if number:
        return &t.own_rules[number - 1]
    return _dictionary_rule(t, creator, tag)


cdef const Rule *_dictionary_rule(const RuleTable *t, uint16_t creator,
                                  uint32_t tag) noexcept nogil:
    """What an element has that no row names: the VR of the private dictionary."""
    cdef uint32_t place
    if creator > t.n_dictionary:
        return &t.private_default
    place = t.private_places[_private_place(t, creator, tag)]
    if place == 0:
        return &t.private_default
    return &t.private_rules[t.private_elements[place - 1] & t.private_mask]


cdef inline uint32_t _private_place(const RuleTable *t, uint16_t creator,
                                    uint32_t tag) noexcept nogil:
    """Where an element of a creator of the private dictionary stands, or would."""
    cdef uint32_t first = t.private_start[creator], last = t.private_start[creator + 1]
    cdef uint32_t wanted = tag >> 16 << 8 | (tag & 0xFF), n
    cdef uint32_t i = spread(_private_key(creator, tag), t.place_mask)
    while t.private_places[i]:
        n = t.private_places[i] - 1
        if t.private_elements[n] >> 8 == wanted and first <= n < last:
            break
        i = (i + 1) & t.place_mask
    return i


cdef int _load_private_element(RuleTable *t, const uint8_t *line) noexcept:
    """`GGGG EE VR`, of the last creator."""
    cdef uint8_t vr = vr_of(line[8], line[9])
    cdef uint32_t tag = _hex4(line, 4) << 16 | (_hex4(line + 5, 2) & 0xFF)
    cdef uint32_t *end = &t.private_start[t.n_creators + 1]
    cdef uint16_t *place = &t.private_places[_private_place(t, t.n_creators, tag)]
    if vr == 0 or line[4] != c' ' or line[7] != c' ':
        return -1
    if place[0] == 0:
        end[0] += 1
        place[0] = end[0]
    t.private_elements[place[0] - 1] = tag >> 16 << 16 | (tag & 0xFF) << 8 | vr
    return 0


cdef int _load_creator(RuleTable *t, const uint8_t *text, size_t n) noexcept:
    cdef uint64_t h = _hash(text, n)
    # two creators that one hash cannot tell apart: refused
    if (t.n_creators >= MAX_CREATORS or index_get(&t.creators, h)
            or index_put(&t.creators, h, t.n_creators + 1) < 0):
        return -1
    t.n_creators += 1
    return 0


cdef int rules_load_private(RuleTable *t, const uint8_t *text, size_t n) noexcept:
    """Lines `@CREATOR`, each followed by its `GGGG EE VR` lines; `#` starts a comment. Once."""
    cdef size_t i, end
    cdef uint32_t lines = 0, creators = 0, size = 64
    if t.private_rules != NULL:
        return -1
    for i in range(n):
        lines += text[i] == c'\n'
        creators += text[i] == c'@'
    if lines >= MAX_PRIVATE:
        return -1
    while 2 * size < 3 * lines:
        size *= 2
    t.place_mask = size - 1
    t.private_places = <uint16_t *>calloc(size, sizeof(uint16_t))
    t.private_elements = <uint32_t *>malloc((lines + 1) * sizeof(uint32_t))
    t.private_start = <uint32_t *>calloc(creators + 2, sizeof(uint32_t))
    t.private_rules = <Rule *>malloc(64 * sizeof(Rule))
    if (t.private_places == NULL or t.private_elements == NULL or t.private_start == NULL
            or t.private_rules == NULL or index_reserve(&t.creators, creators) < 0):
        return -1
    t.private_mask = 63     # a VR is less
    for i in range(64):
        t.private_rules[i] = t.private_default
        t.private_rules[i].vr = i if i < 35 else 0
    i = 0
    while i < n:
        end = i + 10
        if text[i] == c'@' or text[i] == c'#':
            end = i
            while end < n and text[end] != c'\n':
                end += 1
        if text[i] == c'@':
            if _load_creator(t, text + i + 1, end - i - 1) < 0:
                return -1
            t.n_dictionary = t.n_creators
            t.private_start[t.n_creators + 1] = t.private_start[t.n_creators]
        elif text[i] != c'#':
            if (end > n or (end < n and text[end] != c'\n') or t.n_creators == 0
                    or _load_private_element(t, text + i) < 0):
                return -1
        i = end + 1
    return 0


cdef int rules_set_private(RuleTable *t, const uint8_t *creator, size_t n, uint32_t tag,
                           uint8_t action, uint8_t veiled, uint8_t arg) noexcept:
    """A rule for one element of a private block: its group, and the low byte of its element."""
    cdef uint16_t id = creator_of(t, creator, n)
    cdef uint64_t key
    cdef uint32_t number
    if t.private_rules == NULL:
        return -1
    if id == 0:
        if _load_creator(t, creator, n) < 0:
            return -1
        id = t.n_creators
    key = _private_key(id, tag)
    number = index_get(&t.own, key)
    if number == 0:
        number = t.own.n + 1
        if (_grow(<void **>&t.own_rules, t.own.n, sizeof(Rule)) < 0
                or index_put(&t.own, key, number) < 0):
            return -1
        t.own_rules[number - 1] = _dictionary_rule(t, id, tag)[0]
    _write(&t.own_rules[number - 1], UNCHANGED, action, veiled, arg)
    return 0


# -- rules for a place ------------------------------------------------------------------------

cdef const ScopeRule *scope_rule_of(const RuleTable *t, uint8_t scope,
                                    uint32_t tag) noexcept nogil:
    """What the path rules say of a tag in a scope; NULL: nothing."""
    cdef uint64_t key = ((<uint64_t>scope << 32) | tag) + 1
    cdef uint32_t i
    if t.scope_mask == 0:
        return NULL
    i = spread(key, t.scope_mask)
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
    i = spread(key, t.scope_mask)
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
    cdef uint8_t slot = 0       # the largest: a loop without an end in its midst is the faster one
    cdef uint16_t page = 0, rule = 0
    for i in range(65536):
        slot = max(slot, t.slot_of_group[i])
    for i in range(t.n_slots * 256):
        page = max(page, t.page_of[i])
    for i in range(t.n_pages * 256):
        rule = max(rule, t.cells[i])
    if slot >= t.n_slots or page >= t.n_pages or rule >= t.n_rules:
        return -1
    for i in range(t.n_rules):
        if _check_rule(t, &t.rules[i]) < 0:
            return -1
    for i in range(35):
        if t.by_vr[i] > HASH or t.by_vr[i] == LITERAL:
            return -1
    for i in range(t.private_mask + 1 if t.private_mask else 0):
        if _check_rule(t, &t.private_rules[i]) < 0:
            return -1
    for i in range(t.own.n):
        if _check_rule(t, &t.own_rules[i]) < 0:
            return -1
    if t.scope_mask:
        for i in range(t.scope_mask + 1):
            if t.scopes[i].has_rule and _check_rule(t, &t.scopes[i].rule) < 0:
                return -1
    return _check_rule(t, &t.private_default)
