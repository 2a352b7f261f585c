// SPDX-License-Identifier: Apache-2.0
// A program on the public libaio API alone, to run with the system's libaio and with our fallback:
// what it finds must be the same.

#define _GNU_SOURCE  // preadv2's RWF_ flags

#include <libaio.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

// libaio.so.1 exports it, but <libaio.h> does not declare it.
int io_queue_wait(io_context_t ctx, struct timespec* timeout);

enum { skipped = 77 };  // the exit status that Meson takes for "skipped"

static int failures;

static void expect(const char* what, long long actual, long long expected) {
    if (actual == expected) {
        return;
    }
    printf("failed: %s: %lld instead of %lld\n", what, actual, expected);
    failures++;
}

static void require(const char* what, int true_or_not) {
    if (true_or_not) {
        return;
    }
    perror(what);
    exit(EXIT_FAILURE);
}

static int open_temporary_file(void) {
    const char* folder = getenv("TMPDIR");
    char path[4096];
    snprintf(path, sizeof(path), "%s/libaio_program.XXXXXX", folder ? folder : "/tmp");
    int fd = mkstemp(path);
    require(path, fd >= 0);
    unlink(path);
    return fd;
}

static void open_pipe(int ends[2]) { require("pipe", pipe(ends) == 0); }

static void close_pipe(const int ends[2]) {
    close(ends[0]);
    close(ends[1]);
}

static int get_event(io_context_t ctx, struct io_event* event) {
    struct timespec patience = {.tv_sec = 10};
    return io_getevents(ctx, 1, 1, event, &patience);
}

// The result of one request, or what io_submit had against it.
static long complete(io_context_t ctx, struct iocb* request) {
    int submitted = io_submit(ctx, 1, &request);
    if (submitted < 0) {
        return submitted;
    }
    struct io_event event = {0};
    expect("one is submitted", submitted, 1);
    expect("its event comes", get_event(ctx, &event), 1);
    expect("the event names the request", event.obj == request, 1);
    expect("the event brings its data", event.data == request->data, 1);
    expect("there is no second result", (long)event.res2, 0);
    return (long)event.res;
}

static void test_layout(void) {
    expect("size of iocb", sizeof(struct iocb), 64);
    expect("size of io_event", sizeof(struct io_event), 32);
    expect("size of io_sigset", sizeof(struct io_sigset), 2 * sizeof(long));
    expect("size of io_sigset_compat", sizeof(struct io_sigset_compat), 8 + sizeof(long));
}

static void test_setup(void) {
    io_context_t ctx = NULL;
    expect("io_setup of 0", io_setup(0, &ctx), -EINVAL);
    expect("io_setup of -1", io_setup(-1, &ctx), -EINVAL);
    expect("io_setup", io_setup(4, &ctx), 0);
    expect("io_setup of a context in use", io_setup(4, &ctx), -EINVAL);
    expect("io_destroy", io_destroy(ctx), 0);
    expect("io_destroy again", io_destroy(ctx), -EINVAL);
    expect("io_submit after io_destroy", io_submit(ctx, 0, NULL), -EINVAL);
}

static void test_errno_is_untouched(void) {
    struct io_event event;
    struct iocb request;
    struct iocb* requests[] = {&request};
    struct timespec no_wait = {0};
    io_context_t ctx = NULL;
    io_prep_fsync(&request, -1);

    errno = ENOTTY;
    expect("io_setup of 0", io_setup(0, &ctx), -EINVAL);
    expect("io_submit to no context", io_submit(ctx, 1, requests), -EINVAL);
    expect("io_cancel in no context", io_cancel(ctx, &request, &event), -EINVAL);
    expect("io_getevents of no context", io_getevents(ctx, 0, 1, &event, &no_wait), -EINVAL);
    int waited = io_pgetevents(ctx, 0, 1, &event, &no_wait, NULL);
    expect("io_pgetevents of no context", waited == -EINVAL || waited == -ENOSYS, 1);
    expect("io_queue_run of no context", io_queue_run(ctx), -EINVAL);
    expect("io_queue_wait for no context", io_queue_wait(ctx, NULL), -EINVAL);
    expect("io_destroy of no context", io_destroy(ctx), -EINVAL);
    expect("io_queue_release of no context", io_queue_release(ctx), -EINVAL);
    expect("errno", errno, ENOTTY);
}

static void test_read_and_write(io_context_t ctx) {
    int fd = open_temporary_file();
    char buffer[32] = {0};
    struct iocb request;

    io_prep_pwrite(&request, fd, "hello world", 11, 0);
    request.data = &fd;
    expect("pwrite", complete(ctx, &request), 11);

    io_prep_pread(&request, fd, buffer, 5, 6);
    expect("pread", complete(ctx, &request), 5);
    expect("what pread read", memcmp(buffer, "world", 6), 0);

    io_prep_pread(&request, fd, buffer, sizeof(buffer), 0);
    expect("pread beyond the end", complete(ctx, &request), 11);
    io_prep_pread(&request, fd, buffer, sizeof(buffer), 11);
    expect("pread at the end", complete(ctx, &request), 0);
    io_prep_pread(&request, fd, buffer, sizeof(buffer), -1);
    expect("pread before the beginning", complete(ctx, &request), -EINVAL);

    io_prep_fsync(&request, fd);
    expect("fsync", complete(ctx, &request), 0);
    io_prep_fdsync(&request, fd);
    expect("fdsync", complete(ctx, &request), 0);
    close(fd);
}

static void test_vectors(io_context_t ctx) {
    int fd = open_temporary_file();
    char hello[] = "hello", world[] = "world", buffer[11] = {0};
    struct iovec words[] = {{hello, 5}, {world, 5}};
    struct iovec parts[] = {{buffer, 1}, {buffer + 1, 9}};
    struct iocb request;

    io_prep_pwritev(&request, fd, words, 2, 0);
    expect("pwritev", complete(ctx, &request), 10);
    io_prep_preadv(&request, fd, parts, 2, 0);
    expect("preadv", complete(ctx, &request), 10);
    expect("what preadv read", strcmp(buffer, "helloworld"), 0);

    io_prep_pwritev2(&request, fd, words, 2, 0, RWF_APPEND);
    expect("pwritev2", complete(ctx, &request), 10);
    expect("where RWF_APPEND wrote", lseek(fd, 0, SEEK_END), 20);
    memset(buffer, 0, sizeof(buffer));
    io_prep_preadv2(&request, fd, parts, 2, 5, RWF_HIPRI);
    expect("preadv2", complete(ctx, &request), 10);
    expect("what preadv2 read", strcmp(buffer, "worldhello"), 0);
    io_prep_preadv2(&request, fd, parts, 2, 0, 1 << 30);
    expect("preadv2 with an unknown flag", complete(ctx, &request), -EOPNOTSUPP);
    close(fd);
}

static void test_bad_fd(io_context_t ctx) {
    int fd = open_temporary_file();
    char buffer[8];
    struct iocb good, bad, left_over;
    struct iocb* bad_in_the_middle[] = {&good, &bad, &left_over};
    struct io_event event = {0};
    io_prep_pread(&good, fd, buffer, sizeof(buffer), 0);
    io_prep_pread(&bad, -1, buffer, sizeof(buffer), 0);
    io_prep_pread(&left_over, fd, buffer, sizeof(buffer), 0);

    expect("a bad fd in the middle", io_submit(ctx, 3, bad_in_the_middle), 1);
    expect("the event of the good one", get_event(ctx, &event), 1);
    expect("it is the good one's", event.obj == &good, 1);
    expect("a bad fd in front", io_submit(ctx, 2, bad_in_the_middle + 1), -EBADF);
    close(fd);
}

static void test_eventfd(io_context_t ctx) {
    int fd = open_temporary_file();
    int counter = eventfd(0, EFD_NONBLOCK);
    require("eventfd", counter >= 0);
    uint64_t completed = 0;
    struct iocb request;

    io_prep_pwrite(&request, fd, "x", 1, 0);
    io_set_eventfd(&request, counter);
    expect("pwrite with an eventfd", complete(ctx, &request), 1);
    expect("read of the eventfd", read(counter, &completed, 8), 8);
    expect("how often it was signalled", (long long)completed, 1);
    close(counter);
    close(fd);
}

static void test_poll(io_context_t ctx) {
    int ends[2];
    open_pipe(ends);
    struct iocb request;
    struct iocb* requests[] = {&request};
    struct io_event event = {0};
    struct timespec no_wait = {0};

    io_prep_poll(&request, ends[0], POLLIN);
    expect("poll of an empty pipe", io_submit(ctx, 1, requests), 1);
    expect("events while the pipe is empty", io_getevents(ctx, 1, 1, &event, &no_wait), 0);
    require("write", write(ends[1], "x", 1) == 1);
    expect("events when the pipe is not empty", get_event(ctx, &event), 1);
    expect("what poll found", (long)event.res & POLLIN, POLLIN);
    close_pipe(ends);
}

static void test_cancel(io_context_t ctx) {
    int ends[2];
    open_pipe(ends);
    struct iocb request;
    struct iocb* requests[] = {&request};
    struct io_event event = {0};

    io_prep_poll(&request, ends[0], POLLIN);
    expect("poll to be cancelled", io_submit(ctx, 1, requests), 1);
    expect("io_cancel", io_cancel(ctx, &request, &event), -EINPROGRESS);
    expect("the event of the cancelled poll", get_event(ctx, &event), 1);
    expect("it is the cancelled poll's", event.obj == &request, 1);
    expect("io_cancel of what is over", io_cancel(ctx, &request, &event), -EINVAL);
    close_pipe(ends);
}

static long long microseconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void test_timeout(io_context_t ctx) {
    struct io_event event;
    struct timespec no_wait = {0};
    struct timespec twenty_ms = {.tv_nsec = 20000000};

    expect("events without waiting", io_getevents(ctx, 1, 1, &event, &no_wait), 0);
    long long begun = microseconds_now();
    expect("events within 20 ms", io_getevents(ctx, 1, 1, &event, &twenty_ms), 0);
    expect("it waited 20 ms", microseconds_now() - begun >= 19900, 1);
    begun = microseconds_now();
    int waited = io_pgetevents(ctx, 1, 1, &event, &twenty_ms, NULL);
    if (waited == -ENOSYS) {
        return;
    }
    expect("events within 20 ms, without a mask", waited, 0);
    expect("io_pgetevents waited 20 ms", microseconds_now() - begun >= 19900, 1);
}

static void test_ready_event_without_wait(io_context_t ctx) {
    int ends[2];
    open_pipe(ends);
    struct iocb request;
    struct iocb* requests[] = {&request};
    struct io_event event = {0};
    struct timespec no_wait = {0};

    io_prep_poll(&request, ends[1], POLLOUT);
    expect("poll of a pipe with room", io_submit(ctx, 1, requests), 1);
    expect("an event that is there", io_getevents(ctx, 1, 1, &event, &no_wait), 1);
    expect("it is the poll's", event.obj == &request, 1);
    close_pipe(ends);
}

static volatile sig_atomic_t signals_caught;

static void count_signal(int number) {
    (void)number;
    signals_caught++;
}

static void test_signal_mask(io_context_t ctx) {
    struct io_event event;
    struct timespec ten_ms = {.tv_nsec = 10000000};
    struct timespec patience = {.tv_sec = 10};
    struct sigaction action = {.sa_handler = count_signal};
    sigset_t none, blocked, callers;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigaction(SIGUSR1, &action, NULL);
    sigprocmask(SIG_BLOCK, &blocked, &callers);
    raise(SIGUSR1);

    int waited = io_pgetevents(ctx, 1, 1, &event, &ten_ms, &blocked);
    if (waited != -ENOSYS) {
        expect("io_pgetevents that keeps the signal out", waited, 0);
        expect("signals caught so far", signals_caught, 0);
        waited = io_pgetevents(ctx, 1, 1, &event, &patience, &none);
        expect("io_pgetevents that lets the signal in", waited, -EINTR);
        // ThreadSanitizer calls the handler in the next call that it knows
        struct timespec moment = {.tv_nsec = 1000000};
        for (int i = 0; i < 1000 && signals_caught == 0; ++i) {
            nanosleep(&moment, NULL);
        }
        expect("signals caught", signals_caught, 1);
    }
    sigprocmask(SIG_SETMASK, &callers, NULL);
}

struct call {
    io_context_t ctx;
    struct iocb* request;
    long res;
    long res2;
};

static struct call last_call;

static void note_call(io_context_t ctx, struct iocb* request, long res, long res2) {
    last_call = (struct call){ctx, request, res, res2};
}

// Runs the queue until there was a call, for ten seconds at most.
static void expect_call(io_context_t ctx, struct iocb* request, long res) {
    const struct timespec one_ms = {.tv_nsec = 1000000};
    last_call = (struct call){0};
    for (int tries = 0; tries < 10000 && !last_call.request; tries++) {
        expect("io_queue_run", io_queue_run(ctx), 0);
        if (!last_call.request) {
            nanosleep(&one_ms, NULL);
        }
    }
    expect("the callback's context", last_call.ctx == ctx, 1);
    expect("the callback's request", last_call.request == request, 1);
    expect("the callback's result", last_call.res, res);
    expect("the callback's second result", last_call.res2, 0);
}

static void test_queue(void) {
    int fd = open_temporary_file();
    int ends[2];
    open_pipe(ends);
    struct iocb request;
    struct iocb* requests[] = {&request};
    struct timespec no_wait = {0};
    io_context_t ctx = (io_context_t)&request;  // for io_queue_init to overwrite

    expect("io_queue_init of 0", io_queue_init(0, &ctx), -EINVAL);
    expect("io_queue_init", io_queue_init(4, &ctx), 0);
    expect("io_queue_run of nothing", io_queue_run(ctx), 0);
    expect("io_queue_wait", io_queue_wait(ctx, &no_wait), 0);

    io_prep_pwrite(&request, fd, "x", 1, 0);
    io_set_callback(&request, note_call);
    expect("pwrite with a callback", io_submit(ctx, 1, requests), 1);
    expect_call(ctx, &request, 1);
    expect("io_fsync", io_fsync(ctx, &request, note_call, fd), 1);
    expect_call(ctx, &request, 0);
    expect("io_fdsync", io_fdsync(ctx, &request, note_call, fd), 1);
    expect_call(ctx, &request, 0);
    expect("io_poll", io_poll(ctx, &request, note_call, ends[1], POLLOUT), 1);
    expect_call(ctx, &request, POLLOUT);

    expect("io_queue_release", io_queue_release(ctx), 0);
    close_pipe(ends);
    close(fd);
}

static void test_requests(io_context_t ctx) {
    test_read_and_write(ctx);
    test_vectors(ctx);
    test_bad_fd(ctx);
    test_eventfd(ctx);
    test_poll(ctx);
    test_cancel(ctx);
    test_timeout(ctx);
    test_ready_event_without_wait(ctx);
    test_signal_mask(ctx);
}

int main(void) {
    io_context_t ctx = NULL;
    int result = io_setup(8, &ctx);
    if (result == -ENOSYS || result == -EPERM || result == -EAGAIN) {
        printf("skipped: io_setup: %s\n", strerror(-result));
        return skipped;
    }
    expect("io_setup", result, 0);
    if (result < 0) {
        return EXIT_FAILURE;
    }

    test_layout();
    test_setup();
    test_errno_is_untouched();
    test_requests(ctx);
    test_queue();

    struct io_event event;
    struct timespec no_wait = {0};
    expect("events left over", io_getevents(ctx, 0, 1, &event, &no_wait), 0);
    expect("io_destroy", io_destroy(ctx), 0);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
