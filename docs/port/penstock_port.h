/* A port of a Penstock switch, from C: the memory layout, and the few calls around it.
 *
 * A port is one file of shared memory, sealed: its size cannot change. It is given over a Unix socket, and lives as long as
 * the connection. All numbers are little-endian 32-bit words; indices run freely and wrap at 2^32.
 *
 *   page 0   word 0     "I sleep": the program sets it to 1 and waits on it (futex); the switch clears it and wakes it
 *            word 16    the same the other way round
 *            byte 1024  "PNSTKPRT", slots, byte of the ring to the program, byte of the ring from it, bytes of a ring's header
 *   a ring   word 0     head: the next slot to read. Written by the reader
 *            word 16    tail: the next slot to write. Written by the writer
 *            word 32    "I wait for room": set by a writer that found the ring full, cleared by the reader that makes room
 *            word 64 …  for each slot, the length of what is in it; bit 31: the frame goes on in the next slot
 *            then, at the header's size, the slots: 2112 bytes each
 *
 * A frame takes 1 to 64 slots. Nobody trusts the other side: read a length once, check it, then use it.
 */
#ifndef PENSTOCK_PORT_H
#define PENSTOCK_PORT_H

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PST_SLOT_BYTES = 2112, PST_HEAD = 0, PST_TAIL = 16, PST_STARVED = 32, PST_LENGTHS = 64, PST_ASLEEP = 0, PST_SWITCH_ASLEEP = 16 };
#define PST_MORE 0x80000000u

struct pst_ring { _Atomic uint32_t *words; uint8_t *slots; };
struct pst_port {
    int connection;
    size_t bytes;
    uint32_t n_slots;
    _Atomic uint32_t *page;
    struct pst_ring in, out;   /* towards this program, and from it */
    uint32_t head, tail;       /* where this program is in them */
};

/* Open NAME ("vale0:p1") at the toolstack's socket. Gives 0, or -1 with the reason on standard error. */
static inline int pst_open(struct pst_port *port, const char *socket_path, const char *name, uint32_t slots)
{
    char text[4096];
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int descriptor = -1;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    port->connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(port->connection, (struct sockaddr *)&address, sizeof address)) {
        perror(socket_path);
        return -1;
    }
    int n = snprintf(text, sizeof text, "{\"verb\": \"switch_open\", \"arguments\": {\"name\": \"%s\", \"slots\": %u}}\n", name, slots);
    if (write(port->connection, text, n) != n) return -1;
    union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } control;
    struct iovec part = { text, sizeof text - 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    ssize_t got = recvmsg(port->connection, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *head = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!head || head->cmsg_type != SCM_RIGHTS) {
        fprintf(stderr, "%s: %.*s", name, got > 0 ? (int)got : 0, text);
        return -1;
    }
    memcpy(&descriptor, CMSG_DATA(head), sizeof descriptor);
    struct stat status;
    fstat(descriptor, &status);
    port->bytes = status.st_size;
    uint8_t *base = mmap(NULL, port->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (base == MAP_FAILED || memcmp(base + 1024, "PNSTKPRT", 8)) return -1;
    uint32_t *about = (uint32_t *)(base + 1032);
    port->n_slots = about[0];
    port->page = (_Atomic uint32_t *)base;
    port->in = (struct pst_ring){ (_Atomic uint32_t *)(base + about[1]), base + about[1] + about[3] };
    port->out = (struct pst_ring){ (_Atomic uint32_t *)(base + about[2]), base + about[2] + about[3] };
    port->head = port->in.words[PST_HEAD];
    port->tail = port->out.words[PST_TAIL];
    return 0;
}

static inline void pst_close(struct pst_port *port)
{
    munmap((void *)port->page, port->bytes);
    close(port->connection);
}

static inline void pst_call_switch(struct pst_port *port)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_exchange(&port->page[PST_SWITCH_ASLEEP], 0))
        syscall(SYS_futex, &port->page[PST_SWITCH_ASLEEP], FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* Slots that can be read, and that can be written. */
static inline uint32_t pst_ready(struct pst_port *port)
{
    uint32_t n = atomic_load_explicit(&port->in.words[PST_TAIL], memory_order_acquire) - port->head;
    return n <= port->n_slots ? n : 0;
}

static inline uint32_t pst_room(struct pst_port *port)
{
    uint32_t used = port->tail - atomic_load_explicit(&port->out.words[PST_HEAD], memory_order_acquire);
    return used <= port->n_slots ? port->n_slots - used : 0;
}

/* The next slot to read: where it is, its length, and whether its frame goes on. It stays until pst_rxsync. */
static inline uint8_t *pst_next(struct pst_port *port, uint32_t *length, int *more)
{
    uint32_t slot = port->head++ & (port->n_slots - 1), word = port->in.words[PST_LENGTHS + slot];
    *length = word & 0xFFFF;
    if (*length > PST_SLOT_BYTES) *length = PST_SLOT_BYTES;
    *more = word >= PST_MORE;
    return port->in.slots + (size_t)slot * PST_SLOT_BYTES;
}

/* The next slot to write; pst_put says how long it has become. The switch sees it at pst_txsync. */
static inline uint8_t *pst_slot(struct pst_port *port)
{
    return port->out.slots + (size_t)(port->tail & (port->n_slots - 1)) * PST_SLOT_BYTES;
}

static inline void pst_put(struct pst_port *port, uint32_t length, int more)
{
    port->out.words[PST_LENGTHS + (port->tail++ & (port->n_slots - 1))] = length | (more ? PST_MORE : 0);
}

static inline void pst_txsync(struct pst_port *port)
{
    atomic_store_explicit(&port->out.words[PST_TAIL], port->tail, memory_order_release);
    pst_call_switch(port);
}

static inline void pst_rxsync(struct pst_port *port)
{
    atomic_store(&port->in.words[PST_HEAD], port->head);
    if (atomic_exchange(&port->in.words[PST_STARVED], 0)) pst_call_switch(port);
}

/* Sleep until there is a frame, or the time is over. Gives pst_ready. */
static inline uint32_t pst_poll(struct pst_port *port, int timeout_ms)
{
    struct timespec timeout = { timeout_ms / 1000, timeout_ms % 1000 * 1000000L };
    atomic_store(&port->page[PST_ASLEEP], 1);
    if (!pst_ready(port)) syscall(SYS_futex, &port->page[PST_ASLEEP], FUTEX_WAIT, 1, &timeout, NULL, 0);
    atomic_store(&port->page[PST_ASLEEP], 0);
    return pst_ready(port);
}

#endif
