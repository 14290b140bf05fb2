/* Sets TCP_NODELAY on every connection that a program accepts: loaded into TensorZero's gateway by LD_PRELOAD.
 * Without it the last bytes of a stream wait for the client's delayed acknowledgement, 40 ms on Linux. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

int accept4(int listener, struct sockaddr *address, socklen_t *length, int flags) {
  static int (*next)(int, struct sockaddr *, socklen_t *, int);
  if (!next) next = dlsym(RTLD_NEXT, "accept4");
  int on = 1, connection = next(listener, address, length, flags);
  if (connection >= 0) setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return connection;
}
