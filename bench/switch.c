/* The switch's fabric written by hand, without a single check: what compiled code is compared with. Built by switch.py.
 *
 * Ports lie in memory as penstock/datapath/ports.py says. Both algorithms of mSwitch's paper: lists, one for each destination;
 * and bitmaps, where each destination looks through the whole batch for its own frames.
 */
#include <stdint.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 256, STRIDE = 2112, TAIL = 16, HEAD = 0, LENGTHS = 64, MAX = 4097 };

struct port { volatile uint32_t *in, *out; uint8_t *in_buffers, *out_buffers; uint32_t mask, head, tail; };
struct list { uint32_t first, last, count; };

static struct port ports[MAX];
static struct list lists[MAX];
static uint32_t next[BATCH], touched[BATCH];
static uint64_t wanted[MAX][BATCH / 64];
static uint32_t n_ports;

void setup(uint32_t i, uint8_t *base, uint64_t in, uint64_t in_buffers, uint64_t out, uint64_t out_buffers, uint32_t slots)
{
    ports[i] = (struct port){(void *)(base + in), (void *)(base + out), base + in_buffers, base + out_buffers, slots - 1, 0, 0};
    if (i >= n_ports) n_ports = i + 1;
}

void reset(void)
{
    memset(ports, 0, sizeof ports);
    memset(lists, 0, sizeof lists);
    memset(wanted, 0, sizeof wanted);
    n_ports = 0;
}

static inline void copy(uint8_t *to, const uint8_t *from, uint32_t length)
{
    for (uint32_t i = 0; i < length; i += 64)
        memcpy(to + i, from + i, 64);
}

static inline void put(struct port *t, struct port *s, uint32_t slot)
{
    uint32_t there = t->tail++ & t->mask, length = s->in[LENGTHS + slot];
    copy(t->out_buffers + (uint64_t)there * STRIDE, s->in_buffers + (uint64_t)slot * STRIDE, length);
    t->out[LENGTHS + there] = length;
}

static inline uint32_t where(int kind, struct port *s, uint32_t slot)
{
    return kind ? s->in_buffers[(uint64_t)slot * STRIDE + 33] : 1;
}

static inline __attribute__((always_inline)) uint64_t list_turn(int kind)
{
    struct port *s = &ports[0];
    uint32_t n = s->in[TAIL] - s->head, n_touched = 0;
    if (n > BATCH) n = BATCH;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t to = where(kind, s, (s->head + i) & s->mask);
        struct list *l = &lists[to];
        if (!l->count++) { touched[n_touched++] = to; l->first = i; }
        else next[l->last] = i;
        l->last = i;
    }
    for (uint32_t k = 0; k < n_touched; k++) {
        struct port *t = &ports[touched[k]];
        struct list *l = &lists[touched[k]];
        uint32_t room = t->mask + 1 - (t->tail - t->out[HEAD]), count = l->count < room ? l->count : room, i = l->first;
        l->count = 0;
        for (; count; count--, i = next[i]) put(t, s, (s->head + i) & s->mask);
        t->out[TAIL] = t->tail;
    }
    s->head += n;
    s->in[HEAD] = s->head;
    return n;
}

static inline __attribute__((always_inline)) uint64_t bitmap_turn(int kind)
{
    struct port *s = &ports[0];
    uint32_t n = s->in[TAIL] - s->head;
    if (n > BATCH) n = BATCH;
    for (uint32_t i = 0; i < n; i++)
        wanted[where(kind, s, (s->head + i) & s->mask)][i / 64] |= 1ull << i % 64;
    for (uint32_t d = 0; d < n_ports; d++) {
        struct port *t = &ports[d];
        for (uint32_t i = 0; i < n; i++)
            if (wanted[d][i / 64] >> i % 64 & 1 && t->tail - t->out[HEAD] <= t->mask) put(t, s, (s->head + i) & s->mask);
        memset(wanted[d], 0, sizeof wanted[d]);
        t->out[TAIL] = t->tail;
    }
    s->head += n;
    s->in[HEAD] = s->head;
    return n;
}

uint64_t list_dummy(void *m, uint32_t rounds) { return list_turn(0); }
uint64_t list_lookup(void *m, uint32_t rounds) { return list_turn(1); }
uint64_t bitmap_dummy(void *m, uint32_t rounds) { return bitmap_turn(0); }
uint64_t bitmap_lookup(void *m, uint32_t rounds) { return bitmap_turn(1); }

/* The source has always a batch ready; receivers take everything at once. */
uint64_t drive(uint64_t (*turn)(void *, uint32_t), void *m, uint32_t senders, volatile uint32_t **in, uint32_t receivers,
               volatile uint32_t **out, uint32_t batch, uint64_t slots)
{
    uint64_t moved = 0, idle = 0;
    while (moved < slots && idle < 100000) {
        for (uint32_t i = 0; i < senders; i++) in[i][TAIL] = in[i][HEAD] + batch;
        uint64_t n = turn(m, 1);
        idle = n ? 0 : idle + 1;
        moved += n;
        for (uint32_t i = 0; i < receivers; i++) out[i][HEAD] = out[i][TAIL];
    }
    return moved;
}

/* For so many nanoseconds; with `take` the receiver's ring is emptied all the time. */
void drive_for(uint64_t (*turn)(void *, uint32_t), void *m, volatile uint32_t *in, volatile uint32_t *take, uint32_t batch, uint64_t ns)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    uint64_t end = at.tv_sec * 1000000000ull + at.tv_nsec + ns;
    do {
        for (int k = 0; k < 64; k++) {
            in[TAIL] = in[HEAD] + batch;
            turn(m, 1);
            if (take) take[HEAD] = take[TAIL];
        }
        clock_gettime(CLOCK_MONOTONIC, &at);
    } while (at.tv_sec * 1000000000ull + at.tv_nsec < end);
}

uint64_t ring_copy(uint8_t *to, uint8_t *from, uint32_t mask, uint32_t length, uint64_t slots)
{
    for (uint64_t i = 0; i < slots; i++) copy(to + (i & mask) * STRIDE, from + (i & mask) * STRIDE, length);
    return slots;
}

static void call_switch(volatile uint32_t *page)
{
    __sync_synchronize();
    if (__sync_lock_test_and_set(&page[16], 0)) syscall(SYS_futex, &page[16], FUTEX_WAKE, 1, 0, 0, 0);
}

/* There and back between two ports, both polled here: nanoseconds are for the caller to take. A page's word 16 says that the
 * switch sleeps, which it does where this thread was kept from running. */
uint64_t round_trips(volatile uint32_t *a_page, volatile uint32_t *a_out, volatile uint32_t *a_in, volatile uint32_t *b_page,
                     volatile uint32_t *b_out, volatile uint32_t *b_in, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        a_out[TAIL]++;
        call_switch(a_page);
        while (b_in[TAIL] == b_in[HEAD]) __builtin_ia32_pause();
        b_in[HEAD] = b_in[TAIL];
        b_out[TAIL]++;
        call_switch(b_page);
        while (a_in[TAIL] == a_in[HEAD]) __builtin_ia32_pause();
        a_in[HEAD] = a_in[TAIL];
    }
    return n;
}

/* One side of a port, asleep until something comes. */
static void await(volatile uint32_t *page, volatile uint32_t *in)
{
    while (in[TAIL] == in[HEAD]) {
        page[0] = 1;
        __sync_synchronize();
        if (in[TAIL] != in[HEAD]) break;
        syscall(SYS_futex, &page[0], FUTEX_WAIT, 1, 0, 0, 0);
    }
    page[0] = 0;
    in[HEAD] = in[TAIL];
}

/* Who forwards for himself has a function for that. */
struct side { volatile uint32_t *page, *out, *in; uint64_t n; uint64_t (*forward)(uint64_t); uint64_t context; };

static void post(struct side *s)
{
    s->out[TAIL]++;
    if (s->forward) s->forward(s->context); else call_switch(s->page);
}

static void *answer(void *given)
{
    struct side *s = given;
    for (uint64_t i = 0; i < s->n; i++) {
        await(s->page, s->in);
        post(s);
    }
    return 0;
}

/* There and back, where everybody sleeps in between; nanoseconds of each in `took`. */
void calls(volatile uint32_t *a_page, volatile uint32_t *a_out, volatile uint32_t *a_in, volatile uint32_t *b_page,
           volatile uint32_t *b_out, volatile uint32_t *b_in, uint64_t (*forward)(uint64_t), uint64_t a_context, uint64_t b_context,
           uint64_t n, uint64_t *took)
{
    struct side a = {a_page, a_out, a_in, n, forward, a_context}, b = {b_page, b_out, b_in, n, forward, b_context};
    pthread_t thread;
    pthread_create(&thread, 0, answer, &b);
    for (uint64_t i = 0; i < n; i++) {
        struct timespec from, to, pause = {0, 200000};
        nanosleep(&pause, 0);
        clock_gettime(CLOCK_MONOTONIC, &from);
        post(&a);
        await(a_page, a_in);
        clock_gettime(CLOCK_MONOTONIC, &to);
        took[i] = (to.tv_sec - from.tv_sec) * 1000000000ull + to.tv_nsec - from.tv_nsec;
    }
    pthread_join(thread, 0);
}

/* What two calls cost by themselves: a frame appears at the other side, which is woken. For `calls`. */
struct bare { volatile uint32_t *page, *in; };

uint64_t bare(uint64_t context)
{
    struct bare *b = (void *)context;
    b->in[TAIL]++;
    __sync_synchronize();
    if (__sync_lock_test_and_set(&b->page[0], 0)) syscall(SYS_futex, &b->page[0], FUTEX_WAKE, 1, 0, 0, 0);
    return 0;
}

/* Send what is in the slots again and again, and take everything at the other port, for some time. */
uint64_t stream(volatile uint32_t *page, volatile uint32_t *out, volatile uint32_t *in, uint32_t slots, uint64_t (*forward)(uint64_t),
                uint64_t context, uint64_t until)
{
    uint64_t got = 0;
    while (got < until) {
        out[TAIL] = out[HEAD] + slots;
        if (forward) forward(context); else call_switch(page);
        uint32_t tail = in[TAIL];
        got += tail - in[HEAD];
        in[HEAD] = tail;
        __builtin_ia32_pause();
    }
    return got;
}
