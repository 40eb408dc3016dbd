/* A web server on a network stack of its own (lwIP), at a port of a Penstock switch:
 *
 *     gcc -O2 -o http http.c $(pkg-config --cflags --libs lwip)
 *     http SOCKET vale0:www 10.9.0.2/24 02:00:00:00:00:02 80
 *
 * Frames go between the port's rings and the stack; the server is written with the stack's own sockets.
 */
#include "penstock_port.h"
#include <stdlib.h>
#include <lwip/etharp.h>
#include <lwip/sockets.h>
#include <lwip/tcpip.h>

static struct pst_port port;

/* The stack sends: called with its lock held, so by one thread at a time. */
static err_t send_frame(struct netif *netif, struct pbuf *packet)
{
    (void)netif;
    if (packet->tot_len > PST_SLOT_BYTES || !pst_room(&port)) return ERR_MEM;
    pbuf_copy_partial(packet, pst_slot(&port), packet->tot_len, 0);
    pst_put(&port, packet->tot_len, 0);
    pst_txsync(&port);
    return ERR_OK;
}

static err_t attach(struct netif *netif)
{
    memcpy(netif->hwaddr, netif->state, 6);
    netif->hwaddr_len = 6;
    netif->mtu = 1500;
    netif->name[0] = 'p';
    netif->name[1] = 's';
    netif->output = etharp_output;
    netif->linkoutput = send_frame;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    return ERR_OK;
}

/* What comes in, up to the stack. Frames of several slots are larger than it can take. */
static void receive(void *argument)
{
    struct netif *netif = argument;
    int within = 0;
    for (;;) {
        uint32_t n = pst_poll(&port, 1000);
        for (; n; n--) {
            uint32_t length;
            int more;
            uint8_t *frame = pst_next(&port, &length, &more);
            struct pbuf *packet = within || more ? NULL : pbuf_alloc(PBUF_RAW, length, PBUF_POOL);
            within = more;
            if (!packet) continue;
            pbuf_take(packet, frame, length);
            if (netif->input(packet, netif) != ERR_OK) pbuf_free(packet);
        }
        pst_rxsync(&port);
    }
}

static void answer(int connection)
{
    static const char page[] = "<!DOCTYPE html><title>Penstock</title><p>Served by a stack of its own.</p>\n";
    char request[2048];
    size_t have = 0;
    while (have < sizeof request - 1) {
        ssize_t n = lwip_recv(connection, request + have, sizeof request - 1 - have, 0);
        if (n <= 0) break;
        have += n;
        request[have] = 0;
        if (strstr(request, "\r\n\r\n")) break;
    }
    char head[256];
    long large = 0;
    int is_large = sscanf(request, "GET /bytes/%ld ", &large) == 1 && large > 0;
    long size = is_large ? large : (long)sizeof page - 1;
    int n = snprintf(head, sizeof head, "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: %ld\r\n\r\n", size);
    lwip_send(connection, head, n, 0);
    if (!is_large) lwip_send(connection, page, sizeof page - 1, 0);
    char block[4096];
    memset(block, 'x', sizeof block);
    for (long left = is_large ? large : 0; left > 0;) {
        ssize_t sent = lwip_send(connection, block, left < (long)sizeof block ? (size_t)left : sizeof block, 0);
        if (sent <= 0) break;
        left -= sent;
    }
    lwip_close(connection);
}

int main(int argc, char **argv)
{
    static uint8_t hardware[6];
    static struct netif netif;
    unsigned a[4], bits = 24, m[6], number = 80;
    if (argc < 5 || sscanf(argv[3], "%u.%u.%u.%u/%u", &a[0], &a[1], &a[2], &a[3], &bits) < 4 || bits < 1 || bits > 32
        || sscanf(argv[4], "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6
        || (argc > 5 && sscanf(argv[5], "%u", &number) != 1)) {
        fprintf(stderr, "usage: http SOCKET vale0:www ADDRESS/BITS MAC [NUMBER]\n");
        return 2;
    }
    for (int i = 0; i < 6; i++) hardware[i] = m[i];
    if (pst_open(&port, argv[1], argv[2], 1024)) return 1;
    ip4_addr_t address, mask, gateway;
    IP4_ADDR(&address, a[0], a[1], a[2], a[3]);
    ip4_addr_set_u32(&mask, lwip_htonl(0xFFFFFFFFu << (32 - bits)));
    ip4_addr_set_zero(&gateway);
    tcpip_init(NULL, NULL);
    LOCK_TCPIP_CORE();
    netif_add(&netif, &address, &mask, &gateway, hardware, attach, tcpip_input);
    netif_set_default(&netif);
    netif_set_up(&netif);
    UNLOCK_TCPIP_CORE();
    sys_thread_new("receive", receive, &netif, 0, 0);
    int listener = lwip_socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = lwip_htons(number) };
    if (lwip_bind(listener, (struct sockaddr *)&here, sizeof here) || lwip_listen(listener, 16)) {
        fprintf(stderr, "port %u: the stack refuses\n", number);
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        int connection = lwip_accept(listener, NULL, NULL);
        if (connection >= 0) answer(connection);
    }
}
