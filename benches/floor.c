/* The floor of patching, for each path of standard input: no grammar, no profile, no key.
 *
 *     cc -O2 floor.c -o floor; floor < paths          open, fstat, read the head, write a part back
 *     floor journal < paths                           the system calls of `dcmveil patch` alone
 *
 * The second one does what holds against a kill: 32 files are opened and read, what would change of
 * all goes into a journal, and then, where nothing has happened to a file, into its head and its tail.
 * What was read stands for the new bytes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD = 32768, LONG = 8192, BACK = 8192, BATCH = 32, EDIT = 1400, TAIL = 128, LINE = 700 };

struct planned {
    char path[8192], head[HEAD], tail[TAIL];
    int file;
    struct stat status;
};

static int opened(const char *path, struct stat *status) {
    int file = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0 || fstat(file, status)) {
        exit(1);
    }
    return file;
}

static void written(int file, const void *data, size_t n, off_t at) {
    if (pwrite(file, data, n, at) != (ssize_t)n) {
        exit(1);
    }
}

static void bare(char *path) {
    static char data[HEAD];
    struct stat status;
    int file = opened(path, &status);
    ssize_t n = pread(file, data, HEAD, 0);
    if (n < 0) {
        exit(1);
    }
    written(file, data, n < BACK ? n : BACK, 0);
    close(file);
}

static void plan(struct planned *one) {
    one->file = opened(one->path, &one->status);
    off_t size = one->status.st_size, n = size > HEAD ? LONG : size;
    if (size < LONG || pread(one->file, one->head, n, 0) != n) {
        exit(1);
    }
    if (size > n && pread(one->file, one->tail, TAIL, size - TAIL) != TAIL) {
        exit(1);
    }
    if (size == n) {
        memcpy(one->tail, one->head + n - TAIL, TAIL);
    }
}

static void carry_out(int journal, struct planned *all, int count) {
    static char records[BATCH * (EDIT + TAIL + LINE)];
    size_t used = 0;
    struct stat now;
    for (int i = 0; i < count; i++) {
        memcpy(records + used, all[i].head, EDIT);
        used += EDIT + TAIL + LINE;
    }
    written(journal, records, used, 0);
    written(journal, "FILE", 4, 0);
    for (int i = 0; i < count; i++) {
        struct planned *one = &all[i];
        if (fstat(one->file, &now) || now.st_ctim.tv_sec != one->status.st_ctim.tv_sec ||
            now.st_ctim.tv_nsec != one->status.st_ctim.tv_nsec) {
            exit(1);
        }
        written(one->file, one->head, EDIT, 0);
        written(one->file, one->tail, TAIL, one->status.st_size - TAIL);
    }
    close_range(all[0].file, all[count - 1].file, 0);
    written(journal, "", 1, 0);
}

/* One file, written over by each batch. */
static int journal_beside(const char *path) {
    char name[8300];
    snprintf(name, sizeof name, "%s.journal", path);
    int journal = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (journal < 0 || flock(journal, LOCK_EX) || unlink(name)) {
        exit(1);
    }
    return journal;
}

int main(int count, char **arguments) {
    static struct planned all[BATCH];
    int safe = count > 1 && strcmp(arguments[1], "journal") == 0, journal = -1, n = 0;
    while (fgets(all[n].path, sizeof all[n].path, stdin)) {
        all[n].path[strcspn(all[n].path, "\n")] = 0;
        if (!safe) {
            bare(all[n].path);
            continue;
        }
        if (journal < 0) {
            journal = journal_beside(all[n].path);
        }
        plan(&all[n++]);
        if (n == BATCH) {
            carry_out(journal, all, n);
            n = 0;
        }
    }
    if (n) {
        carry_out(journal, all, n);
    }
    return 0;
}
