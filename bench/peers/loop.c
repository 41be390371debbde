// The limit of this kernel on this machine: a C epoll server that writes each POST's body to every open GET.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
static int subs[30000], n;
int main(int c, char **v) {
  int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, 4);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(v[1]))};
  a.sin_addr.s_addr = htonl(0x7f000001);
  bind(s, (void *)&a, sizeof a);
  listen(s, 8192);
  int ep = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN, .data.fd = s};
  epoll_ctl(ep, EPOLL_CTL_ADD, s, &e);
  static struct epoll_event ev[512];
  static char b[65536], f[65536];
  for (;;) {
    int k = epoll_wait(ep, ev, 512, -1);
    for (int i = 0; i < k; i++) {
      int fd = ev[i].data.fd;
      if (fd == s) {
        int q;
        while ((q = accept4(s, 0, 0, SOCK_NONBLOCK)) >= 0) {
          setsockopt(q, IPPROTO_TCP, TCP_NODELAY, &one, 4);
          struct epoll_event x = {.events = EPOLLIN, .data.fd = q};
          epoll_ctl(ep, EPOLL_CTL_ADD, q, &x);
        }
        continue;
      }
      int r = recv(fd, b, sizeof b - 1, 0);
      if (r <= 0) {
        for (int j = 0; j < n; j++)
          if (subs[j] == fd) {
            subs[j] = subs[--n];
            break;
          }
        close(fd);
        continue;
      }
      b[r] = 0;
      if (!strncmp(b, "GET", 3)) {
        const char *h = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n:ok\n\n";
        send(fd, h, strlen(h), MSG_NOSIGNAL);
        subs[n++] = fd;
      } else {
        char *bd = strstr(b, "\r\n\r\n") + 4;
        int l = sprintf(f, "id: 1795220205000-0\ndata: %s\n\n", bd);
        for (int j = 0; j < n; j++)
          send(subs[j], f, l, MSG_NOSIGNAL | MSG_DONTWAIT);
        const char *h = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        send(fd, h, strlen(h), MSG_NOSIGNAL);
      }
    }
  }
}
