import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { Connections } from '../../src/server/connections.ts';

const GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';

/** A server that cuts off who takes nothing for a moment, and a client that has written a text to it. */
async function client(text: string, respond: (outgoing: ServerResponse) => void): Promise<Socket> {
  const server = createServer({ keepAliveTimeout: 200 });
  const connections = new Connections(server, 200);
  server.on('request', (incoming, outgoing) => connections.add(incoming, outgoing, () => respond(outgoing)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => {});
  onTestFinished(() => {
    socket.destroy();
    server.closeAllConnections();
    server.close();
  });
  socket.write(text);
  return socket;
}

test('a client that takes nothing of its answer is cut off', async () => {
  const closed = new Promise<void>((resolve) => {
    void client(GET, (outgoing) => {
      outgoing.once('close', resolve);
      outgoing.write(Buffer.alloc(64 * 2 ** 20));
    }).then((socket) => socket.pause());
  });
  await closed;
});

test('one that waits for a slow answer is not', async () => {
  const socket = await client(GET, (outgoing) => setTimeout(() => outgoing.end('late'), 1000));
  const [text] = await once(socket.setEncoding('utf8'), 'data');
  expect(text).toMatch(/late/);
});

test.each(['', 'GET / HT', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf', GET])(
  'one that sends nothing further is: %j',
  async (text) => {
    const socket = await client(text, (outgoing) => outgoing.end('answer'));
    socket.resume();
    await once(socket, 'close');
  },
);
