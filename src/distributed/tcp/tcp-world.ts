import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { ListenError, RankFailedError } from '../../errors.ts';
import { withResolvers } from '../../util/with-resolvers.ts';
import type { Link } from '../link.ts';
import type { World } from '../world.ts';
import { TcpPeer } from './tcp-peer.ts';
import { partsOf, type TcpPlace } from './tcp-place.ts';

/** Milliseconds in which all processes have to be there. */
const PATIENCE = 120_000;
const PAUSE = 100;
/** Channel of the number that a process gives itself. */
const HELLO = 2 ** 32 - 1;
const HELLO_BYTES = 16;

/** Processes of several machines that were started each with its number and the address of the first. */
export class TcpWorld implements World {
  readonly rank: number;
  readonly size: number;
  readonly host = process.getBuiltinModule('node:os').hostname();
  readonly mpiLibrary = undefined;
  /** By their numbers. Process 0 knows all others, and they know only it. */
  readonly #peers: ReadonlyMap<number, TcpPeer>;

  private constructor({ rank, size }: TcpPlace, peers: ReadonlyMap<number, TcpPeer>) {
    this.rank = rank;
    this.size = size;
    this.#peers = peers;
  }

  /**
   * Waits until all processes are there.
   * @throws ArgumentError, ListenError; RankFailedError where some do not come.
   */
  static async open(place: TcpPlace): Promise<TcpWorld> {
    const end = performance.now() + PATIENCE;
    const peers = place.rank === 0 ? await greetAll(place, end) : new Map([[0, await reachFirst(place, end)]]);
    return new TcpWorld(place, peers);
  }

  link(peer: number, channel: number): Link {
    const known = this.#peers.get(peer);
    if (known) return known.link(channel);
    throw new RankFailedError(
      `Processes ${this.rank} and ${peer} of this job have no connection: each has one to process 0.`,
      'Start more than two stages by mpirun.',
    );
  }

  async close(): Promise<void> {
    await Promise.all([...this.#peers.values()].map((peer) => peer.close()));
  }
}

async function greetAll(place: TcpPlace, end: number): Promise<Map<number, TcpPeer>> {
  const { host, port } = partsOf(place);
  const peers = new Map<number, TcpPeer>();
  /** Connections, of which some may be strangers'. */
  const sockets = new Set<Socket>();
  const { promise: complete, resolve } = withResolvers();
  const server = process.getBuiltinModule('node:net').createServer((socket) => {
    sockets.add(socket);
    const peer = new TcpPeer(socket, { channel: HELLO, bytes: HELLO_BYTES });
    const hello = new Float64Array(HELLO_BYTES / 8);
    const read = peer.link(HELLO).receive(new Uint8Array(hello.buffer));
    read.then(
      () => {
        const [rank, size] = hello;
        const isOwn = size === place.size && rank > 0 && rank < size && !peers.has(rank);
        if (!isOwn) {
          socket.destroy();
          return;
        }
        peers.set(rank, peer);
        sockets.delete(socket);
        if (peers.size === place.size - 1) resolve();
      },
      // Not one of the job's.
      () => void socket.destroy(),
    );
  });
  await new Promise<void>((listening, reject) => {
    server.on('error', (cause) => {
      const problem = `Process 0 of the job can't listen at ${place.address}: ${cause.message}.`;
      reject(new ListenError(problem, 'Give another address.', { cause }));
    });
    server.listen(port, host, listening);
  });
  if (place.size === 1) resolve();
  const timer = new AbortController();
  const late = delay(end - performance.now(), 'late' as const, { signal: timer.signal }).catch(
    () => 'on time' as const,
  );
  const isLate = (await Promise.race([complete, late])) === 'late';
  timer.abort();
  server.close();
  for (const socket of sockets) socket.destroy();
  if (!isLate) return peers;
  // The processes that have come need not wait any longer.
  for (const peer of peers.values()) void peer.close();
  const missing = Array.from({ length: place.size }, (_, rank) => rank).filter((rank) => rank > 0 && !peers.has(rank));
  throw new RankFailedError(
    `Processes ${missing.join(', ')} of the job have not come in ${PATIENCE / 1000} s.`,
    `Start them with MAMBA2_JOB=${place.address} and their numbers.`,
  );
}

async function reachFirst(place: TcpPlace, end: number): Promise<TcpPeer> {
  for (;;) {
    try {
      const peer = new TcpPeer(await connect(place));
      await peer.link(HELLO).send(new Uint8Array(Float64Array.of(place.rank, place.size).buffer));
      return peer;
    } catch (cause) {
      if (performance.now() < end) await delay(PAUSE);
      else {
        const reason = cause instanceof Error ? cause.message : cause;
        const problem = `Process ${place.rank} can't reach process 0 of the job at ${place.address}: ${reason}.`;
        throw new RankFailedError(problem, 'Start process 0, and see that its port can be reached.', { cause });
      }
    }
  }
}

function connect(place: TcpPlace): Promise<Socket> {
  const socket = process.getBuiltinModule('node:net').connect(partsOf(place));
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}
