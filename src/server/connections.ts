import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** A request that is being answered. */
interface Exchange {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
}

/**
 * The connections of a server, and what happens on each: so that those on which nothing was asked can be closed when it
 * ends. Node's own list has only those that have sent a whole request before.
 */
export class Connections {
  readonly #sockets = new Map<Socket, Set<Exchange>>();
  #refusesFurther = false;

  constructor(server: Server) {
    server.on('connection', (socket: Socket) => {
      this.#sockets.set(socket, new Set());
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  /** To be called with each request before it is answered. */
  watch(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const { socket } = incoming;
    const exchange = { incoming, outgoing };
    this.#sockets.get(socket)?.add(exchange);
    if (this.#refusesFurther) closeAfter(exchange);
    outgoing.once('close', () => {
      const exchanges = this.#sockets.get(socket);
      exchanges?.delete(exchange);
      // An answer whose head had gone out promised to keep the connection.
      if (this.#refusesFurther && exchanges?.size === 0) socket.end();
    });
  }

  /** From now on a connection is closed after the answer that is due on it, which says so. */
  refuseFurther(): void {
    this.#refusesFurther = true;
    for (const exchanges of this.#sockets.values()) for (const exchange of exchanges) closeAfter(exchange);
  }

  /** Closes those on which no answer is due. */
  closeIdle(): void {
    for (const [socket, exchanges] of this.#sockets) if (exchanges.size === 0) socket.destroy();
  }

  /** Closes those whose request has not come whole, for it was never accepted. */
  closeUnfinishedRequests(): void {
    for (const [socket, exchanges] of this.#sockets) {
      if ([...exchanges].every(({ incoming }) => !incoming.complete)) socket.destroy();
    }
  }
}

function closeAfter({ outgoing }: Exchange): void {
  if (!outgoing.headersSent) outgoing.shouldKeepAlive = false;
}
