/* Sends every frame back to where it came from: echo SOCKET vale0:echo [FRAMES] */
#include "penstock_port.h"
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct pst_port port;
    if (argc < 3 || pst_open(&port, argv[1], argv[2], 256)) return 1;
    int starts = 1; /* the next slot begins a frame */
    long left = argc > 3 ? atol(argv[3]) : -1;
    printf("ready\n");
    fflush(stdout);
    while (left) {
        uint32_t n = pst_poll(&port, 1000);
        for (; n && left && pst_room(&port); n--) {
            uint32_t length;
            int more;
            uint8_t *from = pst_next(&port, &length, &more), *to = pst_slot(&port);
            memcpy(to, from, length);
            if (starts && length >= 12) {
                memcpy(to, from + 6, 6);
                memcpy(to + 6, from, 6);
            }
            pst_put(&port, length, more);
            starts = !more;
            left -= starts;
        }
        pst_rxsync(&port);
        pst_txsync(&port);
    }
    while (pst_room(&port) < port.n_slots) usleep(100);
    pst_close(&port);
    return 0;
}
