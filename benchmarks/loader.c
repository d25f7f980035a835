/* Load straight at a server's UNIX socket, as nginx would send it: one request per connection. Or
 * over HTTP at a port of 127.0.0.1, with connections that are kept.
 *
 *   loader TARGET PATH CONNECTIONS SECONDS REQUESTS HEAD TAIL SERIAL BATCH [RATE [FLAGS]]
 *
 * TARGET is a socket's path or a port. Keeps CONNECTIONS requests in flight for SECONDS, or until
 * REQUESTS are done (0: no such limit). With a RATE over 0, RATE requests a second begin, whatever
 * becomes of those before them; what can't begin as all CONNECTIONS are busy begins late, and its
 * time counts from when it was due. A message is HEAD, a serial number of 12 digits, TAIL; it also
 * stands wherever HEAD and TAIL have 12 times '@'. BATCH over 0 sends JSON arrays of so many.
 *
 * Prints one JSON object: requests, errors, seconds, p50 and p99 (microseconds from connect to the
 * end of the reply), of those that ended in time, or with a RATE of all. Then of all, by what
 * became of them, how many, p50, p99 and the longest: ok (200), unavailable (503), other (any other
 * status), unanswered, refused (the socket's queue was full); and unsent. FLAGS gets a byte for
 * each message from SERIAL on: 1 if it was sent, 3 if it was answered 200. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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

enum { REPLY_MAX = 65536, RESULTS = 1 << 22, DIGITS = 12, HEAD_MAX = 1024 };
enum { MOMENT = 20000, PATIENCE = 5000000, LONG_PATIENCE = 60000000 }; /* microseconds */
enum kind { OK, UNAVAILABLE, OTHER, UNANSWERED, REFUSED, KINDS };
static const char *const names[KINDS] = {"ok", "unavailable", "other", "unanswered", "refused"};
static const char mark[] = "@@@@@@@@@@@@";

struct slot {
    int fd;   /* -1: not connected */
    int open; /* a request is in flight */
    uint64_t started, first;
    size_t sent, got;
    char head[HEAD_MAX]; /* the reply's beginning */
    char *request;
    char **serials; /* where the serial numbers stand in it */
};

struct result {
    uint32_t took;
    uint32_t kind;
};

static struct sockaddr_storage address;
static socklen_t address_size;
static int http; /* over HTTP, connections are kept */
static int set;
static size_t length;
static int messages, places;
static uint64_t serial, first_serial;
static struct result *results;
static struct slot **idle; /* those without a request in flight */
static int idles;
static size_t done, errors;
static unsigned char *flags;
static size_t flags_size, flags_used;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now(void) { /* microseconds */
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static int find_target(const char *target) {
    if (strspn(target, "0123456789") == strlen(target)) {
        struct sockaddr_in *inet = (struct sockaddr_in *)&address;
        inet->sin_family = AF_INET;
        inet->sin_port = htons((uint16_t)atoi(target));
        inet->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address_size = sizeof *inet;
        http = 1;
        return 1;
    }
    struct sockaddr_un *local = (struct sockaddr_un *)&address;
    local->sun_family = AF_UNIX;
    if (strlen(target) >= sizeof local->sun_path)
        return 0;
    strcpy(local->sun_path, target);
    address_size = sizeof *local;
    return 1;
}

static char *scgi_head(char *at, const char *path, size_t body) {
    char count[32];
    snprintf(count, sizeof count, "%zu", body);
    /* What nginx sends for the location block of `habitat nginx`. */
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
    at += sprintf(at, "%zu:", headers);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (int part = 0; part < 2; part++)
            at = stpcpy(at, pairs[i][part]) + 1;
    *at++ = ',';
    return at;
}

static int count_marks(const char *text) {
    int count = 0;
    while ((text = strstr(text, mark))) {
        count++;
        text += DIGITS;
    }
    return count;
}

static void build(struct slot *slot, const char *path, const char *head, const char *tail,
                  int batch) {
    size_t one = strlen(head) + DIGITS + strlen(tail);
    size_t body = batch ? (one + 1) * (size_t)batch + 1 : one;
    slot->fd = -1;
    slot->request = malloc(1024 + strlen(path) * 2 + body);
    slot->serials = calloc((size_t)messages * (size_t)places, sizeof *slot->serials);
    if (!slot->request || !slot->serials)
        die("malloc");
    char *at = slot->request;
    if (http)
        at += sprintf(at, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %zu\r\n\r\n",
                      path, body);
    else
        at = scgi_head(at, path, body);
    char *begin = at;
    if (batch)
        *at++ = '[';
    for (int i = 0; i < messages; i++) {
        if (i)
            *at++ = ',';
        at = stpcpy(at, head);
        at = stpcpy(at, mark);
        at = stpcpy(at, tail);
    }
    if (batch)
        *at++ = ']';
    *at = 0;
    length = (size_t)(at - slot->request);
    for (int i = 0; i < messages * places; i++) {
        slot->serials[i] = begin = strstr(begin, mark);
        begin += DIGITS;
    }
}

static void flag(const struct slot *slot, unsigned char value) {
    if (!flags)
        return;
    size_t at = (size_t)(slot->first - first_serial), end = at + (size_t)messages;
    if (end > flags_size) {
        size_t size = end * 2;
        flags = realloc(flags, size);
        if (!flags)
            die("realloc");
        memset(flags + flags_size, 0, size - flags_size);
        flags_size = size;
    }
    memset(flags + at, value, (size_t)messages);
    if (end > flags_used)
        flags_used = end;
}

static void number(struct slot *slot) {
    slot->first = serial;
    for (int i = 0; i < messages; i++, serial++)
        for (int place = 0; place < places; place++) {
            uint64_t left = serial;
            for (int digit = DIGITS; digit--; left /= 10)
                slot->serials[i * places + place][digit] = (char)('0' + left % 10);
        }
    flag(slot, 1);
}

static void hang_up(struct slot *slot) {
    close(slot->fd); /* takes it out of the epoll set */
    slot->fd = -1;
}

static void finish(struct slot *slot, enum kind kind) {
    slot->open = 0;
    idle[idles++] = slot;
    uint64_t took = now() - slot->started;
    if (done < RESULTS)
        results[done] = (struct result){took > UINT32_MAX ? UINT32_MAX : (uint32_t)took, kind};
    done++;
    if (kind == OK)
        flag(slot, 3);
    else
        errors++;
}

static void broken(struct slot *slot) {
    hang_up(slot);
    finish(slot, UNANSWERED);
}

static void send_rest(struct slot *slot) {
    ssize_t put = send(slot->fd, slot->request + slot->sent, length - slot->sent, MSG_NOSIGNAL);
    if (put > 0)
        slot->sent += (size_t)put;
    else if (errno != EAGAIN && errno != EINPROGRESS && errno != ENOTCONN)
        broken(slot);
}

/* Connect; 0 where the server's queue of connections is full. */
static int dial(struct slot *slot) {
    int one = 1;
    slot->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (slot->fd < 0)
        die("socket");
    if (http)
        setsockopt(slot->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(slot->fd, (struct sockaddr *)&address, address_size) < 0 &&
        errno != EINPROGRESS) {
        if (errno != EAGAIN)
            die("connect");
        hang_up(slot);
        return 0;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = slot};
    epoll_ctl(set, EPOLL_CTL_ADD, slot->fd, &event);
    return 1;
}

/* Begin a request that was due at a time. Returns 0 where the server's queue is full. */
static int begin(struct slot *slot, uint64_t due) {
    if (slot->fd < 0 && !dial(slot))
        return 0;
    number(slot);
    slot->started = due;
    slot->open = 1;
    slot->sent = slot->got = 0;
    send_rest(slot);
    return 1;
}

/* What the reply's status says, once the connection is closed or the reply is whole; -1 before. */
static int judge(const struct slot *slot, int closed) {
    size_t size = slot->got < HEAD_MAX ? slot->got : HEAD_MAX;
    const char *head = slot->head, *end = memmem(head, size, "\r\n\r\n", 4);
    const char *status = memmem(head, size, http ? "HTTP/1.1 " : "Status: ", http ? 9 : 8);
    if (!end || !status)
        return closed ? UNANSWERED : -1;
    if (!closed) {
        const char *field = memmem(head, size, "Content-Length: ", 16);
        if (!http || !field || slot->got < (size_t)(end - head) + 4 + strtoull(field + 16, NULL, 10))
            return -1;
    }
    int code = atoi(status + (http ? 9 : 8));
    return code == 200 ? OK : code == 503 ? UNAVAILABLE : OTHER;
}

static void receive(struct slot *slot) {
    static char reply[REPLY_MAX];
    for (;;) {
        ssize_t got = recv(slot->fd, reply, sizeof reply, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (!slot->open) { /* a kept connection was closed */
            hang_up(slot);
            return;
        }
        if (got > 0) {
            for (ssize_t i = 0; i < got && slot->got + (size_t)i < HEAD_MAX; i++)
                slot->head[slot->got + (size_t)i] = reply[i];
            slot->got += (size_t)got;
            int kind = judge(slot, 0);
            if (kind >= 0)
                finish(slot, (enum kind)kind);
            continue;
        }
        hang_up(slot);
        finish(slot, got == 0 ? (enum kind)judge(slot, 1) : UNANSWERED);
        return;
    }
}

static void take(int count, struct epoll_event *events) {
    for (int i = 0; i < count; i++) {
        struct slot *slot = events[i].data.ptr;
        if (slot->open && slot->sent < length && events[i].events & EPOLLOUT)
            send_rest(slot);
        if (slot->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            receive(slot);
    }
}

static int by_time(const void *a, const void *b) {
    uint32_t x = ((const struct result *)a)->took, y = ((const struct result *)b)->took;
    return (x > y) - (x < y);
}

/* Of results in order of their times. */
static void print_kind(enum kind kind, size_t kept) {
    size_t count = 0, at = 0;
    uint32_t p50 = 0, p99 = 0, most = 0;
    for (size_t i = 0; i < kept; i++)
        count += results[i].kind == kind;
    for (size_t i = 0; i < kept; i++) {
        if (results[i].kind != kind)
            continue;
        if (at == count / 2)
            p50 = results[i].took;
        if (at == count - 1 - count / 100)
            p99 = results[i].took;
        most = results[i].took;
        at++;
    }
    printf(",\"%s\":{\"count\":%zu,\"p50\":%u,\"p99\":%u,\"most\":%u}", names[kind], count, p50,
           p99, most);
}

int main(int argc, char **argv) {
    if (argc < 10 || argc > 12) {
        fprintf(stderr, "usage: loader TARGET PATH CONNECTIONS SECONDS REQUESTS HEAD TAIL SERIAL"
                        " BATCH [RATE [FLAGS]]\n");
        return 2;
    }
    if (!find_target(argv[1])) {
        fprintf(stderr, "loader: the path is too long for a socket\n");
        return 2;
    }
    int connections = atoi(argv[3]), batch = atoi(argv[9]);
    double seconds = atof(argv[4]), rate = argc > 10 ? atof(argv[10]) : 0;
    size_t wanted = strtoull(argv[5], NULL, 10), begun = 0;
    size_t total = rate > 0 ? (size_t)(rate * seconds) : SIZE_MAX;
    serial = first_serial = strtoull(argv[8], NULL, 10);
    messages = batch ? batch : 1;
    places = 1 + count_marks(argv[6]) + count_marks(argv[7]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    set = epoll_create1(EPOLL_CLOEXEC);
    results = malloc(RESULTS * sizeof *results);
    if (argc > 11)
        flags = calloc(1, flags_size = 1 << 20);
    struct slot *slots = calloc((size_t)connections, sizeof *slots);
    struct epoll_event *events = calloc((size_t)connections, sizeof *events);
    idle = calloc((size_t)connections, sizeof *idle);
    if (!results || !slots || !events || !idle)
        die("malloc");
    for (int i = connections; i--;) {
        build(&slots[i], argv[2], argv[6], argv[7], batch);
        idle[idles++] = &slots[i];
    }
    uint64_t start = now(), stop = start + (uint64_t)(seconds * 1e6), last = start;
    /* At a rate a moment more, for what is due right before the end. */
    while ((last < stop || (rate > 0 && begun < total && last < stop + MOMENT)) &&
           (!wanted || done < wanted)) {
        int full = 0;
        for (int left = connections; left-- && idles && !full; ) {
            if ((wanted && begun >= wanted) || begun >= total)
                break;
            uint64_t due = rate > 0 ? start + (uint64_t)((double)begun * 1e6 / rate) : now();
            if (rate > 0 && due > last)
                break;
            struct slot *slot = idle[--idles];
            if (begin(slot, due)) {
                begun++;
            } else if (rate > 0) { /* nobody waits for a place in the queue */
                number(slot);
                slot->started = due;
                finish(slot, REFUSED);
                begun++;
            } else {
                idle[idles++] = slot;
                full = 1;
            }
        }
        /* What is due within a millisecond begins together: more looks would only cost. */
        take(epoll_wait(set, events, connections, full || rate > 0 ? 1 : 100), events);
        last = now();
    }
    size_t counted = done, failed = errors, in_time = 0;
    for (size_t i = 0; i < done && i < RESULTS; i++)
        in_time += results[i].kind == OK;
    /* What is in flight is waited for: a server need not meet broken pipes. */
    uint64_t patience = now() + (rate > 0 ? LONG_PATIENCE : PATIENCE);
    while (idles < connections && now() < patience)
        take(epoll_wait(set, events, connections, 100), events);
    if (rate > 0) { /* it is a part of what was asked for */
        for (int i = 0; i < connections; i++)
            if (slots[i].open)
                broken(&slots[i]);
        counted = done;
        failed = errors;
    }
    size_t kept = counted < RESULTS ? counted : RESULTS;
    qsort(results, kept, sizeof *results, by_time);
    printf("{\"requests\":%zu,\"errors\":%zu,\"seconds\":%.6f,\"p50\":%u,\"p99\":%u,"
           "\"in_time\":%zu,\"unsent\":%zu",
           counted, failed, (double)(last - start) / 1e6, kept ? results[kept / 2].took : 0,
           kept ? results[kept - 1 - kept / 100].took : 0, in_time,
           rate > 0 ? total - begun : 0);
    kept = done < RESULTS ? done : RESULTS;
    qsort(results, kept, sizeof *results, by_time);
    for (enum kind kind = OK; kind < KINDS; kind++)
        print_kind(kind, kept);
    printf("}\n");
    if (flags) {
        FILE *file = fopen(argv[11], "wb");
        if (!file || fwrite(flags, 1, flags_used, file) != flags_used || fclose(file))
            die(argv[11]);
    }
    return 0;
}
