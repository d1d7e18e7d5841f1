import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** A request with its response, which has begun or waits for its turn. */
interface Exchange {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  /** Starts the response; undefined once it has begun. */
  begin: (() => void) | undefined;
}

/** Limit for unanswered requests on one connection. Above it the connection is closed, since Node has no limit. */
const MOST_WAITING = 64;

/**
 * Connections of a server with their unanswered requests. When the server ends, connections without any can be closed;
 * Node's own `closeIdleConnections` misses those that have never sent a whole request.
 *
 * Pipelined requests of a connection are answered one by one: Node starts all requests of a packet at once, and a
 * packet can hold thousands.
 */
export class Connections {
  readonly #sockets = new Map<Socket, Set<Exchange>>();
  #refusesFurther = false;

  /**
   * @param stallMilliseconds time after which a client that neither reads its answer nor sends its request is cut off.
   */
  constructor(server: Server, stallMilliseconds: number) {
    server.setTimeout(stallMilliseconds, (socket: Socket) => this.#still(socket, stallMilliseconds));
    server.on('connection', (socket: Socket) => {
      this.#sockets.set(socket, new Set());
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  /** Adds a request. @param begin starts the answer; called when earlier requests of the connection are answered. */
  add(incoming: IncomingMessage, outgoing: ServerResponse, begin: () => void): void {
    const { socket } = incoming;
    const exchanges = this.#sockets.get(socket);
    // A further request of a packet after its connection was closed.
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

  /** Closes each connection after its next answer; the answer's headers announce that. */
  refuseFurther(): void {
    this.#refusesFurther = true;
    for (const exchanges of this.#sockets.values()) for (const exchange of exchanges) closeAfter(exchange);
  }

  /** Closes connections without an unanswered request. */
  closeIdle(): void {
    for (const [socket, exchanges] of this.#sockets) if (exchanges.size === 0) socket.destroy();
  }

  /** Closes connections with an incomplete request, which was never accepted. */
  closeUnfinishedRequests(): void {
    for (const [socket, exchanges] of this.#sockets) {
      if ([...exchanges].every(({ incoming }) => !incoming.complete)) socket.destroy();
    }
  }

  /**
   * Cuts off a connection that stands still, unless its client waits for us: an unread answer would keep its memory.
   */
  #still(socket: Socket, stallMilliseconds: number): void {
    const [current] = this.#sockets.get(socket) ?? [];
    const isWaiting = current?.incoming.complete && socket.writableLength === 0 && !current.outgoing.writableNeedDrain;
    if (isWaiting) socket.setTimeout(stallMilliseconds);
    else socket.destroy();
  }

  #forget(socket: Socket, exchange: Exchange): void {
    const exchanges = this.#sockets.get(socket);
    exchanges?.delete(exchange);
    // Headers that were sent before the refusal have promised to keep the connection open.
    if (this.#refusesFurther && exchanges?.size === 0) socket.end();
    if (!exchanges || socket.destroyed) return;
    const [next] = exchanges;
    // Other connections get a turn of the event loop in between.
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
