"""System calls of the file faces, without the objects that `os` puts around them.

For a file of some kilobytes those objects take as long as the kernel does.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_AsStringAndSize
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from libc.errno cimport (
    EINTR, EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOSYS, ENXIO, errno
)
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strcmp, strlen, strncmp
from posix.fcntl cimport O_CLOEXEC, O_DIRECTORY, O_NONBLOCK, O_RDONLY, open as c_open
from posix.mman cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
)
from posix.stat cimport S_ISREG, fstat, struct_stat
from posix.types cimport dev_t, ino_t
from posix.unistd cimport close as c_close

from dcmveil.digits cimport NUMBER_DIGITS, put_number

import os

from dcmveil.errors import FileError

cdef extern from *:
    """
    #include <dirent.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <stdint.h>
    #include <unistd.h>
    #if defined(__linux__)
    #include <sys/syscall.h>
    #include <sys/uio.h>
    #include <sys/vfs.h>
    #endif
    /* NULL: there are no more, or, with errno in `fault`, they cannot be read. */
    static const struct dirent *dcmveil_next_of(DIR *folder, int *fault) {
        const struct dirent *entry;
        errno = 0;
        entry = readdir(folder);
        *fault = entry == NULL ? errno : 0;
        return entry;
    }
    /* What an entry is said to be, as far as it is said (see Entry). */
    static int dcmveil_kind_of(const struct dirent *entry) {
        enum { UNKNOWN, PLAIN, FOLDER, LINK, OTHER };
    #if defined(DT_UNKNOWN)
        switch (entry->d_type) {
        case DT_UNKNOWN: return UNKNOWN;
        case DT_REG: return PLAIN;
        case DT_DIR: return FOLDER;
        case DT_LNK: return LINK;
        default: return OTHER;
        }
    #else
        (void) entry;
        return UNKNOWN;
    #endif
    }
    /* A rename that never replaces: not every libc has a function for it, nor every system a call. */
    static int dcmveil_rename_new(int from, const char *old, int place, const char *fresh) {
    #if defined(SYS_renameat2)
        enum { NOREPLACE = 1 };
        return (int) syscall(SYS_renameat2, from, old, place, fresh, NOREPLACE);
    #else
        (void) from;
        (void) old;
        (void) place;
        (void) fresh;
        errno = ENOSYS;
        return -1;
    #endif
    }
    /* All from one descriptor to another. */
    static int dcmveil_close_range(int first, int last) {
    #if defined(SYS_close_range)
        return (int) syscall(SYS_close_range, (long) first, (long) last, 0L);
    #else
        (void) first;
        (void) last;
        return -1;
    #endif
    }
    /* At most n bytes from one file to another, both at their positions. */
    static ssize_t dcmveil_copy_range(int from, int to, size_t n) {
    #if defined(SYS_copy_file_range)
        return syscall(SYS_copy_file_range, (long) from, 0L, (long) to, 0L, n, 0L);
    #else
        (void) from;
        (void) to;
        (void) n;
        errno = ENOSYS;
        return -1;
    #endif
    }
    /* Whether a file is on no disk, so that nothing of it is ever read ahead. */
    static int dcmveil_in_memory(int file) {
    #if defined(__linux__)
        enum { TMPFS = 0x01021994, RAMFS = 0x858458F6 };    /* linux/magic.h */
        struct statfs place;
        return fstatfs(file, &place) == 0
            && ((uint32_t) place.f_type == TMPFS || (uint32_t) place.f_type == RAMFS);
    #else
        (void) file;
        return 0;
    #endif
    }
    /* Whether the byte at that place can be had without waiting for a disk. */
    static int dcmveil_is_cached(int file, uint64_t at) {
    #if defined(RWF_NOWAIT)
        char byte;
        struct iovec into = {&byte, 1};
        return preadv2(file, &into, 1, (off_t) at, RWF_NOWAIT) == 1;
    #else
        (void) file;
        (void) at;
        return 0;
    #endif
    }
    /* Advice: where it cannot be given or taken, the file can be read all the same. The kernel looks
       at each page of a long stretch, so where the last of them is in memory it is not given. */
    static void dcmveil_will_need(int file, uint64_t n) {
        enum { LONG = 1 << 16 };
        if (n > LONG && dcmveil_is_cached(file, n - 1)) {
            return;
        }
    #if defined(POSIX_FADV_WILLNEED)
        (void) posix_fadvise(file, 0, (off_t) n, POSIX_FADV_WILLNEED);
    #else
        (void) file;
        (void) n;
    #endif
    }
    """
    ctypedef struct DIR:
        pass
    struct dirent:
        ino_t d_ino
        char *d_name
    DIR *opendir(const char *path) nogil
    int closedir(DIR *folder) nogil
    const dirent *dcmveil_next_of(DIR *folder, int *fault) nogil
    int dcmveil_kind_of(const dirent *entry) nogil
    int dcmveil_rename_new(int src, const char *old, int place, const char *fresh) nogil
    int dcmveil_close_range(int first, int last) nogil
    ssize_t dcmveil_copy_range(int src, int dst, size_t n) nogil
    bint dcmveil_in_memory(int file) nogil
    void dcmveil_will_need(int file, uint64_t n) nogil


cdef enum:
    NOT_REGULAR = -(1 << 30)
    BLOCK = 4 << 10             # or less, but for few file systems
    ALIGNED = 64 << 10
    ALIGNED_LEAST = 256 << 10   # less is not worth a system call more
    PIECE = 64 << 20            # copied without a look at whether to stop


cpdef uint64_t piece_of(uint64_t at, uint64_t n) noexcept nogil:
    """How many of n bytes that are to be copied from one file to the same place of another the kernel
    is given at one time: so that the next piece is aligned, if it is long, and somebody can look
    whether to stop.

    File systems that share blocks share whole ones. Where bytes are copied, the kernel copies 64 KiB at
    a time, and takes one large page for them where they lie so.
    """
    if n < ALIGNED_LEAST:
        return n
    if at % BLOCK:
        return BLOCK - at % BLOCK
    return ALIGNED - at % ALIGNED if at % ALIGNED else min(n, <uint64_t>PIECE)


cdef int64_t copy_range(int src, int dst, uint64_t at, uint64_t n) noexcept nogil:
    """Bytes copied by the kernel, both files at the position `at`; -1: it cannot, not by this call, or
    it would take so long that somebody should look whether to stop."""
    cdef uint64_t done = 0
    cdef ssize_t got
    if n > PIECE:
        return -1
    while done < n:
        got = dcmveil_copy_range(src, dst, piece_of(at + done, n - done))
        if got < 0:
            return done if done else -1
        if got == 0:
            break
        done += got
    return done


cdef class SharedFlag:
    """Seen by this process and by those that are forked from it, whoever sets it."""

    def __cinit__(self):
        cdef void *page = mmap(
            NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0
        )
        if page == MAP_FAILED:
            PyErr_SetFromErrno(OSError)
        self.byte = <uint8_t *>page

    def __dealloc__(self):
        if self.byte != NULL:
            munmap(self.byte, 1)

    def set(self) -> None:
        self.byte[0] = 1

    @property
    def is_set(self) -> bool:
        return self.byte[0] != 0


def open_regular(path, int flags=O_RDONLY, *, bint follow=False) -> int:
    """A file descriptor of a regular file. Raises OSError, and FileError for anything else: a
    symbolic link unless `follow`, a device, a FIFO (which must not block), a folder."""
    cdef bytes encoded = path if type(path) is bytes else os.fsencode(path)
    cdef const char *name = path_of(encoded)
    cdef struct_stat status
    cdef int file
    flags |= 0 if follow else O_NOFOLLOW
    while True:
        with nogil:
            file = _open_at(AT_FDCWD, name, flags, &status)
        if file >= 0:
            return file
        if file == -ELOOP and not follow:
            raise FileError("a symbolic link")
        if file == NOT_REGULAR or file == -EISDIR or file == -ENXIO:
            raise FileError("not a regular file")
        if file != -EINTR:
            raise OSError(-file, os.strerror(-file))
        PyErr_CheckSignals()


cdef int _open_at(int place, const char *path, int flags, struct_stat *status) noexcept nogil:
    """A file descriptor of a regular file, and its status; -errno, or NOT_REGULAR."""
    cdef int file = openat(place, path, flags | O_NONBLOCK | O_CLOEXEC)
    cdef int fault = NOT_REGULAR
    if file < 0:
        return -errno
    if fstat(file, status) != 0:
        fault = -errno
    elif S_ISREG(status.st_mode):
        return file
    c_close(file)
    return fault


def rename_new(bytes old, bytes new) -> bool:
    """Give a file a name that nothing has yet. False: not on this system or file system. Raises
    OSError."""
    cdef const char *one = path_of(old)
    cdef const char *other = path_of(new)
    cdef int failed
    with nogil:
        failed = dcmveil_rename_new(AT_FDCWD, one, AT_FDCWD, other)
    if failed and (errno == ENOSYS or errno == EINVAL):
        return False
    if failed:
        PyErr_SetFromErrno(OSError)
    return True


cdef class TemporaryPaths:
    """Paths of new files in a folder that nobody else uses, one after the other. The folder is kept
    open, so that the system need not look for it each time. Raises OSError where it cannot be opened.
    """

    def __cinit__(self, bytes folder not None):
        self.prefix = os.path.join(folder, b"")
        self.place = c_open(path_of(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if self.place < 0:
            PyErr_SetFromErrno(OSError)
        self._is_open = True

    def __dealloc__(self):
        self.close()

    def close(self) -> None:
        """No file can be made there from here on."""
        if self._is_open:
            c_close(self.place)
            self._is_open, self.place = False, -1

    cpdef bytes next(self):
        cdef char name[NUMBER_DIGITS + 4]
        cdef char *end
        self._count += 1
        end = put_number(name, self._count, 1)
        memcpy(end, b".tmp", 4)
        return joined(self.prefix, name, end + 4 - name)

    cdef Named named(self, bytes path):
        """One of these paths, or any other one, for the system. Raises ValueError as path_of does."""
        cdef const char *whole = path_of(path)
        if strncmp(whole, PyBytes_AS_STRING(self.prefix), len(self.prefix)) == 0:
            return Named(self.place, whole + len(self.prefix))
        return Named(AT_FDCWD, whole)


cdef struct Renaming:
    Named old
    const char *name
    bint failed


def rename_batch(bytes folder, list batch, TemporaryPaths temporaries not None) -> list[int]:
    """Give the files of a batch (tuples with a path second, which may be of `temporaries`, and third
    a name in the folder) their names, in order, as rename_new does, up to the first in a folder that
    is missing: should it come into being meanwhile, none behind it may be faster. The numbers of those
    that were not named: who tries again learns why."""
    cdef const char *path = path_of(folder)
    cdef Py_ssize_t count = len(batch)
    cdef Renaming *all_of_them = <Renaming *>malloc(max(count, 1) * sizeof(Renaming))
    cdef Renaming *one
    cdef int place
    if all_of_them == NULL:
        raise MemoryError
    try:
        for number in range(count):
            brief = <tuple?>batch[number]
            all_of_them[number] = Renaming(
                temporaries.named(<bytes?>brief[1]), path_of(<bytes?>brief[2]), True)
        with nogil:
            place = c_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            if place >= 0:
                for number in range(count):
                    one = &all_of_them[number]
                    one.failed = dcmveil_rename_new(
                        one.old.place, one.old.name, place, one.name) != 0
                    if one.failed and errno == ENOENT:
                        break
                c_close(place)
        return [number for number in range(count) if all_of_them[number].failed]
    finally:
        free(all_of_them)


# What an entry of a folder is; UNKNOWN: the file system does not say it with the name.
UNKNOWN, PLAIN, FOLDER, LINK, OTHER = range(5)

cdef enum:
    NAME_ROOM = 4 << 10         # more than the longest name of any file system
    NAMES_ROOM = 16 << 10       # of the entries that are read together, and
    LISTED = 128                # as many of them at most
    IS_PLAIN = 1


cdef struct Entry:
    ino_t inode
    int kind
    size_t start, length        # of its name


cdef class Listing:
    """The entries of a folder in the order of the file system, many at a time. Raises OSError where
    it cannot be opened.

    odd  the entry that some() has stopped at: (name, inode, kind), or None
    """
    cdef DIR *folder            # owned; NULL: closed
    cdef Entry[LISTED] entries  # read, and not told yet: those from `next` to `count`
    cdef int next, count
    cdef char[NAMES_ROOM] names
    cdef int fault              # errno of what could not be read behind them
    cdef bint at_end
    cdef readonly tuple odd

    def __cinit__(self, bytes path not None):
        cdef const char *name = path_of(path)
        with nogil:
            self.folder = opendir(name)
        if self.folder == NULL:
            PyErr_SetFromErrno(OSError)

    def __dealloc__(self):
        self.close()

    def close(self) -> None:
        if self.folder != NULL:
            closedir(self.folder)
        self.folder = NULL

    def some(self, bytes prefix, bytes but, inodes) -> list[tuple[bytes, str]]:
        """Of the plain files that come next (prefix and name, ""), up to an entry that may be none,
        whose name begins with `but`, or whose inode is one of `inodes`. Nothing and no odd one: there
        are no more. Raises OSError behind all that could be read."""
        cdef Entry *one
        cdef const char *name
        cdef list found = []
        cdef bint any_inodes = bool(inodes)
        self.odd = None
        if self.next == self.count:
            self._read()
        while self.next < self.count:
            one = &self.entries[self.next]
            self.next += 1
            name = self.names + one.start
            if (one.kind != IS_PLAIN or (any_inodes and one.inode in inodes)
                    or strncmp(name, PyBytes_AS_STRING(but), len(but)) == 0):
                self.odd = (name[:one.length], one.inode, one.kind)
                break
            found.append((joined(prefix, name, one.length), ""))
        return found

    cdef int _read(self) except -1:
        """The next entries but those of the folder itself and of the one above it."""
        cdef const dirent *entry = NULL
        cdef size_t end = 0, length
        self.next = self.count = 0
        if self.fault:
            raise OSError(self.fault, os.strerror(self.fault))
        if self.folder == NULL or self.at_end:
            return 0
        with nogil:
            while self.count < LISTED and end < NAMES_ROOM - NAME_ROOM:
                entry = dcmveil_next_of(self.folder, &self.fault)
                length = strlen(entry.d_name) if entry != NULL else 0
                if length >= NAME_ROOM:
                    self.fault = ENAMETOOLONG
                if entry == NULL or self.fault:
                    self.at_end = True
                    break
                if strcmp(entry.d_name, b".") == 0 or strcmp(entry.d_name, b"..") == 0:
                    continue
                memcpy(self.names + end, entry.d_name, length + 1)
                self.entries[self.count] = Entry(
                    entry.d_ino, dcmveil_kind_of(entry), end, length)
                self.count += 1
                end += length + 1
        if self.count == 0 and self.fault:
            raise OSError(self.fault, os.strerror(self.fault))
        return 0


cdef class OpenFiles:
    """The files of a batch of (path in the folder, why it is not taken or ""), opened together and
    closed together; numbered as there.

    The kernel is told that the first `ahead` bytes of each are read soon, so that a disk may begin,
    where there is one.
    What is not taken or cannot be opened stays closed: the reason is met again when it is its turn.
    """

    def __cinit__(self, bytes folder, list batch, int flags, uint64_t ahead):
        cdef Py_ssize_t count = len(batch)
        cdef const char *name = path_of(folder)
        cdef Opened *one
        cdef int place
        cdef bint first = True, advise = False
        cdef dev_t where = 0    # of the file before
        self._files = <Opened *>malloc(max(count, 1) * sizeof(Opened))
        if self._files == NULL:
            raise MemoryError
        for relative, reason in batch:
            one = &self._files[self.count]
            one.path = _path_or_null(relative)
            if reason:
                one.path = NULL
            one.file = -1
            self.count += 1
        with nogil:
            place = c_open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            if place >= 0:
                for number in range(count):
                    one = &self._files[number]
                    if one.path != NULL:
                        one.file = _open_at(place, one.path, flags | O_NOFOLLOW, &one.status)
                    if one.file < 0:
                        one.file = -1
                        continue
                    if first or one.status.st_dev != where:
                        where = one.status.st_dev
                        advise = not dcmveil_in_memory(one.file)
                        first = False
                    if advise:
                        dcmveil_will_need(one.file, min(ahead, <uint64_t>one.status.st_size))
                c_close(place)

    def __dealloc__(self):
        self.close()
        free(self._files)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, Py_ssize_t number) -> int:
        """The file descriptor, -1: it is not open. Raises IndexError."""
        return self.at(number).file

    def __setitem__(self, Py_ssize_t number, int file) -> None:
        """One that was opened later, or -1: somebody else closes it. Raises IndexError."""
        self.at(number).file = file

    def close(self) -> None:
        cdef Closing them = Closing(-1, -1)
        for number in range(self.count):
            if self._files[number].file >= 0:
                close_soon(&them, self._files[number].file)
                self._files[number].file = -1
        close_now(&them)

    cdef Opened *at(self, Py_ssize_t number) except NULL:
        if not 0 <= number < self.count:
            raise IndexError("a batch has no such file")
        return &self._files[number]


cdef void close_soon(Closing *them, int file) noexcept:
    """Nobody may use it from here on. All between the first and the last were given to this
    function, so none of another owner is among them."""
    if them.first >= 0 and file == them.last + 1:
        them.last = file
        return
    close_now(them)
    them.first = them.last = file


cdef void close_now(Closing *them) noexcept:
    if them.first < 0:
        return
    if them.first == them.last or dcmveil_close_range(them.first, them.last) != 0:
        for file in range(them.first, them.last + 1):
            c_close(file)
    them.first = -1


cdef const char *_path_or_null(bytes path) noexcept:
    """NULL where a NUL stands in it."""
    cdef const char *name = PyBytes_AS_STRING(path)
    return name if strlen(name) == <size_t>len(path) else NULL


cdef const char *path_of(bytes path) except NULL:
    """Raises ValueError where a NUL stands in a path: the system would read it up to there, and
    take another file."""
    cdef char *name
    PyBytes_AsStringAndSize(path, &name, NULL)
    return name
