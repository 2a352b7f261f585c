// SPDX-License-Identifier: Apache-2.0
// The libaio API, for systems without libaio: the same names, layouts and conventions as the
// <libaio.h> of libaio 0.3.113. Functions return the kernel's result, or an error as a negative
// errno, and leave errno alone. See docs/libaio.rst.
#ifndef LIBAIO_H
#define LIBAIO_H

#include <signal.h>
#include <string.h>
#include <sys/select.h>  // sigset_t, which <signal.h> hides from -std=c99
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct iovec;
struct sockaddr;
struct timespec;

typedef struct io_context* io_context_t;

typedef enum io_iocb_cmd {
    IO_CMD_PREAD = 0,
    IO_CMD_PWRITE = 1,
    IO_CMD_FSYNC = 2,
    IO_CMD_FDSYNC = 3,
    IO_CMD_POLL = 5,
    IO_CMD_NOOP = 6,
    IO_CMD_PREADV = 7,
    IO_CMD_PWRITEV = 8,
} io_iocb_cmd_t;

// The kernel's fields have the same width on every machine. A narrower field of ours is the half
// with the low-order bits. The other half has a name so that initialising a struct clears it.
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LIBAIO_HALVES(low, high) \
    low;                         \
    high
#else
#define LIBAIO_HALVES(low, high) \
    high;                        \
    low
#endif

// A field that is a pointer or a long. Both have the same size on every Linux, x32 included.
#if __SIZEOF_POINTER__ == 8
#define LIBAIO_WORD(field, high) field
#else
#define LIBAIO_WORD(field, high) LIBAIO_HALVES(field, unsigned high)
#endif

struct io_iocb_common {
    LIBAIO_WORD(void* buf, buf_high);
    LIBAIO_WORD(unsigned long nbytes, nbytes_high);
    long long offset;
    long long reserved;
    unsigned flags;
    unsigned resfd;
};

struct io_iocb_vector {
    LIBAIO_WORD(const struct iovec* vec, vec_high);
    LIBAIO_WORD(unsigned long nr, nr_high);
    long long offset;
};

struct io_iocb_poll {
    LIBAIO_HALVES(int events, unsigned events_high);
};

struct io_iocb_sockaddr {
    LIBAIO_WORD(struct sockaddr* addr, addr_high);
    LIBAIO_WORD(unsigned long len, len_high);
};

struct iocb {
    LIBAIO_WORD(void* data, data_high);
    LIBAIO_HALVES(unsigned key, unsigned aio_rw_flags);
    short aio_lio_opcode;
    short aio_reqprio;
    int aio_fildes;
    union {
        struct io_iocb_common c;
        struct io_iocb_vector v;
        struct io_iocb_poll poll;
        struct io_iocb_sockaddr saddr;
    } u;
};

struct io_event {
    LIBAIO_WORD(void* data, data_high);
    LIBAIO_WORD(struct iocb* obj, obj_high);
    LIBAIO_WORD(unsigned long res, res_high);
    LIBAIO_WORD(unsigned long res2, res2_high);
};

struct io_sigset {
    unsigned long ss;
    unsigned long ss_len;
};

struct io_sigset_compat {
    LIBAIO_WORD(unsigned long ss, ss_high);
    unsigned long ss_len;
};

#undef LIBAIO_WORD
#undef LIBAIO_HALVES

typedef void (*io_callback_t)(io_context_t ctx, struct iocb* request, long res, long res2);

int io_setup(int maxevents, io_context_t* ctxp);
int io_destroy(io_context_t ctx);
int io_submit(io_context_t ctx, long nr, struct iocb* requests[]);
int io_cancel(io_context_t ctx, struct iocb* request, struct io_event* event);
int io_getevents(io_context_t ctx, long min_nr, long nr, struct io_event* events,
                 struct timespec* timeout);
int io_pgetevents(io_context_t ctx, long min_nr, long nr, struct io_event* events,
                  struct timespec* timeout, sigset_t* sigmask);

int io_queue_init(int maxevents, io_context_t* ctxp);
int io_queue_release(io_context_t ctx);
int io_queue_run(io_context_t ctx);

// memcpy, because ISO C has no cast from a function pointer to a data pointer. On POSIX systems
// both have the same size.
static inline void io_set_callback(struct iocb* request, io_callback_t callback) {
    memcpy(&request->data, &callback, sizeof(request->data));
}

static inline void io_set_eventfd(struct iocb* request, int eventfd) {
    request->u.c.flags |= 1u;  // IOCB_FLAG_RESFD
    request->u.c.resfd = (unsigned)eventfd;
}

// The libaio_ functions are not libaio's: they are what the io_ functions here have in common.

static inline void libaio_prep_command(struct iocb* request, short opcode, int fd) {
    memset(request, 0, sizeof(*request));
    request->aio_lio_opcode = opcode;
    request->aio_fildes = fd;
}

static inline void libaio_prep_buffer(struct iocb* request, short opcode, int fd, void* buf,
                                      size_t count, long long offset) {
    libaio_prep_command(request, opcode, fd);
    request->u.c.buf = buf;
    request->u.c.nbytes = count;
    request->u.c.offset = offset;
}

static inline void libaio_prep_vector(struct iocb* request, short opcode, int fd,
                                      const struct iovec* iov, int iovcnt, long long offset,
                                      int flags) {
    libaio_prep_command(request, opcode, fd);
    request->aio_rw_flags = (unsigned)flags;
    request->u.v.vec = iov;
    request->u.v.nr = (unsigned long)iovcnt;
    request->u.v.offset = offset;
}

static inline void io_prep_pread(struct iocb* request, int fd, void* buf, size_t count,
                                 long long offset) {
    libaio_prep_buffer(request, IO_CMD_PREAD, fd, buf, count, offset);
}

static inline void io_prep_pwrite(struct iocb* request, int fd, void* buf, size_t count,
                                  long long offset) {
    libaio_prep_buffer(request, IO_CMD_PWRITE, fd, buf, count, offset);
}

static inline void io_prep_preadv2(struct iocb* request, int fd, const struct iovec* iov,
                                   int iovcnt, long long offset, int flags) {
    libaio_prep_vector(request, IO_CMD_PREADV, fd, iov, iovcnt, offset, flags);
}

static inline void io_prep_pwritev2(struct iocb* request, int fd, const struct iovec* iov,
                                    int iovcnt, long long offset, int flags) {
    libaio_prep_vector(request, IO_CMD_PWRITEV, fd, iov, iovcnt, offset, flags);
}

static inline void io_prep_preadv(struct iocb* request, int fd, const struct iovec* iov, int iovcnt,
                                  long long offset) {
    io_prep_preadv2(request, fd, iov, iovcnt, offset, 0);
}

static inline void io_prep_pwritev(struct iocb* request, int fd, const struct iovec* iov,
                                   int iovcnt, long long offset) {
    io_prep_pwritev2(request, fd, iov, iovcnt, offset, 0);
}

static inline void io_prep_fsync(struct iocb* request, int fd) {
    libaio_prep_command(request, IO_CMD_FSYNC, fd);
}

static inline void io_prep_fdsync(struct iocb* request, int fd) {
    libaio_prep_command(request, IO_CMD_FDSYNC, fd);
}

static inline void io_prep_poll(struct iocb* request, int fd, int events) {
    libaio_prep_command(request, IO_CMD_POLL, fd);
    request->u.poll.events = events;
}

static inline int libaio_submit_one(io_context_t ctx, struct iocb* request,
                                    io_callback_t callback) {
    io_set_callback(request, callback);
    return io_submit(ctx, 1, &request);
}

static inline int io_fsync(io_context_t ctx, struct iocb* request, io_callback_t callback, int fd) {
    io_prep_fsync(request, fd);
    return libaio_submit_one(ctx, request, callback);
}

static inline int io_fdsync(io_context_t ctx, struct iocb* request, io_callback_t callback,
                            int fd) {
    io_prep_fdsync(request, fd);
    return libaio_submit_one(ctx, request, callback);
}

static inline int io_poll(io_context_t ctx, struct iocb* request, io_callback_t callback, int fd,
                          int events) {
    io_prep_poll(request, fd, events);
    return libaio_submit_one(ctx, request, callback);
}

#ifdef __cplusplus
}
#endif

#endif
