/* A library for LD_PRELOAD that makes the disk and the clock of a gateway fail on demand.
 *
 * FAULTS_CONTROL names a file with `struct control`, which the campaign maps too: rules are armed
 * and the clock is set while the gateway runs. FAULTS_RECORD names a file that gets every write,
 * fsync, truncation, creation and unlink of a regular file below FAULTS_ROOT, and every answer 2xx,
 * in the order in which they happened. Only `habitat serve` is touched. shim.py has the other end.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 4, UNLINK = 8, REPLY = 16, READ = 32, CREATE = 64 };
enum { KILL = 1, KILL_AFTER = 2, TORN = 3, FAIL = 4, DELAY = 5 };
enum { RULES = 8, FDS = 65536, MARK = 16, FILES = 64 };

struct rule {
    _Atomic uint32_t armed;
    uint32_t ops, action;
    int32_t error;
    int64_t delay_us;
    _Atomic int64_t skip, times, fired;
    char path[72]; /* the end of the path; empty: any */
};

struct control {
    _Atomic int64_t clock_offset; /* nanoseconds added to the wall clock */
    struct rule rules[RULES];
};

struct record {
    uint32_t op, path_length;
    int64_t offset, length, result;
};

static struct control *control;
static const char *root;
static size_t root_length;
static int record_fd = -1;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
/* Paths of open files, read at first use; the empty string: no file of ours. */
static char *_Atomic paths[FDS];
static char marks[FDS][MARK + 1];
/* Failed fsyncs: Linux tells of each to every descriptor that was open on the file then, once. */
static struct {
    char *path;
    int failures;
} failed[FILES];
static int told[FDS];
static pthread_mutex_t failing = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_recv)(int, void *, size_t, int);
static ssize_t (*real_send)(int, const void *, size_t, int);
static ssize_t (*real_sendmsg)(int, const struct msghdr *, int);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static ssize_t (*real_pread)(int, void *, size_t, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off64_t);
static int (*real_unlink)(const char *);
static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static int (*real_accept)(int, struct sockaddr *, socklen_t *, int);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

static void *find(const char *name) { return dlsym(RTLD_NEXT, name); }

static int is_serve(void)
{
    char line[4096];
    int fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : syscall(SYS_read, fd, line, sizeof line);
    if (fd >= 0)
        syscall(SYS_close, fd);
    return length > 0 && memmem(line, length, "\0serve\0", 7) != NULL;
}

__attribute__((constructor)) static void set_up(void)
{
    real_write = find("write");
    real_read = find("read");
    real_recv = find("recv");
    real_send = find("send");
    real_sendmsg = find("sendmsg");
    real_writev = find("writev");
    real_pwrite = find("pwrite64");
    real_pread = find("pread64");
    real_fsync = find("fsync");
    real_fdatasync = find("fdatasync");
    real_ftruncate = find("ftruncate64");
    real_unlink = find("unlink");
    real_open = find("open64");
    real_openat = find("openat64");
    real_close = find("close");
    real_accept = find("accept4");
    real_clock_gettime = find("clock_gettime");
    const char *file = getenv("FAULTS_CONTROL");
    if (!file || !is_serve())
        return;
    root = getenv("FAULTS_ROOT");
    root_length = root ? strlen(root) : 0;
    int fd = real_open(file, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    real_close(fd);
    const char *record = getenv("FAULTS_RECORD");
    if (record)
        record_fd = real_open(record, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (map != MAP_FAILED)
        control = map;
}

/* The path of a regular file or a directory at or below the root, else the empty string. */
static const char *path_of(int fd)
{
    static char none[] = "";
    if (!control || fd < 0 || fd >= FDS)
        return none;
    char *known = atomic_load(&paths[fd]);
    if (known)
        return known;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    int ours = root_length && !strncmp(path, root, root_length);
    known = ours ? strdup(path) : none; /* never freed: another thread may be reading it */
    atomic_store(&paths[fd], known);
    return known;
}

static void forget(int fd)
{
    if (fd >= 0 && fd < FDS) {
        atomic_store(&paths[fd], NULL);
        marks[fd][0] = 0;
    }
}

static int ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && !strcmp(text + length - tail, end);
}

/* Some rule that fires for this operation now, or NULL. Delays are done here. */
static struct rule *fires(uint32_t op, const char *path)
{
    if (!control)
        return NULL;
    for (int i = 0; i < RULES; i++) {
        struct rule *rule = &control->rules[i];
        if (!atomic_load(&rule->armed) || !(rule->ops & op) || !ends_with(path, rule->path))
            continue;
        if (op != REPLY && !*path)
            continue;
        if (atomic_fetch_sub(&rule->skip, 1) > 0)
            continue;
        if (atomic_fetch_sub(&rule->times, 1) <= 0)
            continue;
        atomic_fetch_add(&rule->fired, 1);
        if (rule->action == KILL)
            kill(getpid(), SIGKILL);
        if (rule->action != DELAY)
            return rule;
        usleep(rule->delay_us);
    }
    return NULL;
}

static void note(uint32_t op, const char *path, int64_t offset, int64_t length, int64_t result,
                 const void *data)
{
    struct record record = {op, strlen(path), offset, length, result};
    struct iovec parts[] = {{&record, sizeof record},
                            {(void *)path, record.path_length},
                            {(void *)data, data ? length : 0}};
    if (real_writev(record_fd, parts, 3) < 0)
        abort(); /* a record with a hole proves nothing */
}

static int recorded(const char *path)
{
    return record_fd >= 0 && *path && !ends_with(path, "-shm");
}

/* The count of failed fsyncs of a file, after one more if `more`. */
static int failures(const char *path, int more)
{
    int count = 0;
    pthread_mutex_lock(&failing);
    for (int i = 0; i < FILES; i++) {
        if (!failed[i].path && more)
            failed[i].path = strdup(path);
        if (failed[i].path && !strcmp(failed[i].path, path)) {
            count = failed[i].failures += more;
            break;
        }
    }
    pthread_mutex_unlock(&failing);
    return count;
}

/* An fsync under all rules; EIO also when another descriptor's fsync of the file has failed. */
static int synced(int fd, int (*call)(int))
{
    const char *path = path_of(fd);
    int is_recorded = recorded(path), result, saved = EIO;
    struct rule *rule = fires(SYNC, path);
    if (is_recorded)
        pthread_mutex_lock(&order);
    if (rule && rule->action == FAIL) {
        told[fd] = failures(path, 1);
        saved = rule->error;
        result = -1;
    } else if (*path && told[fd] < failures(path, 0)) {
        told[fd] = failures(path, 0);
        result = -1;
    } else {
        result = call(fd);
        saved = errno;
        if (rule && rule->action == KILL_AFTER)
            kill(getpid(), SIGKILL);
    }
    if (is_recorded) {
        note(SYNC, path, 0, 0, result, NULL);
        pthread_mutex_unlock(&order);
    }
    errno = saved;
    return result;
}

/* One operation under all rules: `call` does it, on as many bytes as it is told. */
#define OPERATION(op, path, offset, length, data, call)                                            \
    const char *its_path = (path);                                                                 \
    int is_recorded = recorded(its_path) && (op) != READ;                                          \
    int64_t result, whole = (length);                                                              \
    struct rule *rule = fires(op, its_path);                                                       \
    int saved = 0;                                                                                 \
    if (is_recorded)                                                                               \
        pthread_mutex_lock(&order);                                                                \
    if (rule && rule->action == FAIL) {                                                            \
        result = -1;                                                                               \
        saved = rule->error;                                                                       \
    } else {                                                                                       \
        int64_t size = rule && rule->action == TORN ? whole / 2 : whole;                           \
        (void)size;                                                                                \
        result = (call);                                                                           \
        saved = errno;                                                                             \
        if (rule && (rule->action == KILL_AFTER || rule->action == TORN))                          \
            kill(getpid(), SIGKILL);                                                               \
    }                                                                                              \
    if (is_recorded) {                                                                             \
        note(op, its_path, offset, (op) == WRITE && result > 0 ? result : whole, result,           \
             result > 0 ? (data) : NULL);                                                          \
        pthread_mutex_unlock(&order);                                                              \
    }                                                                                              \
    errno = saved;                                                                                 \
    return result

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    OPERATION(WRITE, path_of(fd), offset, length, data, real_pwrite(fd, data, size, offset));
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    return pwrite64(fd, data, length, offset);
}

ssize_t pread64(int fd, void *data, size_t length, off64_t offset)
{
    OPERATION(READ, path_of(fd), offset, length, NULL, real_pread(fd, data, size, offset));
}

ssize_t pread(int fd, void *data, size_t length, off_t offset)
{
    return pread64(fd, data, length, offset);
}

int fsync(int fd)
{
    return synced(fd, real_fsync);
}

int fdatasync(int fd)
{
    return synced(fd, real_fdatasync);
}

int ftruncate64(int fd, off64_t size_wanted)
{
    OPERATION(TRUNCATE, path_of(fd), size_wanted, 0, NULL, real_ftruncate(fd, size_wanted));
}

int ftruncate(int fd, off_t size)
{
    return ftruncate64(fd, size);
}

int unlink(const char *path)
{
    int ours = control && root_length && !strncmp(path, root, root_length);
    OPERATION(UNLINK, ours ? path : "", 0, 0, NULL, real_unlink(path));
}

static int opened(int fd, int flags, int existed)
{
    if (!control || fd < 0)
        return fd;
    forget(fd);
    if (fd < FDS)
        told[fd] = failures(path_of(fd), 0);
    const char *path = flags & O_CREAT && !existed ? path_of(fd) : "";
    if (recorded(path)) {
        pthread_mutex_lock(&order);
        note(CREATE, path, 0, 0, fd, NULL);
        pthread_mutex_unlock(&order);
    }
    return fd;
}

static int refused(int flags, const char *path)
{
    int ours = control && flags & O_CREAT && root_length && !strncmp(path, root, root_length);
    struct rule *rule = ours ? fires(CREATE, path) : NULL;
    if (rule && rule->action == FAIL)
        errno = rule->error;
    return rule && rule->action == FAIL;
}

#define OPEN_MODE                                                                                  \
    mode_t mode = 0;                                                                               \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                           \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                              \
    }                                                                                              \
    if (refused(flags, path))                                                                      \
        return -1;                                                                                 \
    int before = errno, existed = !(flags & O_CREAT) || access(path, F_OK) == 0;                   \
    errno = before

int open64(const char *path, int flags, ...)
{
    OPEN_MODE;
    return opened(real_open(path, flags, mode), flags, existed);
}

int open(const char *path, int flags, ...)
{
    OPEN_MODE;
    return opened(real_open(path, flags, mode), flags, existed);
}

int openat64(int directory, const char *path, int flags, ...)
{
    OPEN_MODE;
    return opened(real_openat(directory, path, flags, mode), flags, existed);
}

int openat(int directory, const char *path, int flags, ...)
{
    OPEN_MODE;
    return opened(real_openat(directory, path, flags, mode), flags, existed);
}

int close(int fd)
{
    forget(fd);
    return real_close(fd);
}

int accept4(int listener, struct sockaddr *address, socklen_t *length, int flags)
{
    int fd = real_accept(listener, address, length, flags);
    forget(fd);
    return fd;
}

/* Sockets: a request's mark is remembered with its descriptor, and noted when it is answered. */

static void look_for_mark(int fd, const char *data, ssize_t length)
{
    if (record_fd < 0 || fd < 0 || fd >= FDS || length <= 0)
        return;
    const char *mark = memmem(data, length, "FAULTS:", 7);
    if (mark && mark + 7 + MARK <= data + length) {
        memcpy(marks[fd], mark + 7, MARK);
        marks[fd][MARK] = 0;
    }
}

static void about_to_send(int fd, const char *data, size_t length)
{
    if (!control || length < 9 || memcmp(data, "Status: 2", 9))
        return;
    fires(REPLY, "");
    if (record_fd >= 0 && fd < FDS && marks[fd][0]) {
        pthread_mutex_lock(&order);
        note(REPLY, marks[fd], 0, 0, 0, NULL);
        pthread_mutex_unlock(&order);
    }
}

ssize_t write(int fd, const void *data, size_t length)
{
    const char *path = path_of(fd);
    if (*path) {
        off64_t offset = recorded(path) ? lseek64(fd, 0, SEEK_CUR) : 0;
        OPERATION(WRITE, path, offset, length, data, real_write(fd, data, size));
    }
    about_to_send(fd, data, length);
    return real_write(fd, data, length);
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
    about_to_send(fd, data, length);
    return real_send(fd, data, length, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (message->msg_iovlen)
        about_to_send(fd, message->msg_iov[0].iov_base, message->msg_iov[0].iov_len);
    return real_sendmsg(fd, message, flags);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (count)
        about_to_send(fd, parts[0].iov_base, parts[0].iov_len);
    return real_writev(fd, parts, count);
}

ssize_t read(int fd, void *data, size_t length)
{
    ssize_t result = real_read(fd, data, length);
    look_for_mark(fd, data, result);
    return result;
}

ssize_t recv(int fd, void *data, size_t length, int flags)
{
    ssize_t result = real_recv(fd, data, length, flags);
    look_for_mark(fd, data, result);
    return result;
}

/* The wall clock. The monotonic one is left alone, as settimeofday(2) leaves it. */

int clock_gettime(clockid_t id, struct timespec *now)
{
    int result = real_clock_gettime(id, now);
    if (control && !result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        int64_t moved = now->tv_sec * 1000000000LL + now->tv_nsec +
                        atomic_load(&control->clock_offset);
        now->tv_sec = moved / 1000000000LL;
        now->tv_nsec = moved % 1000000000LL;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

time_t time(time_t *where)
{
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (where)
        *where = precise.tv_sec;
    return precise.tv_sec;
}
