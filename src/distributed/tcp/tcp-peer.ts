import type { Socket } from 'node:net';
import { RankFailedError } from '../../errors.ts';
import { unlessAborted } from '../abortable.ts';
import { type Link, otherLength } from '../link.ts';

/** Bytes before each message: its channel and its length. */
const HEADER_BYTES = 12;

/** A message's channel and length. */
interface ExpectedMessage {
  readonly channel: number;
  readonly bytes: number;
}

interface Reader {
  readonly resolve: (message: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

/** Messages of a channel that wait for a reader, or readers that wait for a message. */
interface Lane {
  readonly messages: Uint8Array[];
  readonly readers: Reader[];
}

/** The other process of a connection, to which there is a link for each channel. */
export class TcpPeer {
  /** What the next message must be like; another ends the connection. */
  #expected: ExpectedMessage | undefined;
  readonly #socket: Socket;
  readonly #lanes = new Map<number, Lane>();
  #received: Buffer[] = [];
  #receivedBytes = 0;
  /** Bytes after which there is a whole header or message. */
  #wanted = HEADER_BYTES;
  #channel: number | undefined;
  #ended: Error | undefined;
  readonly #closed: Promise<void>;

  /** @param first what the first message must be like: strangers begin with something else. */
  constructor(socket: Socket, first?: ExpectedMessage) {
    this.#socket = socket;
    this.#expected = first;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 5000);
    this.#closed = new Promise((resolve) => {
      const end = (reason: string) => {
        this.#end(new RankFailedError(`The connection was lost: ${reason}.`, 'Start the job again.'));
        resolve();
      };
      socket.on('error', (error) => end(error.message));
      socket.on('close', () => end('the other process has closed it'));
    });
    socket.on('data', (bytes) => this.#receive(bytes));
  }

  link(channel: number): Link {
    return {
      send: (bytes, signal) => this.#send(channel, bytes, signal),
      receive: async (into, signal) => {
        signal?.throwIfAborted();
        const message = await unlessAborted(this.#take(channel), signal);
        if (message.length !== into.length) throw otherLength(message.length, into.length);
        into.set(message);
      },
    };
  }

  /** Says that nothing more is sent, and waits until the other process has said so, too. */
  async close(): Promise<void> {
    this.#socket.end();
    await this.#closed;
  }

  async #send(channel: number, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (this.#ended) throw this.#ended;
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32LE(channel, 0);
    header.writeDoubleLE(bytes.length, 4);
    this.#socket.write(header);
    await new Promise<void>((resolve, reject) => {
      this.#socket.write(bytes, (error) => (error ? reject(this.#ended ?? error) : resolve()));
    });
  }

  #take(channel: number): Promise<Uint8Array> {
    const { messages, readers } = this.#lane(channel);
    const message = messages.shift();
    if (message) return Promise.resolve(message);
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => readers.push({ resolve, reject }));
  }

  #lane(channel: number): Lane {
    const lane = this.#lanes.get(channel) ?? { messages: [], readers: [] };
    this.#lanes.set(channel, lane);
    return lane;
  }

  #receive(bytes: Buffer): void {
    this.#received.push(bytes);
    this.#receivedBytes += bytes.length;
    while (this.#receivedBytes >= this.#wanted) {
      const all = this.#received.length === 1 ? this.#received[0] : Buffer.concat(this.#received);
      const part = all.subarray(0, this.#wanted);
      this.#received = [all.subarray(this.#wanted)];
      this.#receivedBytes -= this.#wanted;
      if (this.#channel === undefined) {
        this.#channel = part.readUInt32LE(0);
        this.#wanted = part.readDoubleLE(4);
        if (this.#isExpected(this.#channel, this.#wanted)) continue;
        this.#socket.destroy();
        return;
      }
      this.#expected = undefined;
      const { messages, readers } = this.#lane(this.#channel);
      const reader = readers.shift();
      if (reader) reader.resolve(part);
      else messages.push(part);
      this.#channel = undefined;
      this.#wanted = HEADER_BYTES;
    }
  }

  #isExpected(channel: number, bytes: number): boolean {
    if (!Number.isSafeInteger(bytes) || bytes < 0) return false;
    return !this.#expected || (channel === this.#expected.channel && bytes === this.#expected.bytes);
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const { readers } of this.#lanes.values()) for (const { reject } of readers.splice(0)) reject(this.#ended);
  }
}
