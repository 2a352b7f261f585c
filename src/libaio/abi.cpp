// SPDX-License-Identifier: Apache-2.0
// Checks at compile time that the structs of <libaio.h>, the system's or ours, have each field
// where the kernel expects it. Nothing here runs.

#include <libaio.h>

#include <bit>
#include <cstddef>

// <linux/aio_abi.h> is included in a namespace, since its names are also those of <libaio.h>. The
// headers that it includes must be included before, outside of the namespace.
#include <asm/byteorder.h>
#include <linux/fs.h>
#include <linux/types.h>
namespace kernel {
#include <linux/aio_abi.h>
}

namespace {

struct Field {
    std::size_t offset;
    std::size_t size;
};

// Whether our field is the kernel's or, if it is narrower, as a 32-bit pointer is, the part of it
// that has the low-order bits.
constexpr bool is_low_part(Field ours, Field kernels) {
    const std::size_t low_part = std::endian::native == std::endian::big
                                     ? kernels.offset + kernels.size - ours.size
                                     : kernels.offset;
    return ours.size <= kernels.size && ours.offset == low_part;
}

constexpr bool is_same(int ours, int kernels) { return ours == kernels; }

}  // namespace

// A macro, because offsetof needs the member's name.
#define FIELD(type, member) \
    Field { offsetof(type, member), sizeof(type::member) }

static_assert(sizeof(iocb) == sizeof(kernel::iocb));
static_assert(is_low_part(FIELD(iocb, data), FIELD(kernel::iocb, aio_data)));
static_assert(is_low_part(FIELD(iocb, key), FIELD(kernel::iocb, aio_key)));
static_assert(is_low_part(FIELD(iocb, aio_rw_flags), FIELD(kernel::iocb, aio_rw_flags)));
static_assert(is_low_part(FIELD(iocb, aio_lio_opcode), FIELD(kernel::iocb, aio_lio_opcode)));
static_assert(is_low_part(FIELD(iocb, aio_reqprio), FIELD(kernel::iocb, aio_reqprio)));
static_assert(is_low_part(FIELD(iocb, aio_fildes), FIELD(kernel::iocb, aio_fildes)));

static_assert(is_low_part(FIELD(iocb, u.c.buf), FIELD(kernel::iocb, aio_buf)));
static_assert(is_low_part(FIELD(iocb, u.c.nbytes), FIELD(kernel::iocb, aio_nbytes)));
static_assert(is_low_part(FIELD(iocb, u.c.offset), FIELD(kernel::iocb, aio_offset)));
static_assert(is_low_part(FIELD(iocb, u.c.flags), FIELD(kernel::iocb, aio_flags)));
static_assert(is_low_part(FIELD(iocb, u.c.resfd), FIELD(kernel::iocb, aio_resfd)));

static_assert(is_low_part(FIELD(iocb, u.v.vec), FIELD(kernel::iocb, aio_buf)));
static_assert(is_low_part(FIELD(iocb, u.v.nr), FIELD(kernel::iocb, aio_nbytes)));
static_assert(is_low_part(FIELD(iocb, u.v.offset), FIELD(kernel::iocb, aio_offset)));
static_assert(is_low_part(FIELD(iocb, u.poll.events), FIELD(kernel::iocb, aio_buf)));
static_assert(is_low_part(FIELD(iocb, u.saddr.addr), FIELD(kernel::iocb, aio_buf)));
static_assert(is_low_part(FIELD(iocb, u.saddr.len), FIELD(kernel::iocb, aio_nbytes)));

static_assert(sizeof(io_event) == sizeof(kernel::io_event));
static_assert(is_low_part(FIELD(io_event, data), FIELD(kernel::io_event, data)));
static_assert(is_low_part(FIELD(io_event, obj), FIELD(kernel::io_event, obj)));
static_assert(is_low_part(FIELD(io_event, res), FIELD(kernel::io_event, res)));
static_assert(is_low_part(FIELD(io_event, res2), FIELD(kernel::io_event, res2)));

static_assert(is_same(IO_CMD_PREAD, kernel::IOCB_CMD_PREAD));
static_assert(is_same(IO_CMD_PWRITE, kernel::IOCB_CMD_PWRITE));
static_assert(is_same(IO_CMD_FSYNC, kernel::IOCB_CMD_FSYNC));
static_assert(is_same(IO_CMD_FDSYNC, kernel::IOCB_CMD_FDSYNC));
static_assert(is_same(IO_CMD_POLL, kernel::IOCB_CMD_POLL));
static_assert(is_same(IO_CMD_NOOP, kernel::IOCB_CMD_NOOP));
static_assert(is_same(IO_CMD_PREADV, kernel::IOCB_CMD_PREADV));
static_assert(is_same(IO_CMD_PWRITEV, kernel::IOCB_CMD_PWRITEV));
