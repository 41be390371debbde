/* The load generator: one epoll process that holds N SSE connections, publishes over M keep-alive connections, and
 * reports what arrived, when, and what did not, as one line of JSON.
 *
 * Every published body carries a mark @@<user>:<sequence>:<nanoseconds>@@ (CLOCK_MONOTONIC); the receiver looks for
 * marks only, so the same tool measures any server. Requests are templates: {user} {token} {cursor} {seq} {mark} {len}.
 * In the report, lat_* is from the start of a POST to its mark's arrival, first_* from connect() to the first byte of a
 * stream's body, and cpu_s is this process's own time: near the wall time it would be the bottleneck itself.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct {
  int fd, kind; /* kind 0 = subscriber, 1 = publisher */
  int user;     /* subscriber: whose feed */
  int state;    /* 0 connecting 1 headers 2 body 3 dead */
  int chunked;
  long chunk_left;
  int chunk_state; /* 0 size 1 data 2 crlf */
  char line[160];
  int line_len;
  char tail[96];
  int tail_len;
  long last_seq;
  long got;
  uint64_t born;
  /* publisher */
  char *out;
  int out_len, out_off;
  int busy;
  uint64_t sent_at;
  long body_left;
  int hdr_done;
  long next_user;
  char hdr[8192];
  int hdr_len;
} conn;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

#define HB 4096
static uint64_t lat_hist[HB], pub_hist[HB], first_hist[HB];
static int bucket(uint64_t us) { /* log-linear: 64 per octave */
  if (us < 64) return us;
  int e = 63 - __builtin_clzll(us);
  int b = (e - 5) * 64 + ((us >> (e - 6)) & 63);
  return b < HB ? b : HB - 1;
}
static double unbucket(int b) {
  if (b < 64) return b;
  int e = b / 64 + 5, m = b % 64;
  return (double)((64ull + m) << (e - 6));
}
static double pct(uint64_t *h, double p) {
  uint64_t n = 0, c = 0;
  for (int i = 0; i < HB; i++) n += h[i];
  if (!n) return -1;
  for (int i = 0; i < HB; i++) {
    c += h[i];
    if (c >= p * n) return unbucket(i);
  }
  return unbucket(HB - 1);
}

static int nconn = 100, nusers = 100, npub = 4, port = 8000, publish_port = 0, broadcast = 0, quiet = 0, settle_ms = 500, ramp = 2000,
           srcs = 1;
static long nmsg = 1000;
static double rate = 0, hold = 0, tmo = 60;
static long under_way = 0; /* connections that may be opening at a time; 0: any number */
static long awaited = 0; /* without publishers: end when so many marks have come; 0: hold on */
static const char *host = "127.0.0.1";
static char *sub_t, *pub_t;
static char **tokens, **cursors;
static long ntokens, ncursors;
static const char *prefix = "u";
static conn *C;
static int ep;
static long connected, refused, closed_early, events, dups, gaps, reorders, pub_ok, pub_err, pub_sent;
static uint64_t rx_bytes, first_ev, last_ev;
static long *useq;
static char first_err[400];
static long first_status_bad;

static char *slurp(const char *f) {
  FILE *p = fopen(f, "r");
  if (!p) {
    perror(f);
    exit(2);
  }
  char *b = NULL;
  size_t n = 0, cap = 0;
  int c;
  while ((c = fgetc(p)) != EOF) {
    if (n + 3 > cap) b = realloc(b, cap = cap * 2 + 64);
    b[n++] = c;
  }
  fclose(p);
  if (!b) b = calloc(1, 1);
  b[n] = 0;
  return b;
}

static int fill(char *dst, int cap, const char *t, int user, const char *mark, int len, long seq) {
  int o = 0;
  for (const char *p = t; *p && o < cap - 400;) {
    if (!strncmp(p, "{user}", 6)) {
      o += sprintf(dst + o, "%s%d", prefix, user);
      p += 6;
    } else if (!strncmp(p, "{seq}", 5)) {
      o += sprintf(dst + o, "%ld", seq);
      p += 5;
    } else if (!strncmp(p, "{mark}", 6)) {
      o += sprintf(dst + o, "%s", mark);
      p += 6;
    } else if (!strncmp(p, "{len}", 5)) {
      o += sprintf(dst + o, "%d", len);
      p += 5;
    } else if (!strncmp(p, "{token}", 7)) {
      const char *k = ntokens ? tokens[user % ntokens] : "";
      o += sprintf(dst + o, "%s", k);
      p += 7;
    } else if (!strncmp(p, "{cursor}", 8)) {
      const char *k = ncursors ? cursors[user % ncursors] : "";
      o += sprintf(dst + o, "%s", k);
      p += 8;
    } else if (*p == '\n' && (p == t || p[-1] != '\r')) {
      dst[o++] = '\r';
      dst[o++] = '\n';
      p++;
    } else dst[o++] = *p++;
  }
  dst[o] = 0;
  return o;
}

static void add(conn *c, uint32_t ev) {
  struct epoll_event e = {.events = ev, .data.ptr = c};
  epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
}
static void mod(conn *c, uint32_t ev) {
  struct epoll_event e = {.events = ev, .data.ptr = c};
  epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

static void start(conn *c) {
  c->born = now_ns();
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (c->fd < 0) {
    perror("socket");
    exit(2);
  }
  int one = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (srcs > 1) {
    struct sockaddr_in s = {.sin_family = AF_INET};
    s.sin_addr.s_addr = htonl(0x7f000001 + 1 + (c - C) % srcs);
    setsockopt(c->fd, IPPROTO_IP, 24 /*IP_BIND_ADDRESS_NO_PORT*/, &one, sizeof one);
    bind(c->fd, (void *)&s, sizeof s);
  }
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(c->kind && publish_port ? publish_port : port)};
  inet_pton(AF_INET, host, &a.sin_addr);
  if (connect(c->fd, (void *)&a, sizeof a) < 0 && errno != EINPROGRESS) {
    refused++;
    c->state = 3;
    close(c->fd);
    return;
  }
  c->state = 0;
  add(c, EPOLLOUT);
}

static void scan(conn *c, const char *p, int n) { /* look for marks in body bytes; the tail of the last piece is kept */
  static char buf[70000];
  memcpy(buf, c->tail, c->tail_len);
  memcpy(buf + c->tail_len, p, n);
  int len = c->tail_len + n;
  buf[len] = 0;
  char *q = buf, *end = buf + len;
  char *keep = NULL;
  while (q < end) {
    char *m = memmem(q, end - q, "@@", 2);
    if (!m) {
      keep = (end[-1] == '@') ? end - 1 : end;
      break;
    }
    char *e = memmem(m + 2, end - m - 2, "@@", 2);
    if (!e) {
      keep = m;
      break;
    }
    int user;
    long seq;
    unsigned long long t;
    if (sscanf(m + 2, "%d:%ld:%llu", &user, &seq, &t) == 3) {
      uint64_t n0 = now_ns();
      events++;
      c->got++;
      if (!first_ev) first_ev = n0;
      last_ev = n0;
      lat_hist[bucket((n0 - t) / 1000)]++;
      if (seq == c->last_seq + 1) c->last_seq = seq;
      else if (seq == c->last_seq) dups++;
      else if (seq < c->last_seq) reorders++;
      else {
        gaps += seq - c->last_seq - 1;
        c->last_seq = seq;
      }
    }
    q = e + 2;
    keep = q;
  }
  if (!keep) keep = end;
  c->tail_len = end - keep;
  if (c->tail_len > 90) c->tail_len = 0;
  memcpy(c->tail, keep, c->tail_len);
}

static void body(conn *c, const char *p, int n) {
  if (c->born) {
    first_hist[bucket((now_ns() - c->born) / 1000)]++;
    c->born = 0;
  }
  if (!c->chunked) {
    scan(c, p, n);
    return;
  }
  while (n > 0) {
    if (c->chunk_state == 0) {
      char ch = *p++;
      n--;
      if (ch == '\n') {
        c->line[c->line_len] = 0;
        c->chunk_left = strtol(c->line, 0, 16);
        c->line_len = 0;
        c->chunk_state = 1;
        if (c->chunk_left == 0) {
          c->chunk_state = 3;
        }
      } else if (c->line_len < 100) c->line[c->line_len++] = ch;
    } else if (c->chunk_state == 1) {
      int k = n < c->chunk_left ? n : c->chunk_left;
      scan(c, p, k);
      p += k;
      n -= k;
      c->chunk_left -= k;
      if (!c->chunk_left) c->chunk_state = 2;
    } else if (c->chunk_state == 2) {
      char ch = *p++;
      n--;
      if (ch == '\n') c->chunk_state = 0;
    } else return;
  }
}

static void make_pub(conn *c, int user) {
  static char b[1 << 20];
  char mark[100];
  long seq = ++useq[user];
  snprintf(mark, sizeof mark, "@@%d:%ld:%llu@@", user, seq, (unsigned long long)now_ns());
  const char *sep = strstr(pub_t, "\n\n");
  int hl = sep - pub_t + 2;
  static char body_[1 << 19];
  int bl = fill(body_, sizeof body_, sep + 2, user, mark, 0, seq);
  char *ht = strndup(pub_t, hl);
  int o = fill(b, 65536, ht, user, mark, bl, seq);
  free(ht);
  memcpy(b + o, body_, bl);
  o += bl;
  c->out = realloc(c->out, o + 1);
  memcpy(c->out, b, o);
  c->out_len = o;
  c->out_off = 0;
  c->busy = 1;
  c->sent_at = now_ns();
  c->hdr_len = 0;
  c->hdr_done = 0;
  c->body_left = -1;
  c->chunked = 0;
  c->chunk_state = 0;
  c->line_len = 0;
  pub_sent++;
}

static void flush_out(conn *c) {
  while (c->out_off < c->out_len) {
    int k = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL);
    if (k <= 0) {
      if (errno == EAGAIN) {
        mod(c, EPOLLIN | EPOLLOUT);
        return;
      }
      c->state = 3;
      return;
    }
    c->out_off += k;
  }
  mod(c, EPOLLIN);
}

static void pub_reply_done(conn *c, int status) {
  c->busy = 0;
  pub_hist[bucket((now_ns() - c->sent_at) / 1000)]++;
  if (status >= 200 && status < 300) pub_ok++;
  else {
    pub_err++;
    if (!first_err[0]) {
      snprintf(first_err, sizeof first_err, "%.390s", c->hdr);
    }
  }
}

static void on_pub(conn *c, const char *p, int n) { /* responses: Content-Length or chunked */
  if (!c->hdr_done) {
    int k = n < (int)sizeof c->hdr - 1 - c->hdr_len ? n : (int)sizeof c->hdr - 1 - c->hdr_len;
    memcpy(c->hdr + c->hdr_len, p, k);
    c->hdr_len += k;
    c->hdr[c->hdr_len] = 0;
    char *e = strstr(c->hdr, "\r\n\r\n");
    if (!e) return;
    c->hdr_done = e + 4 - c->hdr;
    char *cl = strcasestr(c->hdr, "\r\ncontent-length:");
    c->chunked = strcasestr(c->hdr, "\r\ntransfer-encoding: chunked") != NULL;
    c->body_left = cl && cl < e ? atol(cl + 17) : (c->chunked ? 0 : 0);
  } else if (c->hdr_len + n < (int)sizeof c->hdr - 1) {
    memcpy(c->hdr + c->hdr_len, p, n);
    c->hdr_len += n;
    c->hdr[c->hdr_len] = 0;
  }
  int done = c->chunked ? (memmem(c->hdr + c->hdr_done - 2, c->hdr_len - c->hdr_done + 2, "\r\n0\r\n", 5) != NULL)
                        : (c->hdr_len - c->hdr_done >= c->body_left);
  if (done) {
    int st = atoi(c->hdr + 9);
    pub_reply_done(c, st);
    if (memmem(c->hdr, c->hdr_done, "\r\nConnection: close\r\n", 21)) { /* a server that wants one for each message */
      close(c->fd);
      start(c);
    }
  }
}

static void on_sub(conn *c, const char *p, int n) {
  if (c->state == 1) {
    int k = n < (int)sizeof c->hdr - 1 - c->hdr_len ? n : (int)sizeof c->hdr - 1 - c->hdr_len;
    memcpy(c->hdr + c->hdr_len, p, k);
    c->hdr_len += k;
    c->hdr[c->hdr_len] = 0;
    char *e = strstr(c->hdr, "\r\n\r\n");
    if (!e) return;
    int st = atoi(c->hdr + 9);
    if (st != 200) {
      first_status_bad++;
      if (!first_err[0]) snprintf(first_err, sizeof first_err, "%.390s", c->hdr);
      refused++;
      c->state = 3;
      close(c->fd);
      return;
    }
    c->chunked = strcasestr(c->hdr, "\r\ntransfer-encoding: chunked") != NULL;
    c->state = 2;
    connected++;
    int h = e + 4 - c->hdr;
    if (c->hdr_len > h) body(c, c->hdr + h, c->hdr_len - h);
    if (n > k) body(c, p + k, n - k);
    return;
  }
  body(c, p, n);
}

static char **lines(const char *file, long *n) {
  char **all = NULL, *text = slurp(file);
  for (char *l = strtok(text, "\n"); l; l = strtok(NULL, "\n")) {
    all = realloc(all, (*n + 1) * sizeof *all);
    all[(*n)++] = l;
  }
  return all;
}

int main(int ac, char **av) {
  const char *sf = 0, *pf = 0, *tf = 0, *kf = 0;
  int o;
  while ((o = getopt(ac, av, "c:u:P:p:n:r:s:b:t:k:x:w:h:BqT:R:S:H:E:O:Q:")) != -1) switch (o) {
    case 'c':
      nconn = atoi(optarg);
      break;
    case 'u':
      nusers = atoi(optarg);
      break;
    case 'P':
      npub = atoi(optarg);
      break;
    case 'p':
      port = atoi(optarg);
      break;
    case 'n':
      nmsg = atol(optarg);
      break;
    case 'r':
      rate = atof(optarg);
      break;
    case 's':
      sf = optarg;
      break;
    case 'b':
      pf = optarg;
      break;
    case 't':
      tf = optarg;
      break;
    case 'k':
      kf = optarg;
      break;
    case 'x':
      prefix = optarg;
      break;
    case 'w':
      hold = atof(optarg);
      break;
    case 'h':
      host = optarg;
      break;
    case 'B':
      broadcast = 1;
      break;
    case 'q':
      quiet = 1;
      break;
    case 'O':
      under_way = atol(optarg);
      break;
    case 'Q':
      publish_port = atoi(optarg);
      break;
    case 'E':
      awaited = atol(optarg);
      break;
    case 'T':
      tmo = atof(optarg);
      break;
    case 'R':
      ramp = atoi(optarg);
      break;
    case 'S':
      srcs = atoi(optarg);
      break;
    case 'H':
      settle_ms = atoi(optarg);
      break;
    default:
      fprintf(stderr, "usage: sseload -s SUB_TEMPLATE -b PUB_TEMPLATE [-c conns] [-u users] [-P publisher conns] [-p "
                      "port] [-n messages] [-r msgs/s] [-t tokens] [-k cursors] [-B broadcast] [-w hold s] [-T timeout "
                      "s] [-R ramp conns/s] [-S source addresses] [-H settle ms] [-E marks awaited] [-O opening at a time] [-Q port to publish on]\n");
      return 2;
    }
  struct rlimit rl = {1 << 20, 1 << 20};
  if (setrlimit(RLIMIT_NOFILE, &rl)) {
    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
  }
  sub_t = slurp(sf);
  pub_t = pf ? slurp(pf) : NULL;
  useq = calloc(nusers + 1, sizeof *useq);
  if (tf) tokens = lines(tf, &ntokens);
  if (kf) cursors = lines(kf, &ncursors);
  ep = epoll_create1(0);
  C = calloc(nconn + npub, sizeof *C);
  uint64_t t0 = now_ns(), t_conn = 0, t_pub0 = 0, t_pub1 = 0;
  int started = 0;
  static char rb[65536];
  static struct epoll_event ev[1024];
  int phase = 0;
  uint64_t phase_at = 0;
  long published = 0;
  long expected = 0;
  long rr = 0;
  uint64_t deadline = t0 + (uint64_t)(tmo * 1e9);
  if (!pub_t) npub = 0;
  for (;;) {
    uint64_t now = now_ns();
    if (now > deadline) break;
    if (awaited && !npub && phase == 2 && events >= awaited) break;
    if (phase == 0) {
      long due = (now - t0) * ramp / 1000000000ull + 1;
      while (started < nconn && started < due && (!under_way || started - connected - refused < under_way)) {
        conn *c = &C[started];
        c->user = started % nusers;
        start(c);
        started++;
      }
      if (connected + refused >= nconn) {
        t_conn = now;
        phase = 1;
        phase_at = now;
      }
    }
    if (phase == 1 && now - phase_at > settle_ms * 1000000ull) {
      for (int i = 0; i < npub; i++) {
        conn *c = &C[nconn + i];
        c->kind = 1;
        c->next_user = i;
        start(c);
      }
      phase = 2;
      phase_at = now;
      if (!quiet) {
        fprintf(stderr, "ready connected=%ld refused=%ld %.*s\n", connected, refused, (int)strcspn(first_err, "\r\n"),
                first_err);
      }
      if (!npub) {
        deadline = now + (uint64_t)(hold * 1e9);
      }
      t_pub0 = now;
    }
    if (phase == 2 && npub) {
      long due = rate > 0 ? (long)((now - t_pub0) / 1e9 * rate) + 1 : nmsg;
      if (due > nmsg) due = nmsg;
      for (int i = 0; i < npub && published < due; i++) {
        conn *c = &C[nconn + (rr++ % npub)];
        if (c->state != 2 || c->busy) continue;
        int u = broadcast ? 0 : (int)c->next_user;
        if (!broadcast) {
          c->next_user += npub;
          if (c->next_user >= nusers) c->next_user = (rr - 1) % npub % nusers;
        }
        make_pub(c, u);
        published++;
        flush_out(c);
      }
      if (pub_ok + pub_err >= nmsg && !t_pub1) t_pub1 = now;
      long per = broadcast ? connected : connected / nusers;
      expected = nmsg * (per ? per : 1);
      if (t_pub1 && (events >= expected || now - (last_ev ? last_ev : t_pub1) > 3000000000ull)) break;
    }
    int n = epoll_wait(ep, ev, 1024, phase == 2 && npub && !rate ? 1 : 1);
    for (int i = 0; i < n; i++) {
      conn *c = ev[i].data.ptr;
      if (c->state == 3) continue;
      if (c->state == 0) {
        int e = 0;
        socklen_t l = sizeof e;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &l);
        if (e) {
          refused++;
          c->state = 3;
          close(c->fd);
          continue;
        }
        if (c->kind == 1) {
          c->state = 2;
          mod(c, EPOLLIN);
          continue;
        }
        static char b[65536];
        int k = fill(b, sizeof b, sub_t, c->user, "", 0, 0);
        if (send(c->fd, b, k, MSG_NOSIGNAL) != k) {
          refused++;
          c->state = 3;
          close(c->fd);
          continue;
        }
        c->state = 1;
        mod(c, EPOLLIN);
        continue;
      }
      if (ev[i].events & EPOLLOUT && c->kind == 1) flush_out(c);
      if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        int k = recv(c->fd, rb, sizeof rb - 1, 0);
        if (k <= 0) {
          if (k < 0 && errno == EAGAIN) continue;
          if (c->kind == 0) {
            if (c->state == 2) closed_early++;
            else refused++;
          } else if (c->busy) {
            pub_err++;
          }
          close(c->fd);
          c->state = 3;
          if (c->kind == 1) {
            c->busy = 0;
            c->hdr_len = 0;
            start(c);
          }
          continue;
        }
        rb[k] = 0;
        rx_bytes += k;
        if (c->kind) {
          if (c->busy) on_pub(c, rb, k);
        } else on_sub(c, rb, k);
      }
    }
  }
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  double span = last_ev > first_ev ? (last_ev - first_ev) / 1e9 : 0;
  long missing = 0;
  for (int i = 0; i < nconn; i++)
    if (C[i].state == 2 || C[i].state == 3) {
      long want = broadcast ? useq[0] : useq[C[i].user];
      if (pub_t && want > C[i].last_seq) missing += want - C[i].last_seq;
    }
  printf("{\"connected\":%ld,\"refused\":%ld,\"closed_early\":%ld,\"connect_s\":%.3f,\"published\":%ld,\"publish_ok\":%"
         "ld,\"publish_err\":%ld,\"publish_s\":%.3f,\"publish_per_s\":%.0f,\"publish_p50_ms\":%.2f,\"publish_p99_ms\":%"
         ".2f,\"events\":%ld,\"expected\":%ld,\"missing\":%ld,\"gaps\":%ld,\"dups\":%ld,\"reorders\":%ld,\"span_s\":%."
         "3f,\"events_per_s\":%.0f,\"lat_p50_ms\":%.2f,\"lat_p90_ms\":%.2f,\"lat_p99_ms\":%.2f,\"lat_max_ms\":%.2f,"
         "\"first_p50_ms\":%.2f,\"first_p99_ms\":%.2f,\"rx_mb\":%.1f,\"cpu_s\":%.2f,\"wall_s\":%.2f}\n",
         connected, refused, closed_early, t_conn ? (t_conn - t0) / 1e9 : -1, published, pub_ok, pub_err,
         t_pub1 ? (t_pub1 - t_pub0) / 1e9 : -1, t_pub1 ? pub_ok / ((t_pub1 - t_pub0) / 1e9) : 0,
         pct(pub_hist, .5) / 1e3, pct(pub_hist, .99) / 1e3, events, expected, missing, gaps, dups, reorders, span,
         span ? events / span : 0, pct(lat_hist, .5) / 1e3, pct(lat_hist, .9) / 1e3, pct(lat_hist, .99) / 1e3,
         pct(lat_hist, 1) / 1e3, pct(first_hist, .5) / 1e3, pct(first_hist, .99) / 1e3, rx_bytes / 1e6,
         used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6,
         (now_ns() - t0) / 1e9);
  if (first_err[0]) fprintf(stderr, "first bad reply: %s\n", first_err);
  return 0;
}
