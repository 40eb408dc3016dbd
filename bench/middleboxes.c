/* The middleboxes of middleboxes.py, written by hand: what a careful C programmer would do for each alone.
 *
 *     middleboxes CASE PACKETS LENGTH FLOWS
 *
 * prints CPU nanoseconds a packet. Packets come from a pool, as there; a header template is copied into each, and
 * source address, source port and checksum are patched for flow (i mod FLOWS). */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define POOL 512
#define STRIDE 2112
#define BURST 32
#define HEADROOM 64

struct packet {
    u8 *data;
    u32 length, dst_ip, aggregate, paint;
    u8 *mac, *network, *transport;
    u64 pad[3];
    u8 buffer[];
};

static u8 *memory;
static struct packet *stack[POOL];
static u32 nfree;
static u64 count, bytes, drops, outputs[16];
static u32 length, flows;
static u8 template[42];
static u16 base_checksum;

static inline u16 be16(u16 v) { return __builtin_bswap16(v); }
static inline u32 be32(u32 v) { return __builtin_bswap32(v); }
static inline u16 load16(const u8 *p) { u16 v; memcpy(&v, p, 2); return be16(v); }
static inline u32 load32(const u8 *p) { u32 v; memcpy(&v, p, 4); return be32(v); }
static inline void store16(u8 *p, u16 v) { v = be16(v); memcpy(p, &v, 2); }
static inline void store32(u8 *p, u32 v) { v = be32(v); memcpy(p, &v, 4); }

static inline u16 fold(u64 s)
{
    s = (s & 0xffffffff) + (s >> 32);
    s = (s & 0xffff) + (s >> 16);
    s = (s & 0xffff) + (s >> 16);
    return (s & 0xffff) + (s >> 16);
}

static inline u16 sum20(const u8 *p)
{
    u64 a, b;
    u32 c;
    memcpy(&a, p, 8);
    memcpy(&b, p + 8, 8);
    memcpy(&c, p + 16, 4);
    return fold((a & 0xffffffff) + (a >> 32) + (b & 0xffffffff) + (b >> 32) + c);
}

static inline u16 adjust32(u16 check, u32 old, u32 new)
{
    return ~fold((u16)~check + (u64)(u16)~(old >> 16) + (u16)~old + (new >> 16) + (new & 0xffff));
}

static inline struct packet *make(u64 i)
{
    struct packet *p = stack[--nfree];
    p->data = p->buffer + HEADROOM;
    p->length = length;
    p->dst_ip = p->aggregate = p->paint = 0;
    p->network = p->transport = 0;
    p->mac = p->data;
    memcpy(p->data, template, 42);
    if (flows > 1) {
        u32 flow = i % flows, address = 0x0a000000 + flow / 50000;
        u64 word = __builtin_bswap64((u64)(0x40110000 | adjust32(base_checksum, 0x0a000000, address)) << 32 | address);
        memcpy(p->data + 22, &word, 8);
        store32(p->data + 34, (1024 + flow % 50000) << 16 | 9);
    }
    return p;
}

/* The packet has been made, whoever reads it: without this gcc leaves out the header and the metadata that no case reads. */
static inline void made(struct packet *p) { asm volatile("" : : "m"(*p), "m"(*(const u8 (*)[42])(p->buffer + HEADROOM))); }

static inline void release(struct packet *p) { made(p); stack[nfree++] = p; }

static inline int check_ip(struct packet *p)
{
    u8 *ip = p->data;
    if (p->length < 20 || ip[0] >> 4 != 4)
        return 0;
    u32 header = (ip[0] & 15) * 4, total = load16(ip + 2);
    if (header < 20 || total > p->length || total < header || (header == 20 ? sum20(ip) : 0xffff) != 0xffff)
        return 0;
    p->network = ip;
    p->transport = ip + header;
    p->length = total;
    p->dst_ip = load32(ip + 16);
    return 1;
}

static inline void strip(struct packet *p, u32 n) { p->data += n; p->length -= n; }

/* cases */

static inline void discard(struct packet *p) { count++; release(p); }

/* What Queue and Unqueue do: a capacity, drops, the high-water mark, and the signals between them. */
#define CAPACITY 1000
static struct packet *ring[1024];
static u32 head, tail, highwater;
static u8 nonempty, nonfull = 1;

static inline void enqueue(struct packet *p)
{
    if (tail - head >= CAPACITY) { drops++; release(p); return; }
    ring[tail++ & 1023] = p;
    u32 n = tail - head;
    if (n > highwater)
        highwater = n;
    nonempty = 1;
    if (n >= CAPACITY)
        nonfull = 0;
}

static inline struct packet *dequeue(void)
{
    if (head == tail) { nonempty = 0; return 0; }
    nonfull = 1;
    return ring[head++ & 1023];
}

static inline void mirror(struct packet *p)
{
    u8 mac[6];
    memcpy(mac, p->data, 6);
    memcpy(p->data, p->data + 6, 6);
    memcpy(p->data + 6, mac, 6);
    discard(p);
}

static inline void router(struct packet *p)
{
    strip(p, 14);
    if (!check_ip(p)) { drops++; release(p); return; }
    u8 *ip = p->network;
    if ((p->dst_ip & 0xff000000) != 0x0a000000) { drops++; release(p); return; }
    if (ip[8] <= 1) { drops++; release(p); return; }
    ip[8]--;
    u32 c = load16(ip + 10) + 0x100;
    store16(ip + 10, c + (c >= 0xffff));
    if (p->length > 1500) { drops++; release(p); return; }
    p->data -= 14;
    p->length += 14;
    memcpy(p->data, "\2\0\0\0\0\3\2\0\0\0\0\4\10\0", 14);
    discard(p);
}

static inline void firewall(struct packet *p)
{
    strip(p, 14);
    if (!check_ip(p)) { drops++; release(p); return; }
    u8 *ip = p->network, *tp = p->transport;
    u32 src = load32(ip + 12), dst = p->dst_ip;
    int ports = (ip[9] == 6 || ip[9] == 17) && (load16(ip + 6) & 0x1fff) == 0 && p->length >= 28;
    u32 sport = ports ? load16(tp) : 0x10000, dport = ports ? load16(tp + 2) : 0x10000;
    if (src == 0x01020304 || dport == 80 || (src & 0xffff0000) == 0xc0a80000 || (ip[9] == 6 && dport == 22)
        || (dst & 0xff000000) == 0x07000000 || ip[9] == 1 || dst == 0x01010101 || dst == 0x02010101 || sport == 55
        || ip[8] == 3) { drops++; release(p); return; }
    discard(p);
}

struct flow { u32 used, src, dst, ports, new_src, new_dst, new_ports, last; u16 ip_delta, transport_delta; u32 output, proto; u64 packets; u32 pad[2]; };
static struct flow *table;
#define PLACES (1u << 18)

static inline u32 hash(u32 a, u32 b, u32 c)
{
    u64 x = 0x9e3779b97f4a7c15ull;
    x = (x ^ a) * 0xff51afd7ed558ccdull; x ^= x >> 32;
    x = (x ^ b) * 0xff51afd7ed558ccdull; x ^= x >> 32;
    x = (x ^ c) * 0xff51afd7ed558ccdull; x ^= x >> 32;
    return x;
}

static inline struct flow *find(u32 src, u32 dst, u32 ports, u32 proto)
{
    u32 at = hash(src, dst, ports ^ proto) & (PLACES - 1);
    while (table[at].used && (table[at].src != src || table[at].dst != dst || table[at].ports != ports || table[at].proto != proto))
        at = (at + 1) & (PLACES - 1);
    return table + at;
}

static inline void nat(struct packet *p)
{
    strip(p, 14);
    if (!check_ip(p)) { drops++; release(p); return; }
    u8 *ip = p->network, *tp = p->transport;
    if ((ip[9] != 6 && ip[9] != 17) || (load16(ip + 6) & 0x1fff) || p->length < 28) { drops++; release(p); return; }
    u32 src = load32(ip + 12), dst = p->dst_ip, ports = load32(tp);
    struct flow *f = find(src, dst, ports, ip[9]);
    if (!f->used) {
        f->used = 1; f->src = src; f->dst = dst; f->ports = ports; f->proto = ip[9];
        f->new_src = 0x01000001; f->new_dst = dst; f->new_ports = ports;
        struct flow *r = find(dst, f->new_src, ports << 16 | ports >> 16, ip[9]);
        r->used = 1; r->src = dst; r->dst = f->new_src; r->ports = ports << 16 | ports >> 16; r->proto = ip[9];
        r->new_src = dst; r->new_dst = src; r->new_ports = ports << 16 | ports >> 16;
        f->ip_delta = fold((u64)(u16)~(src >> 16) + (u16)~src + (f->new_src >> 16) + (f->new_src & 0xffff));
        f->transport_delta = f->ip_delta;
    }
    store32(ip + 12, f->new_src);
    store32(ip + 16, f->new_dst);
    store16(ip + 10, ~fold((u16)~load16(ip + 10) + (u64)f->ip_delta));
    store32(tp, f->new_ports);
    u16 c = load16(tp + 6);
    if (ip[9] == 17 && c)
        store16(tp + 6, ~fold((u16)~c + (u64)f->transport_delta));
    f->last = count >> 10;
    p->dst_ip = f->new_dst;
    discard(p);
}

static inline void balancer(struct packet *p)
{
    u32 total = 0;
    for (int i = 0; i < 4; i++)
        total += p->data[34 + i];
    outputs[(total ^ (total >> 4)) & 3]++;
    discard(p);
}

static inline void monitor(struct packet *p)
{
    strip(p, 14);
    if (!check_ip(p)) { drops++; release(p); return; }
    u8 *ip = p->network;
    u32 src = load32(ip + 12), dst = p->dst_ip, ports = load32(p->transport), turned = src > dst;
    struct flow *f = turned ? find(dst, src, ports << 16 | ports >> 16, ip[9]) : find(src, dst, ports, ip[9]);
    static u32 number;
    if (!f->used) {
        f->used = 1; f->src = turned ? dst : src; f->dst = turned ? src : dst; f->proto = ip[9];
        f->ports = turned ? ports << 16 | ports >> 16 : ports; f->output = ++number;
    }
    f->last = count >> 10;
    p->aggregate = f->output;
    p->paint = turned;
    static u64 counts[1 << 17];
    counts[p->aggregate & 0x1ffff]++;
    discard(p);
}

static inline void patterns(struct packet *p)
{
    static const u8 pattern[10][4] = {"abcd", "efgh", "ijkl", "mnop", "qrst", "uvwx", "yzab", "cdef", "ghij", "klmn"};
    u32 word;
    memcpy(&word, p->data + 42, 4);
    for (int i = 0; i < 10; i++) {
        u32 wanted;
        memcpy(&wanted, pattern[i], 4);
        if (p->length >= 46 && word == wanted) { outputs[i]++; release(p); return; }
    }
    discard(p);
}

static inline void counter(struct packet *p) { bytes += p->length; discard(p); }

#define RUN(f) for (u64 i = 0; i < n; i++) f(make(i))

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    const char *what = argv[1];
    u64 n = strtoull(argv[2], 0, 10);
    length = atoi(argv[3]);
    flows = atoi(argv[4]);
    memory = aligned_alloc(4096, POOL * STRIDE);
    memset(memory, 0, POOL * STRIDE);
    table = aligned_alloc(1 << 21, PLACES * sizeof *table);
    madvise(table, PLACES * sizeof *table, MADV_HUGEPAGE);
    memset(table, 0, PLACES * sizeof *table);
    for (u32 i = 0; i < POOL; i++)
        stack[nfree++] = (struct packet *)(memory + i * STRIDE);
    memcpy(template, "\2\0\0\0\0\2\2\0\0\0\0\1\10\0\x45\0\0\0\0\0\x40\0\x40\x11\0\0\x0a\0\0\0\x0a\x80\0\1\4\0\0\x09", 38);
    store16(template + 16, length - 14);
    store16(template + 38, length - 34);
    base_checksum = be16((u16)~sum20(template + 14));
    store16(template + 24, base_checksum);
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    if (!strcmp(what, "discard")) RUN(discard);
    else if (!strcmp(what, "mirror")) RUN(mirror);
    else if (!strcmp(what, "router")) RUN(router);
    else if (!strcmp(what, "firewall")) RUN(firewall);
    else if (!strcmp(what, "nat")) RUN(nat);
    else if (!strcmp(what, "balancer")) RUN(balancer);
    else if (!strcmp(what, "monitor")) RUN(monitor);
    else if (!strcmp(what, "classifier")) RUN(patterns);
    else if (!strcmp(what, "counter")) RUN(counter);
    else if (!strcmp(what, "wire")) {
        for (u64 i = 0; i < n; i += BURST) {
            for (u32 k = 0; k < BURST && nonfull; k++)
                enqueue(make(i + k));
            for (struct packet *p; nonempty && (p = dequeue());)
                discard(p);
        }
    } else
        return 2;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    printf("%.3f %llu\n", ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / n, (unsigned long long)(count + drops + bytes + outputs[0]));
    return 0;
}
