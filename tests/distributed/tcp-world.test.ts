import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { expect, test } from 'vitest';
import { type TcpPlace, tcpPlaceOf } from '../../src/distributed/tcp/tcp-place.ts';
import { TcpWorld } from '../../src/distributed/tcp/tcp-world.ts';
import { ArgumentError, ListenError, RankFailedError } from '../../src/errors.ts';
import { freePort } from '../free-port.ts';

/** An address that is free. */
async function freeAddress(): Promise<string> {
  return `127.0.0.1:${await freePort()}`;
}

async function openWorlds(size: number, address?: string): Promise<TcpWorld[]> {
  const place = { address: address ?? (await freeAddress()), size };
  // Process 0 comes last: the others wait for it.
  const ranks = Array.from({ length: size }, (_, i) => size - 1 - i);
  const worlds = await Promise.all(ranks.map((rank) => TcpWorld.open({ ...place, rank })));
  return worlds.toReversed();
}

const bytes = (length: number, salt: number) => Uint8Array.from({ length }, (_, i) => i * 7 + salt);

test('messages arrive whole and in order, each channel by itself, in both directions', async () => {
  const worlds = await openWorlds(3);
  const messages = [bytes(0, 1), bytes(5, 2), bytes(3_000_000, 3), bytes(1, 4)];
  for (const other of [1, 2]) {
    for (const [from, to] of [
      [other, 0],
      [0, other],
    ]) {
      const sending = messages.flatMap((message) =>
        [3, 4].map((channel) => worlds[from].link(to, channel).send(message)),
      );
      for (const channel of [4, 3]) {
        for (const message of messages) {
          const into = new Uint8Array(message.length);
          await worlds[to].link(from, channel).receive(into);
          expect(Buffer.compare(into, message)).toBe(0);
        }
      }
      await Promise.all(sending);
    }
  }
  expect(() => worlds[1].link(2, 0)).toThrow(RankFailedError);
  await Promise.all(worlds.map((world) => world.close()));
});

test('a process that leaves ends what others wait for', async () => {
  const [first, second] = await openWorlds(2);
  const waiting = first.link(1, 0).receive(new Uint8Array(8));
  const ended = expect(waiting).rejects.toThrow(/connection was lost/);
  await Promise.all([first.close(), second.close()]);
  await ended;
  await expect(first.link(1, 0).receive(new Uint8Array(8))).rejects.toThrow(RankFailedError);
});

test('a stranger is sent away, and the job waits for its own', async () => {
  const address = await freeAddress();
  const opening = TcpWorld.open({ address, rank: 0, size: 2 });
  const stranger = connect(Number(address.split(':')[1]), '127.0.0.1');
  stranger.on('error', () => {});
  stranger.write('GET / HTTP/1.1\r\nHost: example.com\r\n\r\n');
  await once(stranger, 'close');
  const [first, second] = await Promise.all([opening, TcpWorld.open({ address, rank: 1, size: 2 })]);
  await second.link(0, 0).send(Uint8Array.of(7));
  const into = new Uint8Array(1);
  await first.link(1, 0).receive(into);
  expect([...into]).toEqual([7]);
  await Promise.all([first.close(), second.close()]);
});

test('a stranger that says nothing is sent away once all are there', async () => {
  const address = await freeAddress();
  const opening = TcpWorld.open({ address, rank: 0, size: 2 });
  const stranger = connect(Number(address.split(':')[1]), '127.0.0.1').on('error', () => {});
  await once(stranger, 'connect');
  const closed = once(stranger, 'close');
  const [first, second] = await Promise.all([opening, TcpWorld.open({ address, rank: 1, size: 2 })]);
  await closed;
  await Promise.all([first.close(), second.close()]);
});

test('a first message of a job has the length of a greeting', async () => {
  const address = await freeAddress();
  const opening = TcpWorld.open({ address, rank: 0, size: 2 });
  const header = Buffer.alloc(12);
  header.writeUInt32LE(7);
  const stranger = connect(Number(address.split(':')[1]), '127.0.0.1').on('error', () => {});
  stranger.write(header);
  await once(stranger, 'close');
  const worlds = await Promise.all([opening, TcpWorld.open({ address, rank: 1, size: 2 })]);
  await Promise.all(worlds.map((world) => world.close()));
});

test('an address that is taken is an error at once', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await expect(TcpWorld.open({ address: `127.0.0.1:${port}`, rank: 0, size: 2 })).rejects.toThrow(ListenError);
  server.close();
});

test('the environment says the place, all of it or none', () => {
  const place: TcpPlace = { address: '[::1]:29500', rank: 1, size: 2 };
  const environment = { MAMBA2_JOB: '[::1]:29500', MAMBA2_JOB_RANK: '1', MAMBA2_JOB_SIZE: '2' };
  expect(tcpPlaceOf(environment)).toEqual(place);
  expect(tcpPlaceOf({})).toBeUndefined();
  for (const wrong of [
    { MAMBA2_JOB: '10.0.0.1' },
    { MAMBA2_JOB: ':80' },
    { MAMBA2_JOB: 'a:70000' },
    { MAMBA2_JOB_RANK: undefined },
    { MAMBA2_JOB_RANK: '2' },
    { MAMBA2_JOB_SIZE: '1.5' },
  ]) {
    expect(() => tcpPlaceOf({ ...environment, ...wrong })).toThrow(ArgumentError);
  }
});
