/*
 * load: many clients of the OpenAI API at once, in one thread.
 *
 * It repeats one request on keep-alive connections, checks every response, and prints what it saw
 * as one JSON object. One thread, one epoll, libc only.
 *
 *     cc -O2 -o load load.c
 *     ./load --port 8000 --path /v1/chat/completions --connections 64 --body chat.json
 *            (--requests N | --seconds S) [--rate R] [--keys FILE] [--header 'name: value']...
 *            [--stream] [--expect 200]
 *     ./load ... --connections 1000 --stream --hold
 *
 * A connection has one request at a time. Without --rate the next one follows when the response is
 * complete. With it, R requests a second fall due however fast the responses are, and idle
 * connections take them in turn; the time of a request that waits for a connection counts from when
 * it fell due. --keys has one bearer key a line, used in turn. --seconds stops sending, then waits
 * for the responses in flight. --hold opens all streams, prints {"open":C} when each had its first
 * event (and "errors" if some could not be opened), and keeps them until stdin closes or SIGTERM.
 * If stdin cannot be watched (/dev/null, a file), only SIGTERM ends it.
 *
 * It measures, in microseconds of the monotonic clock:
 *     latency_us      from the request's start to the last byte of its response
 *     first_byte_us   from there to the first byte of the response's body
 *     chunk_delay_us  from the time in an event's id (upstream.c writes it) to its arrival
 * Responses that are wrong in any way count as errors and not in the first two: not connected,
 * truncated, not HTTP, another status than expected, a stream without its end ("data: [DONE]" or
 * "response.completed"), an empty 200, silence for a minute. "requests" are all that ended,
 * "chunks" the events of streams except [DONE]. Percentiles of nothing are null.
 *
 * It must never take an incomplete response for a complete one, nor retry a request: a proxy that
 * drops one in a thousand has to show.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 8000,
    READ_BYTES = 256 * 1024,
    READY_MAX = 256,
    LINE_BYTES_MAX = 512,
    EVENT_BYTES_KEPT = 64,
    SENT_AT_DIGITS = 16,
    FAILED_CONNECTIONS_MAX = 1000,
    SILENCE_US_MAX = 60 * 1000 * 1000,
    LOOK_AROUND_US = 500 * 1000,
    STATUS_MAX = 1000,
};

static const int64_t SECOND_US = 1000000;

struct text {
    char *bytes;
    size_t length, room;
};

struct options {
    int port, connections, expected_status;
    const char *path;
    int64_t requests, seconds_us; /* -1: no limit */
    double rate;
    bool stream, hold, closes;
};

/* ---- percentiles: buckets on a log scale, 64 to each power of two, so within 1 % ---- */

enum { STEPS = 64, STEP_BITS = 6, BUCKETS = STEPS * 40 };

struct histogram {
    uint64_t buckets[BUCKETS], count;
    int64_t max;
};

/* ---- one response, read as its bytes arrive ---- */

enum response_phase {
    STATUS_LINE,
    FIELDS,
    BODY_COUNTED,
    BODY_TO_THE_END,
    CHUNK_SIZE,
    CHUNK_BYTES,
    CHUNK_END,
    TRAILERS,
    COMPLETE,
    MALFORMED,
};

struct line {
    size_t length;
    char text[LINE_BYTES_MAX];
};

struct response {
    enum response_phase phase;
    int status;
    int64_t left; /* bytes of the body or of its chunk; -1 before a length is known */
    bool chunked, closes, has_body, done;
    struct line line, event;
};

enum failure {
    NOT_CONNECTED,
    BROKEN_OFF,
    NOT_HTTP,
    OTHER_STATUS,
    NOT_DONE,
    SILENT,
    FAILURES,
    NONE,
};

static const char *const failure_names[FAILURES] = {"not_connected", "broken_off", "not_http",
                                                    "other_status",  "not_done",   "silent"};

enum connection_phase { FREE, CONNECTING, ASKING };

struct connection {
    int fd; /* -1: to be opened with the next request */
    enum connection_phase phase;
    bool has_request, counted_open;
    int64_t started_us, first_byte_us;
    size_t sent;
    const struct text *key;
    struct response response;
};

struct results {
    uint64_t requests, chunks, bytes, open, never_open;
    uint64_t failures[FAILURES], statuses[STATUS_MAX];
    struct histogram latency, first_byte, chunk_delay;
};

static struct options options = {
    .expected_status = 200, .connections = 1, .requests = -1, .seconds_us = -1,
    .path = "/v1/chat/completions",
};
static struct text fields, head, body;
static struct text *keys;
static size_t key_count;

static struct connection *connections;
/* A ring: free connections take turns. */
static struct connection *free_ring[CONNECTIONS_MAX];
static int free_first, free_count;

static struct results results;
static int epoll_fd;
static int connecting;
static bool started, stopped;
static int failed_connections;
static int64_t asked, asking, started_us, ended_us, heard_us;
static volatile sig_atomic_t told_to_end;
static char read_buffer[READ_BYTES];

static void die(const char *why)
{
    fprintf(stderr, "load: %s\n", why);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND_US + now.tv_nsec / 1000;
}

/* ---- percentiles ---- */

static int bucket_of(int64_t value)
{
    if (value < STEPS)
        return (int)value;
    int doublings = 63 - __builtin_clzll((uint64_t)value) - STEP_BITS;
    int bucket = (doublings + 1) * STEPS + (int)((value >> doublings) - STEPS);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The middle of a bucket. */
static int64_t value_of(int bucket)
{
    if (bucket < STEPS)
        return bucket;
    int doublings = bucket / STEPS - 1;
    return ((int64_t)(bucket % STEPS + STEPS) << doublings) + ((INT64_C(1) << doublings) >> 1);
}

static void record(struct histogram *histogram, int64_t value)
{
    value = value < 0 ? 0 : value;
    histogram->buckets[bucket_of(value)]++;
    histogram->count++;
    histogram->max = value > histogram->max ? value : histogram->max;
}

static int64_t percentile(const struct histogram *histogram, int percent)
{
    uint64_t rank = (histogram->count * (uint64_t)percent + 99) / 100, seen = 0;
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen >= rank)
            return value_of(bucket) < histogram->max ? value_of(bucket) : histogram->max;
    }
    return histogram->max;
}

/* ---- lines ---- */

/* Copies up to the end of the line, as far as there is room. True when the line is whole: its
 * reader looks at it and sets its length to nought. */
static bool take_line(struct line *line, size_t kept, const char **at, const char *end)
{
    const char *line_end = memchr(*at, '\n', (size_t)(end - *at));
    size_t length = (size_t)((line_end == NULL ? end : line_end) - *at);
    size_t room = kept - 1 - line->length;
    size_t copied = length < room ? length : room;
    memcpy(line->text + line->length, *at, copied);
    line->length += copied;
    *at += length;
    if (line_end == NULL)
        return false;
    *at += 1;
    if (line->length > 0 && line->text[line->length - 1] == '\r')
        line->length--;
    line->text[line->length] = '\0';
    return true;
}

static bool begins(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

/* ---- events ---- */

static void record_delay(const char *event, int64_t now)
{
    static const char id[] = "\"chatcmpl-";
    const char *digits = strstr(event, id);
    if (digits == NULL)
        return;
    digits += sizeof id - 1;
    int64_t sent_at = 0;
    int count = 0;
    for (; isdigit((unsigned char)digits[count]); count++)
        sent_at = sent_at * 10 + (digits[count] - '0');
    if (count == SENT_AT_DIGITS && digits[count] == '"')
        record(&results.chunk_delay, now - sent_at);
}

static bool on_event(struct response *response, int64_t now)
{
    const char *data = response->event.text + strlen("data:");
    data += *data == ' ';
    if (response->done)
        return false;
    if (strcmp(data, "[DONE]") == 0) {
        response->done = true;
        return true;
    }
    response->done = begins(data, "{\"type\":\"response.completed\"");
    results.chunks++;
    record_delay(data, now);
    return true;
}

/* False when an event follows the one that says there is none. */
static bool read_events(struct response *response, const char *at, const char *end, int64_t now)
{
    while (take_line(&response->event, EVENT_BYTES_KEPT, &at, end)) {
        bool is_event = begins(response->event.text, "data:");
        response->event.length = 0;
        if (is_event && !on_event(response, now))
            return false;
    }
    return true;
}

/* ---- responses ---- */

static void begin_response(struct response *response)
{
    response->phase = STATUS_LINE;
    response->status = 0;
    response->left = -1;
    response->chunked = response->has_body = response->done = false;
    response->closes = options.closes;
    response->line.length = response->event.length = 0;
}

static enum response_phase read_status_line(struct response *response)
{
    const char *text = response->line.text;
    if (!begins(text, "HTTP/1.") || strlen(text) < strlen("HTTP/1.1 200"))
        return MALFORMED;
    response->status = atoi(text + strlen("HTTP/1.1 "));
    response->closes |= begins(text, "HTTP/1.0");
    return response->status >= 100 && response->status < STATUS_MAX ? FIELDS : MALFORMED;
}

static bool field_is(const char *field, const char *name, const char *value)
{
    if (strncasecmp(field, name, strlen(name)) != 0)
        return false;
    field += strlen(name);
    return strncasecmp(field + strspn(field, " \t"), value, strlen(value)) == 0;
}

static enum response_phase read_field(struct response *response)
{
    const char *field = response->line.text;
    if (field_is(field, "content-length:", "")) {
        char *end;
        response->left = strtoll(field + strlen("content-length:"), &end, 10);
        return *end == '\0' && response->left >= 0 ? FIELDS : MALFORMED;
    }
    if (field_is(field, "transfer-encoding:", "chunked"))
        response->chunked = true;
    else if (field_is(field, "connection:", "close"))
        response->closes = true;
    else if (field_is(field, "connection:", "keep-alive"))
        response->closes = options.closes;
    return FIELDS;
}

/* What follows the head (RFC 9112, section 6.3). */
static enum response_phase end_head(struct response *response)
{
    if (response->status < 200) {
        begin_response(response);
        return STATUS_LINE;
    }
    if (response->status == 204 || response->status == 304)
        return COMPLETE;
    if (response->chunked)
        return CHUNK_SIZE;
    if (response->left == 0)
        return COMPLETE;
    if (response->left > 0)
        return BODY_COUNTED;
    response->closes = true;
    return BODY_TO_THE_END;
}

static enum response_phase read_chunk_size(struct response *response)
{
    char *end;
    errno = 0;
    response->left = strtoll(response->line.text, &end, 16);
    if (end == response->line.text || response->left < 0 || errno != 0)
        return MALFORMED;
    return response->left == 0 ? TRAILERS : CHUNK_BYTES;
}

static enum response_phase read_line(struct response *response)
{
    bool empty = response->line.length == 0;
    switch (response->phase) {
    case STATUS_LINE: return read_status_line(response);
    case FIELDS: return empty ? end_head(response) : read_field(response);
    case CHUNK_SIZE: return read_chunk_size(response);
    case CHUNK_END: return empty ? CHUNK_SIZE : MALFORMED;
    default: return empty ? COMPLETE : TRAILERS;
    }
}

static bool in_body(const struct response *response)
{
    return response->phase == BODY_COUNTED || response->phase == BODY_TO_THE_END
           || response->phase == CHUNK_BYTES;
}

/* Reads what is here of the body, or of one chunk of it, and says how much that was. */
static size_t read_body(struct connection *connection, const char *at, const char *end, int64_t now)
{
    struct response *response = &connection->response;
    size_t length = (size_t)(end - at);
    bool counted = response->phase != BODY_TO_THE_END;
    if (counted && (int64_t)length > response->left)
        length = (size_t)response->left;
    if (!response->has_body)
        connection->first_byte_us = now;
    response->has_body = true;
    if (counted && (response->left -= (int64_t)length) == 0)
        response->phase = response->phase == CHUNK_BYTES ? CHUNK_END : COMPLETE;
    if (options.stream && !read_events(response, at, at + length, now))
        response->phase = MALFORMED;
    return length;
}

/* Bytes after a complete response are not HTTP: no request is left that they could belong to. */
static void read_response(struct connection *connection, const char *at, const char *end,
                          int64_t now)
{
    struct response *response = &connection->response;
    while (at < end && response->phase != MALFORMED) {
        if (response->phase == COMPLETE) {
            response->phase = MALFORMED;
        } else if (in_body(response)) {
            at += read_body(connection, at, end, now);
        } else if (take_line(&response->line, LINE_BYTES_MAX, &at, end)) {
            response->phase = read_line(response);
            response->line.length = 0;
        }
    }
}

static enum failure verdict(const struct response *response)
{
    if (response->phase == MALFORMED)
        return NOT_HTTP;
    if (response->phase != COMPLETE)
        return BROKEN_OFF;
    if (response->status != options.expected_status)
        return OTHER_STATUS;
    if (response->status == 200 && !(options.stream ? response->done : response->has_body))
        return NOT_DONE;
    return NONE;
}

/* ---- held streams ---- */

static void report_open(void)
{
    if (results.open + results.never_open < (uint64_t)options.connections)
        return;
    printf("{\"open\":%" PRIu64, results.open);
    if (results.never_open > 0)
        printf(",\"errors\":%" PRIu64, results.never_open);
    printf("}\n");
    fflush(stdout);
}

static void count_open(struct connection *connection)
{
    const struct response *response = &connection->response;
    if (connection->counted_open || !response->has_body
        || response->status != options.expected_status)
        return;
    connection->counted_open = true;
    results.open++;
    report_open();
}

/* A held stream that ends is lost, which spoils a measurement of all of them: report it. */
static void lose_held(const struct connection *connection, enum failure failure)
{
    fprintf(stderr, "load: a held stream ended (%s)\n",
            failure == NONE ? "whole" : failure_names[failure]);
    if (connection->counted_open)
        return;
    results.never_open++;
    report_open();
}

/* ---- requests ---- */

static void close_connection(struct connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
}

static void set_free(struct connection *connection)
{
    connection->phase = FREE;
    free_ring[(free_first + free_count++) % options.connections] = connection;
}

static void count_request(struct connection *connection, enum failure failure, int64_t now)
{
    results.requests++;
    if (connection->response.status > 0)
        results.statuses[connection->response.status]++;
    if (failure != NONE) {
        results.failures[failure]++;
        return;
    }
    failed_connections = 0;
    record(&results.latency, now - connection->started_us);
    if (connection->response.has_body)
        record(&results.first_byte, connection->first_byte_us - connection->started_us);
}

static void end_request(struct connection *connection, enum failure failure)
{
    int64_t now = now_us();
    asking--;
    connection->has_request = false;
    count_request(connection, failure, now);
    heard_us = ended_us = now;
    if (failure != NONE || connection->response.closes)
        close_connection(connection);
    if (options.hold)
        lose_held(connection, failure);
    set_free(connection);
}

static void fail_to_connect(struct connection *connection)
{
    if (!started)
        die("cannot connect");
    if (++failed_connections == FAILED_CONNECTIONS_MAX) {
        fprintf(stderr, "load: %d connections failed in a row, giving up\n", failed_connections);
        stopped = true;
    }
    end_request(connection, NOT_CONNECTED);
}

/* The parts of the request that are still to be sent. */
static int unsent_parts(const struct connection *connection, struct iovec *parts)
{
    const struct text *whole[] = {&head, connection->key, &body};
    size_t skipped = connection->sent;
    int count = 0;
    for (int i = 0; i < 3; i++) {
        size_t length = whole[i] == NULL ? 0 : whole[i]->length;
        if (length > skipped)
            parts[count++] = (struct iovec){whole[i]->bytes + skipped, length - skipped};
        skipped -= length < skipped ? length : skipped;
    }
    return count;
}

/* A full socket announces itself when it has room, a broken one that it broke: what its peer said
 * before is still to be read. */
static void send_request(struct connection *connection)
{
    struct iovec parts[3];
    struct msghdr message = {.msg_iov = parts};
    while ((message.msg_iovlen = (size_t)unsent_parts(connection, parts)) > 0) {
        ssize_t sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL);
        if (sent < 0)
            return;
        connection->sent += (size_t)sent;
    }
}

static bool all_sent(const struct connection *connection)
{
    struct iovec parts[3];
    return unsent_parts(connection, parts) == 0;
}

static void open_connection(struct connection *connection)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    /* Edge-triggered: registered once, never changed. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = connection};
    int one = 1;
    connection->phase = CONNECTING;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0
        || (connect(connection->fd, (struct sockaddr *)&address, sizeof address) != 0
            && errno != EINPROGRESS)
        || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) != 0) {
        fail_to_connect(connection);
        return;
    }
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connecting++;
}

static void start_request(struct connection *connection, int64_t begin_us)
{
    connection->has_request = true;
    connection->started_us = begin_us;
    connection->sent = 0;
    connection->key = key_count > 0 ? &keys[(uint64_t)asked % key_count] : NULL;
    begin_response(&connection->response);
    asked++;
    asking++;
    if (connection->fd < 0) {
        open_connection(connection);
        return;
    }
    connection->phase = ASKING;
    send_request(connection);
}

/* ---- who asks when ---- */

static bool may_ask(int64_t now)
{
    if (stopped || told_to_end)
        return false;
    if (options.hold)
        return asked < options.connections;
    if (options.requests >= 0 && asked >= options.requests)
        return false;
    return options.seconds_us < 0 || now - started_us < options.seconds_us;
}

/* When the next request falls due; without a rate, always already. */
static int64_t next_due_us(void)
{
    if (options.rate <= 0)
        return 0;
    return started_us + (int64_t)((double)asked * (double)SECOND_US / options.rate);
}

static struct connection *take_free(void)
{
    struct connection *connection = free_ring[free_first];
    free_first = (free_first + 1) % options.connections;
    free_count--;
    return connection;
}

/* Gives free connections what is due. all_were_busy: what is late was late for want of one. */
static void hand_out(bool all_were_busy)
{
    int64_t now = now_us();
    while (free_count > 0 && may_ask(now) && next_due_us() <= now) {
        bool late = options.rate > 0 && all_were_busy;
        start_request(take_free(), late ? next_due_us() : now);
        now = now_us();
    }
}

/* ---- what the connections tell ---- */

static void on_connected(struct connection *connection)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    connecting--;
    if (error != 0) {
        fail_to_connect(connection);
        return;
    }
    if (!connection->has_request) {
        set_free(connection);
        return;
    }
    connection->phase = ASKING;
    send_request(connection);
}

static void on_closed(struct connection *connection)
{
    if (connection->phase == FREE) {
        close_connection(connection);
        return;
    }
    if (connection->response.phase == BODY_TO_THE_END)
        connection->response.phase = COMPLETE;
    connection->response.closes = true;
    end_request(connection, verdict(&connection->response));
}

static void on_bytes(struct connection *connection, size_t length)
{
    int64_t now = now_us();
    results.bytes += length;
    heard_us = now;
    if (connection->phase == FREE) { /* nothing was asked: the next request takes another */
        close_connection(connection);
        return;
    }
    read_response(connection, read_buffer, read_buffer + length, now);
    if (options.hold)
        count_open(connection);
    if (connection->response.phase != COMPLETE && connection->response.phase != MALFORMED)
        return;
    /* A refusal may come before the whole request has been taken: the rest would be a new one. */
    connection->response.closes |= !all_sent(connection);
    end_request(connection, verdict(&connection->response));
}

static void on_readable(struct connection *connection)
{
    while (connection->fd >= 0) {
        ssize_t length = recv(connection->fd, read_buffer, sizeof read_buffer, 0);
        if (length < 0 && errno == EAGAIN)
            return;
        if (length <= 0) {
            on_closed(connection);
            return;
        }
        on_bytes(connection, (size_t)length);
        /* A short read has emptied the socket: what comes later is announced anew. */
        if ((size_t)length < sizeof read_buffer)
            return;
    }
}

static void on_connection(struct connection *connection, uint32_t events)
{
    if (connection->phase == CONNECTING) {
        on_connected(connection);
        return;
    }
    if (connection->phase == ASKING && (events & EPOLLOUT) && !all_sent(connection))
        send_request(connection);
    if (connection->fd >= 0 && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        on_readable(connection);
    /* With the end come its last bytes first; the end itself is another read. */
    if (connection->fd >= 0 && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        on_readable(connection);
}

/* ---- the loop ---- */

static int64_t wait_us(int64_t now)
{
    int64_t wait = LOOK_AROUND_US;
    if (options.rate > 0 && free_count > 0 && may_ask(now) && next_due_us() - now < wait)
        wait = next_due_us() - now;
    return wait < 0 ? 0 : wait;
}

static void read_stdin(void)
{
    char ignored[512];
    if (read(STDIN_FILENO, ignored, sizeof ignored) <= 0)
        told_to_end = 1;
}

static void wait_and_read(int64_t wait)
{
    struct epoll_event ready[READY_MAX];
    struct timespec timeout = {wait / SECOND_US, wait % SECOND_US * 1000};
    int count = epoll_pwait2(epoll_fd, ready, READY_MAX, &timeout, NULL);
    if (count < 0 && errno != EINTR)
        die(strerror(errno));
    for (int i = 0; i < count; i++) {
        if (ready[i].data.ptr == NULL)
            read_stdin();
        else
            on_connection(ready[i].data.ptr, ready[i].events);
    }
}

static void give_up_on_the_silent(int64_t now)
{
    if (options.hold || asking == 0 || now - heard_us < SILENCE_US_MAX)
        return;
    stopped = true;
    for (int i = 0; i < options.connections; i++)
        if (connections[i].phase != FREE)
            end_request(&connections[i], SILENT);
}

static void connect_all(void)
{
    connections = calloc((size_t)options.connections, sizeof *connections);
    if (connections == NULL)
        die("out of memory");
    for (int i = 0; i < options.connections; i++)
        open_connection(&connections[i]);
    while (connecting > 0)
        wait_and_read(LOOK_AROUND_US);
}

static bool finished(int64_t now)
{
    if (told_to_end)
        return true;
    return !options.hold && asking == 0 && !may_ask(now);
}

static void run(void)
{
    started = true;
    started_us = ended_us = heard_us = now_us();
    hand_out(false);
    for (int64_t now = started_us; !finished(now); now = now_us()) {
        bool all_were_busy = free_count == 0;
        wait_and_read(wait_us(now));
        hand_out(all_were_busy);
        give_up_on_the_silent(now);
    }
}

/* ---- what is said in the end ---- */

static void print_histogram(const char *name, const struct histogram *histogram)
{
    if (histogram->count == 0) {
        printf(",\"%s\":{\"p50\":null,\"p90\":null,\"p99\":null,\"max\":null}", name);
        return;
    }
    printf(",\"%s\":{\"p50\":%" PRId64 ",\"p90\":%" PRId64, name, percentile(histogram, 50),
           percentile(histogram, 90));
    printf(",\"p99\":%" PRId64 ",\"max\":%" PRId64 "}", percentile(histogram, 99), histogram->max);
}

static void print_failures(void)
{
    const char *comma = "";
    printf(",\"failures\":{");
    for (int i = 0; i < FAILURES; i++) {
        if (results.failures[i] == 0)
            continue;
        printf("%s\"%s\":%" PRIu64, comma, failure_names[i], results.failures[i]);
        comma = ",";
    }
    printf("}");
}

static void print_statuses(void)
{
    const char *comma = "";
    printf(",\"statuses\":{");
    for (int status = 0; status < STATUS_MAX; status++) {
        if (results.statuses[status] == 0)
            continue;
        printf("%s\"%d\":%" PRIu64, comma, status, results.statuses[status]);
        comma = ",";
    }
    printf("}");
}

static void print_results(void)
{
    double seconds = (double)(ended_us - started_us) / (double)SECOND_US;
    printf("{\"requests\":%" PRIu64 ",\"errors\":%" PRIu64, results.requests,
           results.requests - results.latency.count);
    print_failures();
    print_statuses();
    printf(",\"seconds\":%.6f,\"rps\":%.2f", seconds,
           seconds > 0 ? (double)results.requests / seconds : 0.0);
    print_histogram("latency_us", &results.latency);
    print_histogram("first_byte_us", &results.first_byte);
    printf(",\"chunks\":%" PRIu64, results.chunks);
    print_histogram("chunk_delay_us", &results.chunk_delay);
    printf(",\"bytes\":%" PRIu64 "}\n", results.bytes);
}

/* ---- options, files ---- */

static void append(struct text *text, const char *bytes, size_t length)
{
    if (text->length + length > text->room) {
        text->room = 2 * (text->length + length);
        text->bytes = realloc(text->bytes, text->room);
    }
    if (text->bytes == NULL)
        die("out of memory");
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

__attribute__((format(printf, 2, 3))) static void append_line(struct text *text,
                                                              const char *format, ...)
{
    char *line;
    va_list values;
    va_start(values, format);
    int length = vasprintf(&line, format, values);
    va_end(values);
    if (length < 0)
        die("out of memory");
    append(text, line, (size_t)length);
    append(text, "\r\n", 2);
    free(line);
}

static struct text file_of(const char *path)
{
    struct text text = {0};
    size_t length;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        die("a file cannot be read");
    while ((length = fread(read_buffer, 1, sizeof read_buffer, file)) > 0)
        append(&text, read_buffer, length);
    if (ferror(file))
        die("a file cannot be read");
    fclose(file);
    return text;
}

static size_t lines_of(const struct text *text)
{
    size_t lines = 1;
    for (size_t i = 0; i < text->length; i++)
        lines += text->bytes[i] == '\n';
    return lines;
}

/* Each key is kept as the end of the head it makes. */
static void read_keys(const char *path)
{
    struct text file = file_of(path);
    append(&file, "", 1);
    keys = calloc(lines_of(&file), sizeof *keys);
    if (keys == NULL)
        die("out of memory");
    for (char *key = strtok(file.bytes, "\r\n"); key != NULL; key = strtok(NULL, "\r\n"))
        append_line(&keys[key_count++], "authorization: Bearer %s\r\n", key);
    free(file.bytes);
    if (key_count == 0)
        die("there is no key in the file of keys");
}

static void prepare_head(void)
{
    append_line(&head, "POST %s HTTP/1.1", options.path);
    append_line(&head, "host: 127.0.0.1:%d", options.port);
    append_line(&head, "content-type: application/json");
    append_line(&head, "content-length: %zu", body.length);
    if (fields.length > 0)
        append(&head, fields.bytes, fields.length);
    if (key_count == 0)
        append(&head, "\r\n", 2);
}

static void add_field(const char *field)
{
    append_line(&fields, "%s", field);
    options.closes |= field_is(field, "connection:", "close");
}

static double number_in(const char *text, double least, double most)
{
    char *end;
    double number = strtod(text, &end);
    if (*end != '\0' || end == text || !(number >= least && number <= most))
        die("a number is missing or out of its range");
    return number;
}

static void read_option(int option)
{
    switch (option) {
    case 'p': options.port = (int)number_in(optarg, 1, 65535); break;
    case 'P': options.path = optarg; break;
    case 'c': options.connections = (int)number_in(optarg, 1, CONNECTIONS_MAX); break;
    case 'n': options.requests = (int64_t)number_in(optarg, 1, 1e12); break;
    case 's': options.seconds_us = (int64_t)(number_in(optarg, 0.001, 1e6) * 1e6); break;
    case 'r': options.rate = number_in(optarg, 0.001, 1e6); break;
    case 'b': body = file_of(optarg); break;
    case 'k': read_keys(optarg); break;
    case 'h': add_field(optarg); break;
    case 'S': options.stream = true; break;
    case 'e': options.expected_status = (int)number_in(optarg, 200, 599); break;
    case 'H': options.hold = true; break;
    default: exit(2);
    }
}

static void check_options(void)
{
    if (options.port == 0)
        die("--port is missing");
    if (options.hold && !options.stream)
        die("--hold goes with --stream");
    if (!options.hold && options.requests < 0 && options.seconds_us < 0)
        die("--requests or --seconds is missing");
}

static void read_options(int count, char **words)
{
    static const struct option known[] = {
        {"port", required_argument, NULL, 'p'},
        {"path", required_argument, NULL, 'P'},
        {"connections", required_argument, NULL, 'c'},
        {"requests", required_argument, NULL, 'n'},
        {"seconds", required_argument, NULL, 's'},
        {"rate", required_argument, NULL, 'r'},
        {"body", required_argument, NULL, 'b'},
        {"keys", required_argument, NULL, 'k'},
        {"header", required_argument, NULL, 'h'},
        {"stream", no_argument, NULL, 'S'},
        {"expect", required_argument, NULL, 'e'},
        {"hold", no_argument, NULL, 'H'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(count, words, "", known, NULL)) != -1)
        read_option(option);
    if (optind < count)
        die("options only");
    check_options();
}

static void end(int signal_number)
{
    (void)signal_number;
    told_to_end = 1;
}

static void allow_many_files(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Of what cannot be watched (a file, /dev/null) no end can be waited for. */
static void watch_stdin(void)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event);
}

int main(int count, char **words)
{
    read_options(count, words);
    prepare_head();
    allow_many_files();
    signal(SIGTERM, end);
    signal(SIGINT, end);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die(strerror(errno));
    connect_all();
    if (options.hold)
        watch_stdin();
    run();
    if (options.hold)
        return results.open == (uint64_t)options.connections && results.requests == 0 ? 0 : 1;
    print_results();
    return 0;
}
