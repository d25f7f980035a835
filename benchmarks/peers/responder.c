/* The reference: an SCGI server that only reads a request whole and answers it 200.
 *
 *   responder SOCKET
 *
 * One thread, one epoll set, one request per connection. It does what any SCGI server must do
 * (accept, read, send, close) and nothing else, so its rate is the limit of nginx and SCGI on this
 * machine, and its drift is the machine's drift. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { EVENTS = 256, REQUEST_MAX = 65536, FILES = 65536 };

static const char REPLY[] =
    "Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nOK";

struct request {
    size_t length;
    char *data; /* only while a request is not whole */
};
static struct request waiting[FILES];

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* Whether the request is whole: a netstring of headers, the first of which is CONTENT_LENGTH, and
 * the body. -1: it is no SCGI. */
static int is_whole(const char *data, size_t length) {
    static const char name[] = "CONTENT_LENGTH"; /* with its NUL */
    char *colon;
    unsigned long headers = strtoul(data, &colon, 10);
    if (*colon != ':')
        return colon == data + length ? 0 : -1;
    size_t start = (size_t)(colon + 1 - data);
    if (headers > REQUEST_MAX)
        return -1;
    if (length < start + headers + 1)
        return 0;
    if (memcmp(data + start, name, sizeof name))
        return -1;
    unsigned long body = strtoul(data + start + sizeof name, NULL, 10);
    return length >= start + headers + 1 + body;
}

static void end(int fd) {
    free(waiting[fd].data);
    waiting[fd].data = NULL;
    close(fd);
}

/* Read what is there; answer when it is all. Returns whether more is to come. */
static int serve(int fd) {
    static char buffer[REQUEST_MAX + 1];
    struct request *request = &waiting[fd];
    char *data = request->data ? request->data : buffer;
    size_t had = request->data ? request->length : 0;
    ssize_t got = recv(fd, data + had, REQUEST_MAX - had, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        got = 0;
    else if (got <= 0) {
        end(fd);
        return 0;
    }
    size_t length = had + (size_t)got;
    data[length] = 0;
    int whole = length ? is_whole(data, length) : 0;
    if (whole == 0 && length < REQUEST_MAX) {
        if (!request->data) {
            request->data = malloc(REQUEST_MAX + 1);
            if (!request->data)
                die("malloc");
            memcpy(request->data, buffer, length + 1);
        }
        request->length = length;
        return 1;
    }
    if (whole == 1 && send(fd, REPLY, sizeof REPLY - 1, MSG_NOSIGNAL) < 0 && errno != EPIPE)
        perror("send");
    end(fd);
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: responder SOCKET\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < FILES ? files.rlim_max : FILES;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(argv[1]) >= sizeof address.sun_path) {
        fprintf(stderr, "responder: the path is too long for a socket\n");
        return 2;
    }
    strcpy(address.sun_path, argv[1]);
    unlink(argv[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 4096) < 0)
        die(argv[1]);
    int set = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    epoll_ctl(set, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(set, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd != listener) {
                serve(events[i].data.fd);
                continue;
            }
            int fd;
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                /* nginx sends all at once, so most often the request is there already. */
                if (serve(fd)) {
                    event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
                    epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
                }
            }
        }
    }
}
