/* Load straight at a server's UNIX socket, as nginx would send it: one request per connection.
 *
 *   loader SOCKET PATH CONNECTIONS SECONDS REQUESTS HEAD TAIL SERIAL BATCH
 *
 * Keeps CONNECTIONS requests in flight for SECONDS, or until REQUESTS are done (0: no such limit).
 * A message is HEAD, a serial number of 12 digits, TAIL; BATCH over 0 sends JSON arrays of so many.
 * Prints one JSON object: requests, errors, seconds, p50 and p99 (microseconds from connect to the
 * end of the reply). */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { REPLY_MAX = 65536, LATENCIES = 1 << 22, DIGITS = 12, PATIENCE = 5000000 };

struct slot {
    int fd;
    int open; /* a request is in flight */
    uint64_t started;
    size_t sent, got;
    char head[256]; /* the reply's beginning */
    char *request;
    char **serials; /* where the serial numbers stand in it */
};

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static int set;
static size_t length;
static int messages;
static uint64_t serial;
static uint32_t *latencies;
static size_t done, errors;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now(void) { /* microseconds */
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

/* The request with what nginx sends for the location block of `habitat nginx`. */
static void build(struct slot *slot, const char *path, const char *head, const char *tail,
                  int batch) {
    size_t one = strlen(head) + DIGITS + strlen(tail);
    size_t body = batch ? (one + 1) * (size_t)batch + 1 : one;
    char count[32];
    snprintf(count, sizeof count, "%zu", body);
    const char *pairs[][2] = {
        {"CONTENT_LENGTH", count},   {"SCGI", "1"},
        {"REQUEST_METHOD", "POST"},  {"REQUEST_URI", path},
        {"DOCUMENT_URI", path},      {"QUERY_STRING", ""},
        {"CONTENT_TYPE", ""},        {"SERVER_PROTOCOL", "HTTP/1.1"},
        {"SERVER_NAME", ""},         {"SERVER_PORT", "8080"},
        {"REQUEST_SCHEME", "http"},  {"REMOTE_ADDR", "127.0.0.1"},
        {"REMOTE_PORT", "40000"},    {"HTTP_HOST", "127.0.0.1:8080"},
    };
    size_t headers = 0;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        headers += strlen(pairs[i][0]) + strlen(pairs[i][1]) + 2;
    slot->request = malloc(headers + body + 64);
    slot->serials = calloc((size_t)messages, sizeof *slot->serials);
    if (!slot->request || !slot->serials)
        die("malloc");
    char *at = slot->request + sprintf(slot->request, "%zu:", headers);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (int part = 0; part < 2; part++)
            at = stpcpy(at, pairs[i][part]) + 1;
    *at++ = ',';
    if (batch)
        *at++ = '[';
    for (int i = 0; i < messages; i++) {
        if (i)
            *at++ = ',';
        at = stpcpy(at, head);
        slot->serials[i] = at;
        at = stpcpy(at + DIGITS, tail);
    }
    if (batch)
        *at++ = ']';
    length = (size_t)(at - slot->request);
}

static void number(struct slot *slot) {
    for (int i = 0; i < messages; i++) {
        uint64_t left = serial++;
        for (int digit = DIGITS; digit--; left /= 10)
            slot->serials[i][digit] = (char)('0' + left % 10);
    }
}

static void finish(struct slot *slot, int good) {
    close(slot->fd); /* takes it out of the epoll set */
    slot->open = 0;
    uint64_t took = now() - slot->started;
    if (done < LATENCIES)
        latencies[done] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    done++;
    if (!good)
        errors++;
}

static void send_rest(struct slot *slot) {
    ssize_t put = send(slot->fd, slot->request + slot->sent, length - slot->sent, MSG_NOSIGNAL);
    if (put > 0)
        slot->sent += (size_t)put;
    else if (errno != EAGAIN)
        finish(slot, 0);
}

/* Begin a request. Returns 0 where the server's queue of connections is full. */
static int begin(struct slot *slot) {
    slot->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (slot->fd < 0)
        die("socket");
    if (connect(slot->fd, (struct sockaddr *)&address, sizeof address) < 0) {
        if (errno != EAGAIN)
            die("connect");
        close(slot->fd);
        return 0;
    }
    number(slot);
    slot->started = now();
    slot->open = 1;
    slot->sent = slot->got = 0;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = slot};
    epoll_ctl(set, EPOLL_CTL_ADD, slot->fd, &event);
    send_rest(slot);
    return 1;
}

static void receive(struct slot *slot) {
    static char reply[REPLY_MAX];
    for (;;) {
        ssize_t got = recv(slot->fd, reply, sizeof reply, 0);
        if (got > 0) {
            for (ssize_t i = 0; i < got && slot->got + (size_t)i < sizeof slot->head; i++)
                slot->head[slot->got + (size_t)i] = reply[i];
            slot->got += (size_t)got;
            continue;
        }
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        size_t head = slot->got < sizeof slot->head ? slot->got : sizeof slot->head;
        int good = memmem(slot->head, head, "Status: 200", 11) ||
                   memmem(slot->head, head, "HTTP/1.1 200", 12);
        finish(slot, got == 0 && good);
        return;
    }
}

static void take(int count, struct epoll_event *events) {
    for (int i = 0; i < count; i++) {
        struct slot *slot = events[i].data.ptr;
        if (slot->open && slot->sent < length && events[i].events & EPOLLOUT)
            send_rest(slot);
        if (slot->open && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            receive(slot);
    }
}

static int smaller(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 10) {
        fprintf(stderr, "usage: loader SOCKET PATH CONNECTIONS SECONDS REQUESTS HEAD TAIL SERIAL"
                        " BATCH\n");
        return 2;
    }
    if (strlen(argv[1]) >= sizeof address.sun_path) {
        fprintf(stderr, "loader: the path is too long for a socket\n");
        return 2;
    }
    strcpy(address.sun_path, argv[1]);
    int connections = atoi(argv[3]), batch = atoi(argv[9]);
    double seconds = atof(argv[4]);
    size_t wanted = strtoull(argv[5], NULL, 10), begun = 0;
    serial = strtoull(argv[8], NULL, 10);
    messages = batch ? batch : 1;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    set = epoll_create1(EPOLL_CLOEXEC);
    latencies = malloc(LATENCIES * sizeof *latencies);
    struct slot *slots = calloc((size_t)connections, sizeof *slots);
    struct epoll_event *events = calloc((size_t)connections, sizeof *events);
    if (!latencies || !slots || !events)
        die("malloc");
    for (int i = 0; i < connections; i++)
        build(&slots[i], argv[2], argv[6], argv[7], batch);
    uint64_t start = now(), stop = start + (uint64_t)(seconds * 1e6), last = start;
    while (last < stop && (!wanted || done < wanted)) {
        int refused = 0, closed = 0;
        for (int i = 0; i < connections && !refused; i++)
            if (!slots[i].open && (!wanted || begun < wanted)) {
                refused = !begin(&slots[i]);
                begun += !refused;
                closed += refused;
            }
        int count = epoll_wait(set, events, connections, closed ? 1 : 100);
        take(count, events);
        last = now();
    }
    /* What is in flight is waited for, not counted: a server need not meet broken pipes. */
    size_t counted = done, failed = errors;
    for (uint64_t patience = now() + PATIENCE; now() < patience;) {
        int left = 0;
        for (int i = 0; i < connections; i++)
            left += slots[i].open;
        if (!left)
            break;
        take(epoll_wait(set, events, connections, 100), events);
    }
    size_t kept = counted < LATENCIES ? counted : LATENCIES;
    qsort(latencies, kept, sizeof *latencies, smaller);
    printf("{\"requests\":%zu,\"errors\":%zu,\"seconds\":%.6f,\"p50\":%u,\"p99\":%u}\n", counted,
           failed, (double)(last - start) / 1e6, kept ? latencies[kept / 2] : 0,
           kept ? latencies[kept - 1 - kept / 100] : 0);
    return 0;
}
