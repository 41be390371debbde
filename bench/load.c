/* The load generator: one epoll process that holds N SSE connections, publishes over M keep-alive connections, and
 * reports what arrived, when, and what did not, as one line of JSON.
 *
 * Every published body carries a mark @@<user>:<sequence>:<nanoseconds>@@ (CLOCK_MONOTONIC); the receiver looks for
 * marks only, so the same tool measures any server. Requests are templates: {user} {token} {cursor} {seq} {mark} {len}.
 * In the report, lat_* is from the start of a POST to its mark's arrival, first_* from connect() to the first byte of a
 * stream's body, and work_cpu_s is this process's own time while it published or held (work_s): near that it would be
 * the bottleneck itself. connect_cpu_s is that of the time before, while it connected (connect_s).
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
  uint64_t born;
  /* publisher */
  char *out;
  int out_len, out_off;
  int busy;
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
static uint64_t lat_hist[HB], first_hist[HB];
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

#define SETTLE_NS 400000000ull /* after the last connection, before "ready" is said */
#define LOOK_NS 100000000ull   /* after that, before the first message: whoever looks at the server's time looks now */
#define QUIET_NS 3000000000ull /* after the last message: what has not come by then will not come */

static enum { OPENING, SETTLING, READY, WORKING } phase;
static int nconn = 100, nusers = 100, npub = 4, port = 8000, publish_port = 0, broadcast = 0, ramp = 2000;
static long nmsg = 1000;
static double rate = 0, hold = 0, longest = 60;
static long under_way = 0; /* connections that may be opening at a time; 0: any number */
static long awaited = 0; /* without publishers: end when so many marks have come; 0: hold on */
static char *sub_t, *pub_t;
static char **tokens, **cursors;
static long ntokens, ncursors;
static const char *prefix = "u";
static conn *C;
static int ep;
static long opened, connected, refused, closed_early, published, turn, events, dups, gaps, reorders, pub_ok, pub_err;
static uint64_t t0, t_conn, t_ready, t_work, t_pub1, deadline, first_ev, last_ev;
static double connect_cpu, work_cpu;
static long *useq;
static char first_err[2000];

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
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(c->kind && publish_port ? publish_port : port)};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
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
    char *at = m + 2;
    strtol(at, &at, 10); /* the user: whoever reads it has no other's */
    int whole = *at++ == ':';
    long seq = strtol(at, &at, 10);
    whole = whole && *at++ == ':';
    uint64_t t = strtoull(at, &at, 10);
    if (whole && at == e) {
      uint64_t n0 = now_ns();
      events++;
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
  c->hdr_len = 0;
  c->hdr_done = 0;
  c->body_left = -1;
  c->chunked = 0;
  c->chunk_state = 0;
  c->line_len = 0;
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
  if (status >= 200 && status < 300) pub_ok++;
  else {
    pub_err++;
    if (!first_err[0]) {
      snprintf(first_err, sizeof first_err, "%.1990s", c->hdr);
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
    c->body_left = cl && cl < e ? atol(cl + 17) : 0;
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
      if (!first_err[0]) snprintf(first_err, sizeof first_err, "%.1990s", c->hdr);
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

static void options(int ac, char **av) {
  const char *sf = NULL, *pf = NULL, *tf = NULL, *kf = NULL;
  int o;
  while ((o = getopt(ac, av, "c:u:P:p:Q:n:r:s:b:t:k:x:w:E:T:R:O:B")) != -1) switch (o) {
      case 'c': nconn = atoi(optarg); break;
      case 'u': nusers = atoi(optarg); break;
      case 'P': npub = atoi(optarg); break;
      case 'p': port = atoi(optarg); break;
      case 'Q': publish_port = atoi(optarg); break;
      case 'n': nmsg = atol(optarg); break;
      case 'r': rate = atof(optarg); break;
      case 's': sf = optarg; break;
      case 'b': pf = optarg; break;
      case 't': tf = optarg; break;
      case 'k': kf = optarg; break;
      case 'x': prefix = optarg; break;
      case 'w': hold = atof(optarg); break;
      case 'E': awaited = atol(optarg); break;
      case 'T': longest = atof(optarg); break;
      case 'R': ramp = atoi(optarg); break;
      case 'O': under_way = atol(optarg); break;
      case 'B': broadcast = 1; break;
      default: sf = NULL; optind = ac;
    }
  if (!sf) {
    fprintf(stderr, "usage: load -s SUBSCRIBE_TEMPLATE [-b PUBLISH_TEMPLATE] [-p port] [-Q port to publish on] [-c connections] "
                    "[-u users] [-P publishers] [-n messages] [-r messages/s] [-t tokens] [-k cursors] [-x users' prefix] [-B: each "
                    "message to every connection] [-w seconds to hold] [-E marks awaited] [-T longest, s] [-R connects/s] [-O opening "
                    "at a time]\n");
    exit(2);
  }
  sub_t = slurp(sf);
  if (pf) pub_t = slurp(pf);
  else npub = 0;
  if (tf) tokens = lines(tf, &ntokens);
  if (kf) cursors = lines(kf, &ncursors);
}

static void open_as_many_files_as_may_be(void) {
  struct rlimit most = {1 << 20, 1 << 20};
  if (!setrlimit(RLIMIT_NOFILE, &most)) return;
  getrlimit(RLIMIT_NOFILE, &most);
  most.rlim_cur = most.rlim_max;
  setrlimit(RLIMIT_NOFILE, &most);
}

static double cpu_s(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void open_connections(uint64_t now) { /* those that are due; the phase ends when each is open or refused */
  long due = (now - t0) * ramp / 1000000000ull + 1;
  while (opened < nconn && opened < due && (!under_way || opened - connected - refused < under_way)) {
    C[opened].user = opened % nusers;
    start(&C[opened++]);
  }
  if (connected + refused < nconn) return;
  t_conn = now;
  connect_cpu = cpu_s();
  phase = SETTLING;
}

static void say_ready(uint64_t now) {
  fprintf(stderr, "ready connected=%ld refused=%ld %.*s\n", connected, refused, (int)strcspn(first_err, "\r\n"), first_err);
  t_ready = now;
  phase = READY;
}

static void begin_work(uint64_t now) {
  for (int i = 0; i < npub; i++) {
    conn *c = &C[nconn + i];
    c->kind = 1;
    c->next_user = i;
    start(c);
  }
  if (!npub) deadline = now + (uint64_t)(hold * 1e9);
  t_work = now;
  work_cpu = cpu_s();
  phase = WORKING;
}

static int next_user(conn *c) { /* each publisher has users of its own, so that a user's messages are in order */
  if (broadcast) return 0;
  int user = (int)c->next_user;
  c->next_user += npub;
  if (c->next_user >= nusers) c->next_user = (c - C - nconn) % nusers;
  return user;
}

static void publish(uint64_t now) { /* what is due, over the publishers that wait for no answer, in turn */
  long due = rate > 0 ? (long)((now - t_work) / 1e9 * rate) + 1 : nmsg;
  if (due > nmsg) due = nmsg;
  for (int i = 0; i < npub && published < due; i++) {
    conn *c = &C[nconn + turn++ % npub];
    if (c->state != 2 || c->busy) continue;
    make_pub(c, next_user(c));
    published++;
    flush_out(c);
  }
  if (pub_ok + pub_err >= nmsg && !t_pub1) t_pub1 = now;
}

static long expected(void) {
  long each = broadcast ? connected : connected / nusers;
  return nmsg * (each ? each : 1);
}

static int is_over(uint64_t now) {
  if (now > deadline) return 1;
  if (phase != WORKING) return 0;
  if (!npub) return awaited && events >= awaited;
  return t_pub1 && (events >= expected() || now - (last_ev ? last_ev : t_pub1) > QUIET_NS);
}

static void lost(conn *c) {
  if (c->kind == 0) {
    if (c->state == 2) closed_early++;
    else refused++;
  } else if (c->busy) pub_err++;
  close(c->fd);
  c->state = 3;
  if (c->kind == 1) {
    c->busy = 0;
    c->hdr_len = 0;
    start(c);
  }
}

static void refuse(conn *c) {
  refused++;
  c->state = 3;
  close(c->fd);
}

static void on_open(conn *c) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) {
    refuse(c);
    return;
  }
  if (c->kind == 0) {
    static char b[65536];
    int k = fill(b, sizeof b, sub_t, c->user, "", 0, 0);
    if (send(c->fd, b, k, MSG_NOSIGNAL) != k) {
      refuse(c);
      return;
    }
  }
  c->state = c->kind == 0 ? 1 : 2;
  mod(c, EPOLLIN);
}

static void on_readable(conn *c) {
  static char b[65536];
  int k = recv(c->fd, b, sizeof b - 1, 0);
  if (k < 0 && errno == EAGAIN) return;
  if (k <= 0) {
    lost(c);
    return;
  }
  b[k] = 0;
  if (c->kind == 0) on_sub(c, b, k);
  else if (c->busy) on_pub(c, b, k);
}

static void on_event(conn *c, uint32_t what) {
  if (c->state == 3) return;
  if (c->state == 0) {
    on_open(c);
    return;
  }
  if (what & EPOLLOUT && c->kind == 1) flush_out(c);
  if (what & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
}

static long missing(void) { /* at the ends of streams; a hole before is a gap */
  long sum = 0;
  for (int i = 0; pub_t && i < nconn; i++) {
    long want = broadcast ? useq[0] : useq[C[i].user];
    if (C[i].state >= 2 && want > C[i].last_seq) sum += want - C[i].last_seq;
  }
  return sum;
}

static void number(const char *name, double value) {
  static const char *between = "{";
  printf("%s\"%s\":%.12g", between, name, value);
  between = ",";
}

static void tell(void) {
  uint64_t end = now_ns();
  double span = last_ev > first_ev ? (last_ev - first_ev) / 1e9 : 0, publishing = t_pub1 ? (t_pub1 - t_work) / 1e9 : 0;
  number("connected", connected);
  number("refused", refused);
  number("closed_early", closed_early);
  number("connect_s", t_conn ? (t_conn - t0) / 1e9 : -1);
  number("connect_cpu_s", connect_cpu);
  number("publish_err", pub_err);
  number("publish_per_s", t_pub1 ? pub_ok / publishing : 0);
  number("events", events);
  number("missing", missing());
  number("gaps", gaps);
  number("dups", dups);
  number("reorders", reorders);
  number("events_per_s", span ? events / span : 0);
  number("lat_p50_ms", pct(lat_hist, .5) / 1e3);
  number("lat_p99_ms", pct(lat_hist, .99) / 1e3);
  number("lat_max_ms", pct(lat_hist, 1) / 1e3);
  number("first_p99_ms", pct(first_hist, .99) / 1e3);
  number("work_s", t_work ? (end - t_work) / 1e9 : 0);
  number("work_cpu_s", t_work ? cpu_s() - work_cpu : 0);
  puts("}");
  if (first_err[0]) fprintf(stderr, "first bad reply: %s\n", first_err);
}

int main(int ac, char **av) {
  static struct epoll_event ev[1024];
  options(ac, av);
  open_as_many_files_as_may_be();
  useq = calloc(nusers + 1, sizeof *useq);
  C = calloc(nconn + npub, sizeof *C);
  ep = epoll_create1(0);
  t0 = now_ns();
  deadline = t0 + (uint64_t)(longest * 1e9);
  for (uint64_t now = t0; !is_over(now); now = now_ns()) {
    if (phase == OPENING) open_connections(now);
    if (phase == SETTLING && now - t_conn > SETTLE_NS) say_ready(now);
    if (phase == READY && now - t_ready > LOOK_NS) begin_work(now);
    if (phase == WORKING && npub) publish(now);
    int n = epoll_wait(ep, ev, 1024, 1);
    for (int i = 0; i < n; i++) on_event(ev[i].data.ptr, ev[i].events);
  }
  tell();
  return 0;
}
