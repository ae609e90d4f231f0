/*
 * upstream: an api.openai.com that costs next to nothing.
 *
 * It stands behind whatever is measured and gives every request the same prebuilt response, so that
 * the figures are those of the proxy in front of it. One thread, one epoll, libc only.
 *
 *     cc -O2 -o upstream upstream.c
 *     ./upstream --port 9001 --json 600
 *     ./upstream --port 9001 --stream 200 --gap-us 50000 [--idle-after 3]
 *     ./upstream --port 9001 --embeddings 1536
 *     ./upstream --port 9001 --responses 1024 | --responses-stream 200
 *
 * The last two respond as POST /v1/responses, with ids that no other response has.
 *
 * Any of them takes --status CODE (400 and above: an error document) and --model-delay-ms D, the
 * time a model thinks before the head of its response. Port 0 takes a free one. It says
 * "listening PORT" on stdout when it is ready, and SIGTERM ends it.
 *
 * It measures nothing itself. Each event of a paced stream carries the time it was sent (monotonic
 * clock, microseconds) in its id, from which load.c computes how long the event took. A paced
 * stream sends its first event at once, the second after a part of the gap that is its connection's
 * own, the others a gap apart: streams that start together do not tick together.
 *
 * It must never look into a request, except for "include_usage": true, nor wait for one client
 * while it could serve another. A client that sends more before its response has ended is cut off.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
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
#include <time.h>
#include <unistd.h>

enum {
    CLIENTS_MAX = 16 * 1024,
    HEAD_BYTES_MAX = 64 * 1024,
    BODY_BYTES_MAX = 8 * 1024 * 1024,
    REQUEST_BYTES_FIRST = 8 * 1024,
    EVENT_BYTES_MAX = 1024,
    EVENTS_UNPACED_MAX = 100 * 1000,
    READY_MAX = 256,
    SENT_AT_DIGITS = 16,
    ID_DIGITS = 16,
    IDS_MAX = 4096,
    /* One client's turn: large responses leave in pieces, and fast streams take turns. */
    TURN_BYTES = 16 * 1024,
    NOT_DUE = -1,
};

/* Stands where the time goes, and stays in the ids of streams without a pace. */
static const char SENT_AT_UNKNOWN[] = "unpaced-unpaced-";
_Static_assert(sizeof SENT_AT_UNKNOWN - 1 == SENT_AT_DIGITS, "the time takes its place");

/* Stands where the number of a response goes. */
static const char NUMBER_UNKNOWN[] = "number--unknown-";
_Static_assert(sizeof NUMBER_UNKNOWN - 1 == ID_DIGITS, "the number takes its place");

struct text {
    char *bytes;
    size_t length, room;
};

enum kind { JSON, STREAM, EMBEDDINGS, RESPONSES, RESPONSES_STREAM };

struct options {
    enum kind kind;
    int port, status;
    long json_bytes, events, idle_after, dimensions;
    int64_t gap_us, model_delay_us;
};

/* An event of a paced stream as it goes out, framing included; the time is written over sent_at. */
struct event {
    char bytes[EVENT_BYTES_MAX];
    size_t length, sent_at;
};

/* What a stream says to clients that asked for usage, or that did not. */
struct stream {
    struct event first, middle, last, usage;
    struct text done;
};

enum phase { READING, THINKING, RESPONDING, IDLE };

struct client {
    int fd;
    enum phase phase;
    bool closes, wants_usage;
    uint32_t number;

    char *request;
    size_t request_room, received;
    size_t body_at, body_end, chunk_at;
    int64_t body_length; /* of a request in chunks: -1 */

    char *numbered; /* a copy with ids of its own */
    const char *unsent;
    size_t unsent_length;
    char piece[3 * EVENT_BYTES_MAX];

    long pieces_sent;
    int64_t due_us;
    int due_index;
};

static struct options options = {.port = 0, .status = 200, .json_bytes = 600, .idle_after = -1};
static struct stream streams[2]; /* by wants_usage */
static struct text heads[2];     /* of streams, by closes */
static struct text whole[2][2];  /* responses without a pace, by wants_usage and closes */

static size_t number_at[2][IDS_MAX]; /* in responses with ids, by closes */
static int numbers[2];
static int64_t responses_seen;

static int epoll_fd, listen_fd;
static uint32_t clients_seen;
static int clients_open;

static void die(const char *why)
{
    fprintf(stderr, "upstream: %s\n", why);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- texts, built once before the first client ---- */

static void make_room(struct text *text, size_t more)
{
    if (text->length + more <= text->room)
        return;
    text->room = 2 * (text->length + more);
    text->bytes = realloc(text->bytes, text->room);
    if (text->bytes == NULL)
        die("out of memory");
}

static void append_bytes(struct text *text, const char *bytes, size_t length)
{
    make_room(text, length);
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

__attribute__((format(printf, 2, 3))) static void append(struct text *text, const char *format, ...)
{
    char line[2 * EVENT_BYTES_MAX];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (length < 0 || (size_t)length >= sizeof line)
        die("a line is too long");
    append_bytes(text, line, (size_t)length);
}

static void append_head(struct text *text, const char *content_type, bool closes)
{
    append(text,
           "HTTP/1.1 %d %s\r\n"
           "content-type: %s\r\n"
           "x-request-id: req_5f0e6a1c9b7d4c2f8a3e5d7b9c1f2a4e\r\n"
           "openai-version: 2020-10-01\r\n"
           "openai-processing-ms: 12\r\n"
           "%s",
           options.status, options.status < 400 ? "OK" : "Refused", content_type,
           closes ? "connection: close\r\n" : "");
}

static struct text response_around(const struct text *document, bool closes)
{
    struct text response = {0};
    append_head(&response, "application/json", closes);
    append(&response, "content-length: %zu\r\n\r\n", document->length);
    append_bytes(&response, document->bytes, document->length);
    return response;
}

static struct text error_document(void)
{
    struct text document = {0};
    append(&document, "{\"error\":{\"message\":\"The upstream refuses, as configured.\","
                      "\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}");
    return document;
}

static struct text chat_completion(void)
{
    static const char usage[] =
        "\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":12,\"total_tokens\":21},"
        "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_44709d6fcb\"}";
    struct text document = {0};
    append(&document,
           "{\"id\":\"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT\",\"object\":\"chat.completion\","
           "\"created\":1741569952,\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{\"index\":0,"
           "\"message\":{\"role\":\"assistant\",\"refusal\":null,\"content\":\"Hello!");
    while (document.length + sizeof usage < (size_t)options.json_bytes)
        append(&document, " word");
    append_bytes(&document, usage, sizeof usage - 1);
    return document;
}

static struct text embedding(void)
{
    struct text document = {0};
    append(&document, "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,"
                      "\"embedding\":[");
    for (long i = 0; i < options.dimensions; i++)
        append(&document, "%s%s0.0%06ld", i ? "," : "", i % 3 ? "-" : "",
               100003 + i * 7919 % 899981);
    append(&document, "]}],\"model\":\"text-embedding-3-small\","
                      "\"usage\":{\"prompt_tokens\":9,\"total_tokens\":9}}");
    return document;
}

/* ---- responses with ids ---- */

static void append_response(struct text *text, const char *status, const char *words)
{
    append(text,
           "{\"id\":\"resp_68a1f0c2d7b4819%s\",\"object\":\"response\",\"created_at\":1741569952,"
           "\"status\":\"%s\",\"background\":false,\"error\":null,\"incomplete_details\":null,"
           "\"instructions\":null,\"max_output_tokens\":null,\"model\":\"gpt-4o-mini-2024-07-18\","
           "\"output\":[",
           NUMBER_UNKNOWN, status);
    if (words != NULL) {
        append(text,
               "{\"id\":\"msg_68a1f0c3e5a0819%s\",\"type\":\"message\",\"status\":\"completed\","
               "\"content\":[{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],"
               "\"text\":\"",
               NUMBER_UNKNOWN);
        append_bytes(text, words, strlen(words));
        append(text, "\"}],\"role\":\"assistant\"}");
    }
    append(text,
           "],\"parallel_tool_calls\":true,\"previous_response_id\":null,\"service_tier\":\"default\","
           "\"temperature\":1.0,\"text\":{\"format\":{\"type\":\"text\"}},\"tool_choice\":\"auto\","
           "\"tools\":[],\"top_p\":1.0,\"truncation\":\"disabled\",\"usage\":%s}",
           words == NULL ? "null"
                         : "{\"input_tokens\":9,\"input_tokens_details\":{\"cached_tokens\":0},"
                           "\"output_tokens\":12,\"output_tokens_details\":{"
                           "\"reasoning_tokens\":0},\"total_tokens\":21}");
}

static struct text words_of(long count)
{
    struct text words = {0};
    append(&words, "Hello!");
    for (long i = 0; i < count; i++)
        append(&words, " word");
    return words;
}

static struct text response_document(void)
{
    struct text words = words_of(0), document = {0};
    append_response(&document, "completed", words.bytes);
    while (document.length < (size_t)options.json_bytes) {
        words = words_of(1 + (options.json_bytes - (long)document.length) / 5);
        document.length = 0;
        append_response(&document, "completed", words.bytes);
    }
    return document;
}

/* An event of a stream, as a chunk of HTTP. */
static void append_event(struct text *text, const char *name, const struct text *members)
{
    size_t length = strlen("event: \ndata: {\"type\":\"\",}\n\n") + 2 * strlen(name)
                    + members->length;
    append(text, "%zx\r\nevent: %s\ndata: {\"type\":\"%s\",", length, name, name);
    append_bytes(text, members->bytes, members->length);
    append(text, "}\n\n\r\n");
}

static void append_whole_event(struct text *text, const char *name, const char *status,
                               const char *words)
{
    struct text members = {0};
    append(&members, "\"response\":");
    append_response(&members, status, words);
    append_event(text, name, &members);
}

__attribute__((format(printf, 3, 4))) static void append_part_event(
    struct text *text, const char *name, const char *format, ...)
{
    char line[EVENT_BYTES_MAX];
    struct text members = {0};
    va_list values;
    va_start(values, format);
    vsnprintf(line, sizeof line, format, values);
    va_end(values);
    append(&members, "%s", line);
    append_event(text, name, &members);
}

#define ITEM_ID "\"item_id\":\"msg_68a1f0c3e5a0819%s\",\"output_index\":0,\"content_index\":0,"
#define ITEM "\"output_index\":0,\"item\":{\"id\":\"msg_68a1f0c3e5a0819%s\",\"type\":\"message\","

static struct text response_events(void)
{
    struct text words = words_of(options.events - 1), text = {0};
    append_whole_event(&text, "response.created", "in_progress", NULL);
    append_whole_event(&text, "response.in_progress", "in_progress", NULL);
    append_part_event(&text, "response.output_item.added",
                      ITEM "\"status\":\"in_progress\",\"content\":[],\"role\":\"assistant\"}",
                      NUMBER_UNKNOWN);
    append_part_event(&text, "response.content_part.added",
                      ITEM_ID "\"part\":{\"type\":\"output_text\",\"annotations\":[],\"text\":\"\"}",
                      NUMBER_UNKNOWN);
    for (long i = 0; i < options.events; i++)
        append_part_event(&text, "response.output_text.delta",
                          ITEM_ID "\"delta\":\"%s\",\"logprobs\":[],\"obfuscation\":\"4kf9aX2L\"",
                          NUMBER_UNKNOWN, i == 0 ? "Hello!" : " word");
    append_part_event(&text, "response.output_item.done",
                      ITEM "\"status\":\"completed\",\"content\":[],\"role\":\"assistant\"}",
                      NUMBER_UNKNOWN);
    append_whole_event(&text, "response.completed", "completed", words.bytes);
    append(&text, "0\r\n\r\n");
    return text;
}

static bool has_ids(void)
{
    return options.kind == RESPONSES || options.kind == RESPONSES_STREAM;
}

static void find_numbers(const struct text *response, int closes)
{
    const char *at = response->bytes, *end = response->bytes + response->length;
    while ((at = memmem(at, (size_t)(end - at), NUMBER_UNKNOWN, ID_DIGITS)) != NULL) {
        if (numbers[closes] == IDS_MAX)
            die("a response has too many ids");
        number_at[closes][numbers[closes]++] = (size_t)(at - response->bytes);
        at += ID_DIGITS;
    }
}

/* ---- streams ---- */

static void append_chunk(struct text *text, const char *data)
{
    append(text, "%zx\r\ndata: %s\n\n\r\n", strlen(data) + strlen("data: \n\n"), data);
}

static struct event event_of(const char *choices, const char *usage)
{
    char data[EVENT_BYTES_MAX];
    struct text text = {0};
    struct event event;
    snprintf(data, sizeof data,
             "{\"id\":\"chatcmpl-%s\",\"object\":\"chat.completion.chunk\",\"created\":1741569952,"
             "\"model\":\"gpt-4o-mini-2024-07-18\","
             "\"system_fingerprint\":\"fp_44709d6fcb\",\"choices\":[%s]%s}",
             SENT_AT_UNKNOWN, choices, usage);
    append_chunk(&text, data);
    if (text.length > sizeof event.bytes)
        die("an event is too long");
    memcpy(event.bytes, text.bytes, text.length);
    event.length = text.length;
    event.sent_at = (size_t)(strstr(data, SENT_AT_UNKNOWN) - data) + text.length - strlen(data) - 4;
    free(text.bytes);
    return event;
}

static struct stream stream_of(bool wants_usage)
{
    const char *no_usage = wants_usage ? ",\"usage\":null" : "";
    struct stream stream = {
        .first = event_of("{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                          "\"logprobs\":null,\"finish_reason\":null}", no_usage),
        .middle = event_of("{\"index\":0,\"delta\":{\"content\":\" word\"},"
                           "\"logprobs\":null,\"finish_reason\":null}", no_usage),
        .last = event_of("{\"index\":0,\"delta\":{},"
                         "\"logprobs\":null,\"finish_reason\":\"stop\"}", no_usage),
        .usage = event_of("", ",\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":12,"
                              "\"total_tokens\":21}"),
    };
    append_chunk(&stream.done, "[DONE]");
    append(&stream.done, "0\r\n\r\n");
    return stream;
}

static const struct event *event_at(const struct stream *stream, long index)
{
    if (index == 0)
        return &stream->first;
    return index == options.events - 1 ? &stream->last : &stream->middle;
}

/* How many events are sent before the stream ends or falls silent. */
static long events_sent_in_all(void)
{
    bool falls_silent = options.idle_after >= 0 && options.idle_after < options.events;
    return falls_silent ? options.idle_after : options.events;
}

static bool falls_silent(void)
{
    return options.kind == STREAM && options.idle_after >= 0;
}

static struct text unpaced_response(bool wants_usage, bool closes)
{
    const struct stream *stream = &streams[wants_usage];
    struct text response = {0};
    append_bytes(&response, heads[closes].bytes, heads[closes].length);
    for (long i = 0; i < events_sent_in_all(); i++)
        append_bytes(&response, event_at(stream, i)->bytes, event_at(stream, i)->length);
    if (falls_silent())
        return response;
    if (wants_usage)
        append_bytes(&response, stream->usage.bytes, stream->usage.length);
    append_bytes(&response, stream->done.bytes, stream->done.length);
    return response;
}

static bool paced(void)
{
    return options.kind == STREAM && options.gap_us > 0;
}

static void prepare_heads(void)
{
    for (int closes = 0; closes < 2; closes++) {
        append_head(&heads[closes], "text/event-stream; charset=utf-8", closes);
        append(&heads[closes], "transfer-encoding: chunked\r\n\r\n");
    }
}

static void prepare_streams(void)
{
    prepare_heads();
    for (int wants_usage = 0; wants_usage < 2; wants_usage++)
        streams[wants_usage] = stream_of(wants_usage);
}

static struct text document(void)
{
    if (options.status >= 400)
        return error_document();
    if (options.kind == RESPONSES)
        return response_document();
    return options.kind == EMBEDDINGS ? embedding() : chat_completion();
}

static void prepare_documents(void)
{
    struct text content = document();
    for (int closes = 0; closes < 2; closes++)
        whole[0][closes] = whole[1][closes] = response_around(&content, closes);
    free(content.bytes);
}

static void prepare_response_streams(void)
{
    struct text events = response_events();
    for (int closes = 0; closes < 2; closes++) {
        struct text response = {0};
        append_bytes(&response, heads[closes].bytes, heads[closes].length);
        append_bytes(&response, events.bytes, events.length);
        whole[0][closes] = whole[1][closes] = response;
    }
    free(events.bytes);
}

static void prepare_responses_with_ids(void)
{
    if (options.kind == RESPONSES) {
        prepare_documents();
    } else {
        prepare_heads();
        prepare_response_streams();
    }
    for (int closes = 0; closes < 2; closes++)
        find_numbers(&whole[0][closes], closes);
    responses_seen = now_us();
}

static void prepare_responses(void)
{
    if (options.status >= 400)
        options.kind = JSON;
    if (has_ids()) {
        prepare_responses_with_ids();
        return;
    }
    if (options.kind != STREAM) {
        prepare_documents();
        return;
    }
    prepare_streams();
    for (int i = 0; i < 4 && !paced(); i++)
        whole[i / 2][i % 2] = unpaced_response(i / 2, i % 2);
}

/* ---- who is due when: a heap, the earliest on top ---- */

static struct client *due[CLIENTS_MAX];
static int due_count;

static void put_due(int index, struct client *client)
{
    due[index] = client;
    client->due_index = index;
}

static void rise(int index)
{
    struct client *client = due[index];
    for (; index > 0 && due[(index - 1) / 2]->due_us > client->due_us; index = (index - 1) / 2)
        put_due(index, due[(index - 1) / 2]);
    put_due(index, client);
}

static void sink(int index)
{
    struct client *client = due[index];
    for (int below = 2 * index + 1; below < due_count; below = 2 * index + 1) {
        if (below + 1 < due_count && due[below + 1]->due_us < due[below]->due_us)
            below++;
        if (due[below]->due_us >= client->due_us)
            break;
        put_due(index, due[below]);
        index = below;
    }
    put_due(index, client);
}

static void call_at(struct client *client, int64_t due_us)
{
    client->due_us = due_us;
    put_due(due_count++, client);
    rise(client->due_index);
}

static void do_not_call(struct client *client)
{
    int index = client->due_index;
    if (index == NOT_DUE)
        return;
    client->due_index = NOT_DUE;
    struct client *moved = due[--due_count];
    if (moved == client)
        return;
    put_due(index, moved);
    rise(index);
    sink(moved->due_index);
}

/* ---- responding ---- */

static void drop(struct client *client)
{
    do_not_call(client);
    close(client->fd);
    free(client->request);
    free(client->numbered);
    free(client);
    clients_open--;
}

static void end_response(struct client *client)
{
    if (falls_silent()) {
        client->phase = IDLE;
        return;
    }
    if (client->closes) {
        drop(client);
        return;
    }
    client->phase = READING;
    client->received = client->body_at = client->pieces_sent = 0;
}

static void write_digits(char *at, int64_t number)
{
    for (int i = SENT_AT_DIGITS - 1; i >= 0; i--, number /= 10)
        at[i] = (char)('0' + number % 10);
}

static void add_event(struct client *client, const struct event *event)
{
    char *at = client->piece + client->unsent_length;
    memcpy(at, event->bytes, event->length);
    write_digits(at + event->sent_at, now_us());
    client->unsent_length += event->length;
}

static void add_text(struct client *client, const struct text *text)
{
    memcpy(client->piece + client->unsent_length, text->bytes, text->length);
    client->unsent_length += text->length;
}

static void compose_piece(struct client *client)
{
    const struct stream *stream = &streams[client->wants_usage];
    client->unsent = client->piece;
    client->unsent_length = 0;
    if (client->pieces_sent == 0)
        add_text(client, &heads[client->closes]);
    if (client->pieces_sent < options.events) {
        add_event(client, event_at(stream, client->pieces_sent));
        return;
    }
    if (client->wants_usage)
        add_event(client, &stream->usage);
    add_text(client, &stream->done);
}

static bool was_last_piece(const struct client *client)
{
    return client->pieces_sent == (falls_silent() ? events_sent_in_all() : options.events + 1);
}

/* This connection's own part of the gap: multiples of the golden ratio spread evenly. */
static int64_t phase_us(const struct client *client)
{
    uint32_t part = client->number * UINT32_C(2654435769);
    return (int64_t)(((uint64_t)part * (uint64_t)options.gap_us) >> 32);
}

static void call_for_next_piece(struct client *client)
{
    int64_t now = now_us();
    int64_t next = client->pieces_sent == 1 ? now + phase_us(client)
                                            : client->due_us + options.gap_us;
    call_at(client, next > now ? next : now);
}

static void end_piece(struct client *client)
{
    client->pieces_sent++;
    if (!paced() || was_last_piece(client))
        end_response(client);
    else
        call_for_next_piece(client);
}

/* Sends one turn of what is unsent. A full socket calls again by itself when it has room. */
static void send_turn(struct client *client)
{
    size_t turn = client->unsent_length < TURN_BYTES ? client->unsent_length : TURN_BYTES;
    ssize_t sent = send(client->fd, client->unsent, turn, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN)
            drop(client);
        return;
    }
    client->unsent += sent;
    client->unsent_length -= (size_t)sent;
    if (client->unsent_length == 0)
        end_piece(client);
    else if ((size_t)sent == turn)
        call_at(client, now_us());
}

/* Makes a copy of the response with a number of its own. */
static const char *numbered(struct client *client, const struct text *response)
{
    client->numbered = realloc(client->numbered, response->length);
    if (client->numbered == NULL)
        die("out of memory");
    memcpy(client->numbered, response->bytes, response->length);
    responses_seen++;
    for (int i = 0; i < numbers[client->closes]; i++)
        write_digits(client->numbered + number_at[client->closes][i], responses_seen);
    return client->numbered;
}

static void start_response(struct client *client)
{
    client->phase = RESPONDING;
    if (paced()) {
        compose_piece(client);
    } else {
        const struct text *response = &whole[client->wants_usage][client->closes];
        client->unsent = has_ids() ? numbered(client, response) : response->bytes;
        client->unsent_length = response->length;
    }
    send_turn(client);
}

static void think(struct client *client)
{
    client->phase = THINKING;
    call_at(client, now_us() + options.model_delay_us);
}

static void on_due(struct client *client)
{
    do_not_call(client);
    if (client->phase == THINKING) {
        start_response(client);
        return;
    }
    if (client->unsent_length == 0)
        compose_piece(client);
    send_turn(client);
}

/* ---- reading requests ---- */

/* The value of a field of the head, or NULL. Names are given with their colon. */
static const char *field(const struct client *client, const char *name)
{
    const char *line = client->request, *end = client->request + client->body_at - 2;
    while ((line = memmem(line, (size_t)(end - line), "\r\n", 2)) != NULL) {
        line += 2;
        if (strncasecmp(line, name, strlen(name)) == 0)
            return line + strlen(name) + strspn(line + strlen(name), " \t");
    }
    return NULL;
}

static bool field_is(const struct client *client, const char *name, const char *value)
{
    const char *found = field(client, name);
    return found != NULL && strncasecmp(found, value, strlen(value)) == 0;
}

static bool read_head(struct client *client, size_t looked_at)
{
    size_t from = looked_at > 3 ? looked_at - 3 : 0;
    char *end = memmem(client->request + from, client->received - from, "\r\n\r\n", 4);
    if (end == NULL)
        return false;
    client->body_at = client->body_end = client->chunk_at = (size_t)(end + 4 - client->request);
    client->closes = field_is(client, "connection:", "close");
    const char *length = field(client, "content-length:");
    client->body_length = field_is(client, "transfer-encoding:", "chunked") ? -1
                          : length != NULL ? strtoll(length, NULL, 10) : 0;
    if (field_is(client, "expect:", "100-continue"))
        send(client->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
    return true;
}

enum body { INCOMPLETE, COMPLETE, MALFORMED };

static bool ends_in_empty_line(const struct client *client)
{
    return memcmp(client->request + client->received - 4, "\r\n\r\n", 4) == 0;
}

/* Moves whole chunks to the end of the body; what lies between is their framing. */
static enum body read_chunks(struct client *client)
{
    for (;;) {
        char *line = client->request + client->chunk_at;
        size_t left = client->received - client->chunk_at;
        char *line_end = memmem(line, left, "\r\n", 2);
        if (line_end == NULL)
            return left > 1024 ? MALFORMED : INCOMPLETE;
        char *digits_end;
        size_t framing = (size_t)(line_end + 2 - line), length = strtoul(line, &digits_end, 16);
        if (digits_end == line || length > BODY_BYTES_MAX)
            return MALFORMED;
        if (left < framing + length + 2)
            return INCOMPLETE;
        if (length == 0) /* trailers are skipped up to their end */
            return ends_in_empty_line(client) ? COMPLETE : INCOMPLETE;
        memmove(client->request + client->body_end, line + framing, length);
        client->body_end += length;
        client->chunk_at += framing + length + 2;
    }
}

static enum body read_body(struct client *client)
{
    if (client->body_length < 0)
        return read_chunks(client);
    client->body_end = client->body_at + (size_t)client->body_length;
    if (client->received > client->body_end)
        return MALFORMED;
    return client->received == client->body_end ? COMPLETE : INCOMPLETE;
}

static bool asks_for_usage(const struct client *client)
{
    static const char name[] = "\"include_usage\"";
    const char *end = client->request + client->body_end;
    const char *found = memmem(client->request + client->body_at,
                               client->body_end - client->body_at, name, sizeof name - 1);
    if (found == NULL)
        return false;
    found += sizeof name - 1;
    while (found < end && (*found == ' ' || *found == ':'))
        found++;
    return end - found >= 4 && memcmp(found, "true", 4) == 0;
}

static void on_request(struct client *client)
{
    client->wants_usage = options.kind == STREAM && asks_for_usage(client);
    if (options.model_delay_us > 0)
        think(client);
    else
        start_response(client);
}

/* Room for the rest of the request if its length is known, else for twice what there is. */
static bool make_request_room(struct client *client)
{
    size_t wanted = client->received + 1;
    if (client->body_at > 0 && client->body_length > 0)
        wanted = client->body_at + (size_t)client->body_length + 1;
    if (wanted <= client->request_room)
        return true;
    if (wanted > HEAD_BYTES_MAX + BODY_BYTES_MAX)
        return false;
    size_t room = client->request_room > 0 ? 2 * client->request_room : REQUEST_BYTES_FIRST;
    room = room > wanted ? room : wanted;
    char *request = realloc(client->request, room);
    if (request == NULL)
        return false;
    client->request = request;
    client->request_room = room;
    return true;
}

static enum body take_in(struct client *client, size_t length)
{
    size_t before = client->received;
    client->received += length;
    if (client->body_at == 0 && !read_head(client, before))
        return client->received > HEAD_BYTES_MAX ? MALFORMED : INCOMPLETE;
    if (client->body_length > BODY_BYTES_MAX || client->body_length < -1)
        return MALFORMED;
    return read_body(client);
}

static void on_readable(struct client *client)
{
    for (;;) {
        if (!make_request_room(client)) {
            drop(client);
            return;
        }
        size_t room = client->request_room - client->received;
        ssize_t length = recv(client->fd, client->request + client->received, room, 0);
        if (length < 0 && errno == EAGAIN)
            return;
        enum body body = length <= 0 ? MALFORMED : take_in(client, (size_t)length);
        if (body == MALFORMED)
            drop(client);
        if (body == COMPLETE)
            on_request(client);
        /* A short read has emptied the socket: what comes later is announced anew. */
        if (body != INCOMPLETE || length < (ssize_t)room)
            return;
    }
}

/* ---- the loop ---- */

static void welcome(int fd)
{
    struct client *client = calloc(1, sizeof *client);
    int one = 1;
    if (client == NULL || clients_open == CLIENTS_MAX) {
        free(client);
        close(fd);
        return;
    }
    client->fd = fd;
    client->number = clients_seen++;
    client->due_index = NOT_DUE;
    clients_open++;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    /* Edge-triggered: registered once, never changed. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = client};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        drop(client);
}

static void on_connections(void)
{
    int fd;
    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        welcome(fd);
}

static void on_client(struct client *client, uint32_t events)
{
    bool called_later = client->due_index != NOT_DUE;
    bool gone = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    bool readable = events & EPOLLIN;
    if (gone || (readable && client->phase != READING))
        drop(client);
    else if (readable)
        on_readable(client);
    else if (client->phase == RESPONDING && (events & EPOLLOUT) && !called_later)
        send_turn(client);
}

static int wait_for_events(struct epoll_event *ready)
{
    if (due_count == 0)
        return epoll_wait(epoll_fd, ready, READY_MAX, -1);
    int64_t wait_us = due[0]->due_us - now_us();
    if (wait_us < 0)
        wait_us = 0;
    struct timespec timeout = {wait_us / 1000000, wait_us % 1000000 * 1000};
    return epoll_pwait2(epoll_fd, ready, READY_MAX, &timeout, NULL);
}

static void serve(void)
{
    struct epoll_event ready[READY_MAX];
    for (;;) {
        int count = wait_for_events(ready);
        if (count < 0 && errno != EINTR)
            die(strerror(errno));
        for (int i = 0; i < count; i++) {
            if (ready[i].data.ptr == NULL)
                on_connections();
            else
                on_client(ready[i].data.ptr, ready[i].events);
        }
        int64_t now = now_us();
        while (due_count > 0 && due[0]->due_us <= now)
            on_due(due[0]);
    }
}

static void listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int one = 1;
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listen_fd, (struct sockaddr *)&address, length) != 0 || listen(listen_fd, 4096) != 0)
        die(strerror(errno));
    getsockname(listen_fd, (struct sockaddr *)&address, &length);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &event) != 0)
        die(strerror(errno));
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
}

static void allow_many_files(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- options ---- */

static long number_in(const char *text, long least, long most)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || number < least || number > most)
        die("a number is missing or out of its range");
    return number;
}

static void read_option(int option)
{
    switch (option) {
    case 'p': options.port = (int)number_in(optarg, 0, 65535); break;
    case 'S': options.status = (int)number_in(optarg, 200, 599); break;
    case 'j': options.kind = JSON; options.json_bytes = number_in(optarg, 0, 64 << 20); break;
    case 's': options.kind = STREAM; options.events = number_in(optarg, 1, 1L << 40); break;
    case 'e': options.kind = EMBEDDINGS; options.dimensions = number_in(optarg, 1, 1 << 20); break;
    case 'r': options.kind = RESPONSES; options.json_bytes = number_in(optarg, 0, 1 << 14); break;
    case 'R': options.kind = RESPONSES_STREAM; options.events = number_in(optarg, 1, 2000); break;
    case 'g': options.gap_us = number_in(optarg, 0, 3600L * 1000000); break;
    case 'i': options.idle_after = number_in(optarg, 1, 1L << 40); break;
    case 'd': options.model_delay_us = 1000 * number_in(optarg, 0, 3600 * 1000); break;
    default: exit(2);
    }
}

static void read_options(int count, char **words)
{
    static const struct option known[] = {
        {"port", required_argument, NULL, 'p'},
        {"status", required_argument, NULL, 'S'},
        {"json", required_argument, NULL, 'j'},
        {"stream", required_argument, NULL, 's'},
        {"embeddings", required_argument, NULL, 'e'},
        {"responses", required_argument, NULL, 'r'},
        {"responses-stream", required_argument, NULL, 'R'},
        {"gap-us", required_argument, NULL, 'g'},
        {"idle-after", required_argument, NULL, 'i'},
        {"model-delay-ms", required_argument, NULL, 'd'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(count, words, "", known, NULL)) != -1)
        read_option(option);
    if (optind < count)
        die("options only");
    if (options.kind == STREAM && !paced() && events_sent_in_all() > EVENTS_UNPACED_MAX)
        die("a stream without a gap has at most 100,000 events");
}

static void end(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

int main(int count, char **words)
{
    read_options(count, words);
    signal(SIGTERM, end);
    signal(SIGINT, end);
    prepare_responses();
    allow_many_files();
    listen_on(options.port);
    serve();
}
