import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** A request that is being answered, or waits for its turn. */
interface Exchange {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  /** Until it has begun. */
  begin: (() => void) | undefined;
}

/** A client that sends more requests ahead of their answers is cut off: Node would keep any number of them. */
const MOST_WAITING = 64;

/**
 * The connections of a server, and what happens on each: so that those on which nothing was asked can be closed when it
 * ends. Node's own list has only those that have sent a whole request before.
 *
 * Requests that were sent behind one another on a connection are answered one by one. Node hands all over at once that
 * a packet holds, which can be thousands.
 */
export class Connections {
  readonly #sockets = new Map<Socket, Set<Exchange>>();
  #refusesFurther = false;

  /** @param stallMilliseconds after which a client that takes nothing of its answer, or sends nothing of its request, is cut off. */
  constructor(server: Server, stallMilliseconds: number) {
    server.setTimeout(stallMilliseconds, (socket: Socket) => this.#still(socket, stallMilliseconds));
    server.on('connection', (socket: Socket) => {
      this.#sockets.set(socket, new Set());
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  /** To be called with each request. @param begin answers it, once those before it on its connection are answered. */
  add(incoming: IncomingMessage, outgoing: ServerResponse, begin: () => void): void {
    const { socket } = incoming;
    const exchanges = this.#sockets.get(socket);
    // The rest of a packet whose connection is gone.
    if (!exchanges || socket.destroyed) return;
    const isFirst = exchanges.size === 0;
    const exchange: Exchange = { incoming, outgoing, begin: isFirst ? undefined : begin };
    exchanges.add(exchange);
    if (this.#refusesFurther) closeAfter(exchange);
    if (exchanges.size > MOST_WAITING) {
      socket.destroy();
      return;
    }
    outgoing.once('close', () => this.#forget(socket, exchange));
    if (isFirst) begin();
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

  /** Closes connections with an incomplete request, which was never accepted. */
  closeUnfinishedRequests(): void {
    for (const [socket, exchanges] of this.#sockets) {
      if ([...exchanges].every(({ incoming }) => !incoming.complete)) socket.destroy();
    }
  }

  /** Nothing has come or gone for a while: an answer that is not taken would hold its memory for good. */
  #still(socket: Socket, stallMilliseconds: number): void {
    const [current] = this.#sockets.get(socket) ?? [];
    const isWaiting = current?.incoming.complete && socket.writableLength === 0 && !current.outgoing.writableNeedDrain;
    if (isWaiting) socket.setTimeout(stallMilliseconds);
    else socket.destroy();
  }

  #forget(socket: Socket, exchange: Exchange): void {
    const exchanges = this.#sockets.get(socket);
    exchanges?.delete(exchange);
    // An answer whose head had gone out promised to keep the connection.
    if (this.#refusesFurther && exchanges?.size === 0) socket.end();
    if (!exchanges || socket.destroyed) return;
    const [next] = exchanges;
    // Others have a turn in between.
    if (next?.begin) setImmediate(() => this.#begin(socket, next));
  }

  #begin(socket: Socket, exchange: Exchange): void {
    const { begin } = exchange;
    exchange.begin = undefined;
    if (!socket.destroyed) begin?.();
  }
}

function closeAfter({ outgoing }: Exchange): void {
  if (!outgoing.headersSent) outgoing.shouldKeepAlive = false;
}
