/* The floor of patching: for each path of standard input open, fstat, read the head, write a part
 * of it back, close. No grammar, no profile, no journal. cc -O2 floor.c -o floor; floor < paths */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD = 32768, BACK = 8192 };

int main(void) {
    static char path[8192], data[HEAD];
    while (fgets(path, sizeof path, stdin)) {
        path[strcspn(path, "\n")] = 0;
        int file = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        struct stat status;
        if (file < 0 || fstat(file, &status)) {
            return 1;
        }
        ssize_t n = pread(file, data, HEAD, 0);
        if (n < 0 || pwrite(file, data, n < BACK ? n : BACK, 0) < 0 || close(file)) {
            return 1;
        }
    }
    return 0;
}
